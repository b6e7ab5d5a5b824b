"""The secret key of a service on the embedded store: made once, kept beside the data, readable by its owner alone."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

MINIMUM_BYTES: Final = 32
_NAME: Final = "secret_key"


def new_secret_key() -> bytes:
    """Return a new random key, as 64 hex digits."""
    return secrets.token_hex(32).encode()


def kept_secret_key(folder: Path) -> bytes:
    """Return the key that is kept in a folder, making it the first time.

    Of several processes that start at once one makes the key and all use it: the file appears whole, by a link.

    Args:
        folder: The folder, which is made if it is not there (mode 0700).

    Raises:
        OSError: the folder or the file cannot be read or written.
        ValueError: the file holds no key of 32 bytes or more.
    """
    path = folder / _NAME
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        _make(path)
        key = path.read_bytes().strip()
    if len(key) < MINIMUM_BYTES:
        raise ValueError(f"{path} holds no key of {MINIMUM_BYTES} bytes or more")
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{_NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(new_secret_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first, and its key is the one
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
