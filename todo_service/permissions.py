"""Messages for the operator about files and folders that belong to another user."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def describe_denial(path: Path, folder: Path) -> str:
    """Return why this process may not use a path, and what to do about it, in one line.

    Args:
        path: The path that the system denies, in the folder or the folder itself. It need not exist.
        folder: The folder that the process needs to own.
    """
    found, owner = _find_existing(path)
    process = os.geteuid()
    if owner == process:
        return f"permission denied: this process runs as {_format_user(process)}, who owns {found} but may not use it"
    reason = f"{found} belongs to {_format_user(owner)}, and this process runs as {_format_user(process)}"
    if found.is_relative_to(folder):
        return f"{reason}: run it as the owner, or change the owner with `chown -R {process} {folder}`"
    return f"{folder} cannot be opened or created: {reason}; choose a folder of this user, or run it as the owner"


def _find_existing(path: Path) -> tuple[Path, int]:
    """Return the path or its nearest parent that this process can see, and the user id of the owner."""
    for candidate in (path, *path.parents):
        try:
            return candidate, candidate.stat().st_uid
        except OSError:
            continue
    return path, 0


def _format_user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"
