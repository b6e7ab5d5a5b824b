"""The secret key of the embedded store, generated once and stored next to the data, readable only by its owner."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

MINIMUM_BYTES: Final = 32
_NAME: Final = "secret_key"


def generate_secret_key() -> bytes:
    """Return a random key of 64 hex digits."""
    return secrets.token_hex(32).encode()


def load_or_create_secret_key(folder: Path) -> bytes:
    """Return the key stored in a folder. Create it if it does not exist.

    The file is created atomically, by a hard link, so that processes that start concurrently use the same key.

    Args:
        folder: The folder. It is created with mode 0700 if it does not exist.

    Raises:
        OSError: The folder or the file cannot be read or written.
        ValueError: The file does not contain a key of at least 32 bytes.
    """
    path = folder / _NAME
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        _create(path)
        key = path.read_bytes().strip()
    if len(key) < MINIMUM_BYTES:
        raise ValueError(f"{path} does not contain a key of at least {MINIMUM_BYTES} bytes")
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{_NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(generate_secret_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process has created the key first
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
