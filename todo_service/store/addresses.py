"""Addresses of stores and backups. Local ones are `scheme:///path`, percent-encoded like any other URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

DEFAULT_DATABASE: Final = "todo_service"
BACKUP_SCHEME: Final = "file"


def format_address(scheme: str, path: Path) -> str:
    """Return the address of an absolute path. `parse_path` gives the same path back, whatever its name holds."""
    return f"{scheme}://{quote(os.fsencode(path))}"


def parse_path(address: str) -> Path:
    """Return the path of an address.

    Raises:
        ValueError: the address names a host or no path, or holds a `?` or `#`, which a path has to encode.
    """
    scheme, _, rest = address.partition("://")
    if not scheme or not rest.startswith("/") or len(rest) == 1:
        raise ValueError(f"the address is {scheme}:///path, with three slashes")
    if "?" in rest or "#" in rest:
        raise ValueError("in the path of an address ? is written %3F, and # is written %23")
    return Path(os.fsdecode(unquote_to_bytes(rest)))


def parse_scheme(address: str) -> str:
    """Return the scheme of an address in lower case; empty where there is none."""
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else ""


def parse_database_name(address: str) -> str:
    """Return the name of the database in the address of a server; `todo_service` if it names none."""
    return unquote(urlsplit(address).path[1:]) or DEFAULT_DATABASE


def is_backup(address: str) -> bool:
    """Tell whether an address is that of a backup file (`file:///path`)."""
    return parse_scheme(address) == BACKUP_SCHEME
