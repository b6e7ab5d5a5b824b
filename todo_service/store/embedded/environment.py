"""An LMDB environment whose map grows by itself, shared by the threads of a process and by several processes.

LMDB can resize its map only while the process has no open transaction. A gate counts the open transactions; resizing
waits until there are none, and blocks new ones. The event loop never waits at the gate: a read that would block raises
`MapBusy`, and is retried after `wait_for_growth` has waited in a thread. Long reads poll `resizing` and end early. The
file on disk is as large as its contents, regardless of the size of the map.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import lmdb

from todo_service.store.base import Access
from todo_service.store.errors import StoreUnavailable, StoreUnusable

INITIAL_MAP_BYTES: Final = 2**28
_MAXIMUM_DATABASES: Final = 128
_MAXIMUM_READERS: Final = 512
_LOCK_BYTES: Final = 2**16
"""More than LMDB's table of so many readers takes."""

ResultT = TypeVar("ResultT")


class MapBusy(Exception):
    """The map changes its size at present, or has to."""


class Environment:
    """An open LMDB environment.

    Args:
        folder: Its folder, which is made if it is not there (mode 0700), but not to be read.
        map_bytes: The size of the map to begin with, if the file is not larger already.
        access: What for. Any number of processes may serve from a folder; while one fills it, none may.

    Attributes:
        failed: Whether LMDB has given it up, since it could not write which state is the latest: it has to be closed
            and opened again. What was committed before is on disk.

    Raises:
        StoreUnusable: the folder cannot be used, or holds something else or something damaged.
    """

    def __init__(self, folder: Path, map_bytes: int = INITIAL_MAP_BYTES, access: Access = Access.SERVE) -> None:
        self._gate = threading.Condition()
        self._open_transactions = 0
        self._resizing = False
        self._data = folder / "data.mdb"
        self._claim: int | None = None
        self.failed = False
        if access is Access.READ and not self._data.is_file():
            raise StoreUnusable(f"{folder} holds no store")
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._claim = _claim(folder, access)
            if access is not Access.READ:
                _reserve(folder / "lock.mdb", _LOCK_BYTES)
            self._lmdb = lmdb.open(
                str(folder),
                map_size=map_bytes,
                max_dbs=_MAXIMUM_DATABASES,
                max_readers=_MAXIMUM_READERS,
                mode=0o600,
                readonly=access is Access.READ,
            )
            self._lmdb.reader_check()
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
            self._let_go()
            raise StoreUnusable(f"{folder} holds something that is no LMDB environment, or a damaged one") from None
        except (lmdb.Error, OSError) as error:
            self._let_go()
            raise StoreUnusable(f"{folder} cannot be used: {_reason(error)}") from None

    def missing_bytes(self) -> int:
        """Return by how much the file is shorter than its contents: 0 for a file that is whole.

        LMDB may leave out pages at the end that nothing uses; a file that was cut short lacks others.
        """
        needed: int = (self._lmdb.info()["last_pgno"] + 1) * self._lmdb.stat()["psize"]
        return max(0, needed - self._data.stat().st_size)

    @contextmanager
    def lengthened(self, missing: int) -> Iterator[None]:
        """Lengthen the file, so that reading beyond its end does not kill the process; taken back if it raises."""
        size = self._data.stat().st_size
        with self._data.open("r+b") as file:
            # never shortens, should another process have written meanwhile
            os.posix_fallocate(file.fileno(), size, missing)
        try:
            yield
        except BaseException:
            os.truncate(self._data, size)
            raise

    def database(self, name: str, transaction: lmdb.Transaction | None = None) -> lmdb._Database:
        """Return a named database; without a transaction to look in it is made if it is not there."""
        if transaction is not None:
            return self._lmdb.open_db(name.encode(), txn=transaction, create=False)
        # in a transaction of ours, for another process may let the map grow meanwhile
        return self.write(lambda writing: self._lmdb.open_db(name.encode(), txn=writing))

    def existing_database(self, name: str) -> lmdb._Database | None:
        """Return a named database, or None if it is not there; nothing is written."""
        try:
            return self._lmdb.open_db(name.encode(), create=False)
        except lmdb.NotFoundError:
            return None

    @property
    def resizing(self) -> bool:
        """Whether the map waits for open transactions to end, so that its size can be changed."""
        return self._resizing

    @contextmanager
    def reading(self, *, wait: bool = True) -> Iterator[lmdb.Transaction]:
        """Give a view of one moment. It may be used from one thread after another.

        Args:
            wait: Whether to block while the map changes its size. False on an event loop.

        Raises:
            MapBusy: it changes its size, and the caller does not wait.
            StoreUnavailable: the environment cannot be read.
        """
        transaction = self._begin(write=False, wait=wait)
        try:
            yield transaction
        except lmdb.Error as error:
            raise self._unavailable("read", error) from error
        finally:
            transaction.abort()
            self._leave()

    def wait_for_growth(self) -> None:
        """Return when the map has its size; take over the one that another process has given it. Blocks until then.

        Raises:
            StoreUnavailable: the environment cannot be read.
        """
        with self.reading():
            pass

    def write(self, work: Callable[[lmdb.Transaction], ResultT]) -> ResultT:
        """Do some work in a write transaction and commit it to disk; the map grows as it must.

        Args:
            work: Is done again from the beginning after the map has grown. What it raises takes back all it did.

        Raises:
            StoreUnavailable: nothing was written, for the disk is full or cannot be written.
        """
        while True:
            try:
                return self._write_once(work)
            except lmdb.MapFullError:
                self._resize(grow=True)
            except lmdb.Error as error:
                raise self._unavailable("written", error) from error

    def close(self) -> None:
        """Close the environment when the transactions that are open have ended."""
        with self._gate:
            self._gate.wait_for(lambda: self._open_transactions == 0 and not self._resizing)
            self._lmdb.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def _write_once(self, work: Callable[[lmdb.Transaction], ResultT]) -> ResultT:
        transaction = self._begin(write=True)
        try:
            result = work(transaction)
            transaction.commit()
        except BaseException:
            transaction.abort()
            raise
        finally:
            self._leave()
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
                self._leave()
                if not wait:
                    raise MapBusy from None
                self._resize(grow=False)
            except lmdb.Error as error:
                self._leave()
                raise self._unavailable("used", error) from error

    def _unavailable(self, done: str, error: lmdb.Error) -> StoreUnavailable:
        self.failed = self.failed or isinstance(error, lmdb.PanicError)
        return StoreUnavailable(f"the environment cannot be {done}: {_reason(error)}")

    def _leave(self) -> None:
        with self._gate:
            self._open_transactions -= 1
            self._gate.notify_all()

    def _resize(self, *, grow: bool) -> None:
        """Double the map, or take over the size that another process has given it.

        Raises:
            StoreUnavailable: there is no room for it in memory.
        """
        with self._gate:
            self._gate.wait_for(lambda: not self._resizing)
            self._resizing = True
            self._gate.wait_for(lambda: self._open_transactions == 0)
        # outside the gate, at which an event loop would be held up for as long; nobody else has a transaction meanwhile
        try:
            self._lmdb.set_mapsize(self._lmdb.info()["map_size"] * 2 if grow else 0)
        except lmdb.Error as error:
            raise self._unavailable("resized", error) from error
        finally:
            with self._gate:
                self._resizing = False
                self._gate.notify_all()


def _claim(folder: Path, access: Access) -> int | None:
    """Claim a folder until what this returns is closed or the process ends, however it ends.

    Raises:
        StoreUnusable: another process's claim does not allow it.
    """
    if access is Access.READ:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if access is Access.RESTORE else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        user = "a service uses it: stop that first" if access is Access.RESTORE else "something is being copied into it"
        raise StoreUnusable(f"{folder} cannot be used: {user}") from None
    return descriptor


def _reserve(path: Path, length: int) -> None:
    """Give a file its place on the disk, so that on a full one writing to its memory map does not kill the process."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, length)
    finally:
        os.close(file)


def _reason(error: Exception) -> str:
    """Return what is wrong, for the operator: LMDB's text without the path that it repeats, or the system's."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).rsplit(": ", 1)[-1]
