"""An LMDB environment whose map grows on demand, shared by the threads of a process and by several processes.

LMDB can resize its map only while the process has no open transaction. A gate counts the open transactions; a resize
waits until there are none, and blocks new ones. The event loop never waits at the gate: a read that would block raises
`MapBusy`, and the caller retries it once `wait_for_resize` has returned in a thread. Long reads poll `resizing` and end
early. The size of the map does not affect the size of the file on disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from todo_service.permissions import describe_denial
from todo_service.store.errors import StoreUnavailable, StoreUnusable

INITIAL_MAP_BYTES: Final = 2**28
_MAX_DATABASES: Final = 128
_MAX_READERS: Final = 512
_LOCK_BYTES: Final = 2**16
"""Enough for LMDB's table of `_MAX_READERS`."""

ResultT = TypeVar("ResultT")


class MapBusy(Exception):
    """The map is being resized, or needs to be."""


class Environment:
    """An open LMDB environment.

    Args:
        folder: The folder of the environment. It is created with mode 0700 if it is missing, unless `read_only`.
        map_bytes: The initial size of the map, unless the file is already larger.
        read_only: Whether the environment is only read. The folder is then not locked.
        exclusive: Whether no other process may have the environment open, except to read only.

    Attributes:
        failed: Whether LMDB has declared a fatal error because it could not write its meta page. The environment must
            be closed and reopened; earlier commits are on disk.

    Raises:
        StoreUnusable: The folder cannot be used, is not an LMDB environment or is damaged.
    """

    def __init__(
        self, folder: Path, map_bytes: int = INITIAL_MAP_BYTES, *, read_only: bool = False, exclusive: bool = False
    ) -> None:
        self._gate = threading.Condition()
        self._open_transactions = 0
        self._resizing = False
        self._data = folder / "data.mdb"
        self._folder_lock: int | None = None
        self.failed = False
        try:
            if read_only and not self._data.is_file():
                raise StoreUnusable(f"{folder} contains no store")
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not read_only:
                self._folder_lock = _lock_folder(folder, exclusive=exclusive)
                _preallocate(folder / "lock.mdb", _LOCK_BYTES)
            self._lmdb = _open_environment(folder, map_bytes, read_only=read_only)
            self._lmdb.reader_check()
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
            self._unlock_folder()
            raise StoreUnusable(f"{folder} is not an LMDB environment, or is damaged") from None
        except (lmdb.Error, OSError) as error:
            self._unlock_folder()
            raise StoreUnusable(_describe_unusable(folder, error)) from None

    def count_missing_bytes(self) -> int:
        """Return how many bytes the file is short of its last page, or 0 if it is complete.

        A shorter file is not necessarily damaged: LMDB may omit unused pages at the end. A truncated file also lacks
        pages that are in use.
        """
        needed: int = (self._lmdb.info()["last_pgno"] + 1) * self._lmdb.stat()["psize"]
        return max(0, needed - self._data.stat().st_size)

    @contextmanager
    def extend_file(self, missing: int) -> Iterator[None]:
        """Extend the file by some bytes, so that reading the missing pages does not kill the process with SIGBUS.

        The extension is undone if the body of the `with` statement raises.
        """
        size = self._data.stat().st_size
        with self._data.open("r+b") as file:
            # never shortens the file, even if another process has grown it in the meantime
            os.posix_fallocate(file.fileno(), size, missing)
        try:
            yield
        except BaseException:
            os.truncate(self._data, size)
            raise

    def open_database(self, name: str) -> lmdb._Database:
        """Return a named database, creating it if it is missing."""
        # in a write transaction of our own, because another process may grow the map in the meantime
        return self.write(lambda transaction: self._lmdb.open_db(name.encode(), txn=transaction))

    def find_database(self, name: str) -> lmdb._Database | None:
        """Return a named database, or None if it does not exist. Writes nothing."""
        try:
            return self._lmdb.open_db(name.encode(), create=False)
        except lmdb.NotFoundError:
            return None

    @property
    def resizing(self) -> bool:
        """Whether a resize of the map is waiting for the open transactions to end, or in progress."""
        return self._resizing

    @contextmanager
    def read_transaction(self, *, wait: bool = True) -> Iterator[lmdb.Transaction]:
        """Open a read transaction, which sees the environment at one point in time.

        Several threads may use the transaction, one at a time.

        Args:
            wait: Whether to block while the map is being resized. Pass False on an event loop.

        Raises:
            MapBusy: The map is being resized, and `wait` is False.
            StoreUnavailable: The environment cannot be read.
        """
        transaction = self._begin(write=False, wait=wait)
        try:
            yield transaction
        except lmdb.Error as error:
            raise self._handle_failure("read", error) from error
        finally:
            transaction.abort()
            self._leave_gate()

    def wait_for_resize(self) -> None:
        """Block until the map can be read. Adopts the size of the map if another process has grown it.

        Raises:
            StoreUnavailable: The environment cannot be read.
        """
        with self.read_transaction():
            pass

    def write(self, work: Callable[[lmdb.Transaction], ResultT]) -> ResultT:
        """Run a function in a write transaction, commit it to disk and return the result. The map grows as needed.

        Args:
            work: The function. It runs again from the start after the map has grown. An exception rolls the
                transaction back.

        Raises:
            StoreUnavailable: The disk is full or not writable. Nothing was written.
        """
        while True:
            try:
                return self._write_once(work)
            except lmdb.MapFullError:
                self._resize(grow=True)
            except lmdb.Error as error:
                raise self._handle_failure("written", error) from error

    def close(self) -> None:
        """Wait for the open transactions to end, then close the environment."""
        with self._gate:
            self._gate.wait_for(lambda: self._open_transactions == 0 and not self._resizing)
            self._lmdb.close()
        self._unlock_folder()

    def _unlock_folder(self) -> None:
        if self._folder_lock is not None:
            os.close(self._folder_lock)
            self._folder_lock = None

    def _write_once(self, work: Callable[[lmdb.Transaction], ResultT]) -> ResultT:
        transaction = self._begin(write=True)
        try:
            result = work(transaction)
            transaction.commit()
        except BaseException:
            transaction.abort()
            raise
        finally:
            self._leave_gate()
        return result

    def _begin(self, *, write: bool, wait: bool = True) -> lmdb.Transaction:
        while True:
            with self._gate:
                if self._resizing and not wait:
                    raise MapBusy
                self._gate.wait_for(lambda: not self._resizing)
                self._open_transactions += 1
            try:
                return self._lmdb.begin(write=write)
            except lmdb.MapResizedError:
                self._leave_gate()
                if not wait:
                    raise MapBusy from None
                self._resize(grow=False)
            except lmdb.Error as error:
                self._leave_gate()
                raise self._handle_failure("used", error) from error

    def _handle_failure(self, action: str, error: lmdb.Error) -> StoreUnavailable:
        """Set `failed` if the error is fatal, and return the exception to raise."""
        self.failed = self.failed or isinstance(error, lmdb.PanicError)
        return StoreUnavailable(f"the environment cannot be {action}: {_describe(error)}")

    def _leave_gate(self) -> None:
        with self._gate:
            self._open_transactions -= 1
            self._gate.notify_all()

    def _resize(self, *, grow: bool) -> None:
        """Double the map, or adopt the size that another process has set.

        Raises:
            StoreUnavailable: The address space has no room for the map.
        """
        with self._gate:
            self._gate.wait_for(lambda: not self._resizing)
            self._resizing = True
            self._gate.wait_for(lambda: self._open_transactions == 0)
        # outside the gate, so that an event loop does not block on it; `_resizing` keeps new transactions out
        try:
            self._lmdb.set_mapsize(self._lmdb.info()["map_size"] * 2 if grow else 0)
        except lmdb.Error as error:
            raise self._handle_failure("resized", error) from error
        finally:
            with self._gate:
                self._resizing = False
                self._gate.notify_all()


