"""Addresses of stores and backups. A local address is a percent-encoded URL, `scheme:///path`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

DEFAULT_DATABASE: Final = "todo_service"
BACKUP_SCHEME: Final = "file"


def format_address(scheme: str, path: Path) -> str:
    """Return the address of an absolute path. `parse_path` is its inverse, for any path."""
    return f"{scheme}://{quote(os.fsencode(path))}"


def parse_path(address: str) -> Path:
    """Return the path of an address.

    Raises:
        ValueError: The address has a host or no path, or contains a `?` or `#` that is not percent-encoded.
    """
    scheme, _, rest = address.partition("://")
    if not scheme or not rest.startswith("/") or len(rest) == 1:
        raise ValueError(f"the address must be {scheme}:///path, with three slashes")
    if "?" in rest or "#" in rest:
        raise ValueError("in the path of an address, encode ? as %3F and # as %23")
    return Path(os.fsdecode(unquote_to_bytes(rest)))


def parse_scheme(address: str) -> str:
    """Return the scheme of an address in lower case, or an empty string if there is none."""
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else ""


def parse_database_name(address: str) -> str:
    """Return the name of the database in the address of a server. The default is `todo_service`."""
    return unquote(urlsplit(address).path[1:]) or DEFAULT_DATABASE


def is_backup(address: str) -> bool:
    """Return whether an address is that of a backup file (`file:///path`)."""
    return parse_scheme(address) == BACKUP_SCHEME
