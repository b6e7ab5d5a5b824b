"""A file that appears under its name once it is complete. Safe in a folder that other users can write to."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from todo_service.store.errors import StoreUnavailable, StoreUnusable


class AtomicFile:
    """A temporary file next to its final path, readable only by its owner.

    Its name is random, so that no other user can create it in advance. Stale temporary files for the same path, left by
    processes of this user that were killed, are removed.

    Args:
        path: The final path.

    Attributes:
        temporary_path: The path until `publish` renames the file.

    Raises:
        StoreUnusable: The file cannot be created, or another process is writing a file for this path.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _remove_stale_files(path)
        self.temporary_path = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        self._is_published = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self.temporary_path, flags, 0o600)
        except OSError as error:
            raise StoreUnusable(f"{path} cannot be written: {error.strerror}") from None
        self._file = os.fdopen(descriptor, "wb")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise StoreUnusable(f"{path} is being written by another process") from None

    def write(self, data: bytes) -> None:
        """Append data.

        Raises:
            StoreUnavailable: The disk is full or not writable.
        """
        with self._translate_errors():
            self._file.write(data)

    def sync(self) -> int:
        """Sync the file to disk, and return its size in bytes. Raises the same errors as `write`."""
        with self._translate_errors():
            self._file.flush()
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def publish(self, *, replace: bool) -> None:
        """Rename the file to its final path. A symbolic link at that path is replaced, never followed.

        Args:
            replace: Whether to replace an existing file.

        Raises:
            StoreUnusable: The path already exists, or another user has replaced the temporary file.
            StoreUnavailable: The folder is not writable.
        """
        with self._translate_errors():
            if replace:
                self.temporary_path.replace(self._path)
            else:
                self._rename_to_new_path()
            own, found = os.fstat(self._file.fileno()), self._path.lstat()
            if (own.st_dev, own.st_ino) != (found.st_dev, found.st_ino):
                raise StoreUnusable(f"another user has replaced {self._path}")
            self._is_published = True
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Close the file, and remove it unless it was published."""
        with suppress(OSError):
            if not self._is_published:
                self.temporary_path.unlink()
        with suppress(OSError):
            self._file.close()

    def _rename_to_new_path(self) -> None:
        try:
            os.link(self.temporary_path, self._path, follow_symlinks=False)
        except FileExistsError:
            raise StoreUnusable(f"{self._path} already exists") from None
        except OSError:
            # the file system has no hard links
            if os.path.lexists(self._path):
                raise StoreUnusable(f"{self._path} already exists") from None
            self.temporary_path.replace(self._path)
        else:
            self.temporary_path.unlink()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise an `OSError` as `StoreUnavailable`."""
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(f"{self._path} cannot be written: {error.strerror}") from None


def _remove_stale_files(path: Path) -> None:
    """Remove the stale temporary files for a path, left by processes of this user that were killed.

    Raises:
        StoreUnusable: A process is still writing one.
    """
    prefix = f"{path.name}."
    with suppress(OSError):
        for entry in list(os.scandir(path.parent)):
            if entry.name.startswith(prefix) and entry.name.endswith(".part"):
                _remove_unless_locked(Path(entry.path), path)


def _remove_unless_locked(temporary_path: Path, path: Path) -> None:
    try:
        descriptor = os.open(temporary_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary_path.unlink(missing_ok=True)
    except BlockingIOError:
        raise StoreUnusable(f"{path} is being written by another process") from None
    finally:
        os.close(descriptor)