def identify_data(folder: Path) -> str:
    """Return the device and the inode of the data file in a folder.

    Raises:
        StoreUnavailable: There is none.
    """
    try:
        status = (folder / "data.mdb").stat()
    except OSError as error:
        raise StoreUnavailable(f"{folder} cannot be used: {error.strerror}") from None
    return f"{status.st_dev}:{status.st_ino}"


def _open_environment(folder: Path, map_bytes: int, *, read_only: bool) -> lmdb.Environment:
    while True:
        try:
            return lmdb.open(
                str(folder),
                map_size=map_bytes,
                max_dbs=_MAX_DATABASES,
                max_readers=_MAX_READERS,
                mode=0o600,
                readonly=read_only,
            )
        except lmdb.MapResizedError:
            # another process has grown the map between the two steps of opening; the next attempt uses its size
            continue


def _lock_folder(folder: Path, *, exclusive: bool) -> int:
    """Lock a folder against conflicting access, and return the descriptor that holds the lock.

    The lock lasts until the descriptor is closed or the process ends.

    Raises:
        StoreUnusable: Another process holds a conflicting lock.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        reason = "a service uses it; stop the service first" if exclusive else "a copy into it is running"
        raise StoreUnusable(f"{folder} cannot be used: {reason}") from None
    return descriptor


def _preallocate(path: Path, length: int) -> None:
    """Allocate disk space for a file, so that writing to its memory map on a full disk does not kill the process."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, length)
    finally:
        os.close(file)


def _describe_unusable(folder: Path, error: Exception) -> str:
    """Return why a folder cannot be used, for the operator."""
    # LMDB has no exception class for a denied permission
    if not isinstance(error, PermissionError) and os.strerror(errno.EACCES) not in str(error):
        return f"{folder} cannot be used: {_describe(error)}"
    files = [folder / "data.mdb", folder / "lock.mdb"]
    denied = (file for file in files if os.access(file, os.F_OK) and not os.access(file, os.R_OK | os.W_OK))
    return describe_denial(next(denied, folder), folder)


def _describe(error: Exception) -> str:
    """Return the reason for an error, for the operator: the text of the system, or LMDB's without the path."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).rsplit(": ", 1)[-1]
