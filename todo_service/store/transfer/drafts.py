"""A file that appears under its name when it is whole, also in a folder that others may write to."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from todo_service.store.errors import StoreUnavailable, StoreUnusable


class Draft:
    """A new file beside its place, readable by its owner alone. Its name is random, so nobody can have made it before.

    Drafts of this place that were left behind are taken away, if they are this user's.

    Args:
        path: Its place.

    Attributes:
        path: Where it lies until it is put in its place.
        file: The file, open for writing.

    Raises:
        StoreUnusable: it cannot be written, or another process writes one for this place.
    """

    def __init__(self, path: Path) -> None:
        self._place = path
        _remove_left_behind(path)
        self.path = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        self._in_place = False
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(f"{path} cannot be written: {error.strerror}") from None
        self.file = os.fdopen(descriptor, "wb")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise StoreUnusable(f"{path} is being written by another process") from None

    def write(self, data: bytes) -> None:
        """Write some bytes.

        Raises:
            StoreUnavailable: the disk is full or cannot be written.
        """
        with self._writing():
            self.file.write(data)

    def sync(self) -> int:
        """Bring the file to the disk, and return its size in bytes. Errors as of `write`."""
        with self._writing():
            self.file.flush()
            os.fsync(self.file.fileno())
            return os.fstat(self.file.fileno()).st_size

    def put_in_place(self, *, replace: bool) -> None:
        """Give the file its name. A symbolic link of this name is replaced, never followed.

        Args:
            replace: Whether it takes the place of what is there.

        Raises:
            StoreUnusable: something is there, or somebody else has put another file in place of the draft.
            StoreUnavailable: the folder cannot be written.
        """
        with self._writing():
            if replace:
                self.path.replace(self._place)
            else:
                self._link()
            own, found = os.fstat(self.file.fileno()), self._place.lstat()
            if (own.st_dev, own.st_ino) != (found.st_dev, found.st_ino):
                raise StoreUnusable(f"somebody else has written {self._place} meanwhile")
            self._in_place = True
            folder = os.open(self._place.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Let go of the file; what is not in its place is taken away."""
        with suppress(OSError):
            if not self._in_place:
                self.path.unlink()
        with suppress(OSError):
            self.file.close()

    def _link(self) -> None:
        try:
            os.link(self.path, self._place, follow_symlinks=False)
        except FileExistsError:
            raise StoreUnusable(f"{self._place} is there already") from None
        except OSError:
            # a file system without links
            if os.path.lexists(self._place):
                raise StoreUnusable(f"{self._place} is there already") from None
            self.path.replace(self._place)
        else:
            self.path.unlink()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn the system's errors into the store's."""
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(f"{self._place} cannot be written: {error.strerror}") from None


def _remove_left_behind(place: Path) -> None:
    """Take away drafts that processes of this user left behind when they were killed.

    Raises:
        StoreUnusable: a process is writing one.
    """
    prefix = f"{place.name}."
    with suppress(OSError):
        for entry in list(os.scandir(place.parent)):
            if entry.name.startswith(prefix) and entry.name.endswith(".part"):
                _remove_unless_written(Path(entry.path), place)


def _remove_unless_written(draft: Path, place: Path) -> None:
    try:
        descriptor = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink(missing_ok=True)
    except BlockingIOError:
        raise StoreUnusable(f"{place} is being written by another process") from None
    finally:
        os.close(descriptor)
