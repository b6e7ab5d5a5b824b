"""The writer process of an embedded store, as the system shows it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def find_writers(pid: int, folder: Path = Path("/")) -> list[int]:
    """Return the ids of the writer processes that a process has started, without those that have ended.

    Args:
        pid: The process.
        folder: The folder of the store.
    """
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in (task / "children").read_text().split() if is_running(int(child))]
    return [child for child in found if has_open(child, folder)]


def has_open(pid: int, folder: Path) -> bool:
    """Return whether a process has a file in a folder open."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return any(file.readlink().is_relative_to(folder) for file in Path(f"/proc/{pid}/fd").iterdir())
    return False


def is_running(pid: int) -> bool:
    """Return whether a process is a writer process that has not ended."""
    # the command line of a process that has ended, but whose status has not been read, is empty
    with suppress(FileNotFoundError, ProcessLookupError):
        return b"writer_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
