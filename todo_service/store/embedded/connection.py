"""The open environment of an embedded store, with its writer thread. It is reopened after LMDB has failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import structlog
from odmantic import Model

from todo_service.store.base import Access, State
from todo_service.store.embedded.catalog import Collection, open_catalog, write_state
from todo_service.store.embedded.environment import Environment, MapBusy
from todo_service.store.embedded.group_commit import GroupCommitWriter, Operation
from todo_service.store.errors import StoreError, StoreUnavailable, StoreUnusable, UnsupportedExpression

ResultT = TypeVar("ResultT")
logger = structlog.get_logger(__name__)


class EmbeddedConnection:
    """An environment, its catalog and its writer thread.

    Args:
        folder: The folder of the environment.
        map_bytes: The initial size of the map.

    Attributes:
        state: The state of the store.
        meta: The database with the metadata of the store.
        collections: The databases of each model.
    """

    state: State
    meta: lmdb._Database

    def __init__(self, folder: Path, map_bytes: int) -> None:
        self.collections: Mapping[type[Model], Collection] = {}
        self._folder = folder
        self._map_bytes = map_bytes
        self._access = Access.SERVE
        self._environment: Environment | None = None
        self._writer: GroupCommitWriter | None = None
        self._resizer: ThreadPoolExecutor
        self._resize: asyncio.Future[None] | None = None
        self._reopening: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether `open` has succeeded and `close` has not been called since."""
        return self._environment is not None

    async def open(self, models: tuple[type[Model], ...], access: Access) -> None:
        """Open the environment and the databases of some models. Raises the errors of `DocumentStore.open`."""
        self._access = access
        await self._open(models)
        self._resizer = ThreadPoolExecutor(1, "store-map")

    async def close(self) -> None:
        """Run the pending writes, then close the environment. If a step fails, the remaining ones run nevertheless."""
        async with contextlib.AsyncExitStack() as stack:
            # in reverse order
            stack.push_async_callback(self._close_environment)
            stack.push_async_callback(self._close_writer)
            stack.push_async_callback(asyncio.to_thread, self._resizer.shutdown)

    async def wait_for_reopening(self) -> None:
        """Return once a pending attempt to reopen the environment has ended."""
        if self._reopening is not None:
            await asyncio.wait([self._reopening])
            self._reopening = None

    def get_environment(self) -> Environment:
        """Return the open environment. If it has failed, start to reopen it.

        Raises:
            StoreUnavailable: The store is closed, or is being reopened.
        """
        if self._environment is None:
            raise StoreUnavailable("the store is closed")
        if self._environment.failed:
            if self._reopening is None or self._reopening.done():
                self._reopening = asyncio.create_task(self._reopen(self._environment))
            raise StoreUnavailable("the store is being reopened")
        return self._environment

    def get_collection(self, model: type[Model]) -> Collection:
        """Return the databases of a model.

        Raises:
            UnsupportedExpression: The store was not opened for the model.
        """
        collection = self.collections.get(model)
        if collection is None:
            self.get_environment()
            raise UnsupportedExpression(f"the store was not opened for {model.__name__}")
        return collection

    async def write(self, operation: Operation) -> Any:
        """Run an operation in the writer thread. See `GroupCommitWriter.submit`."""
        self.get_environment()
        assert self._writer is not None  # it lives as long as the environment
        return await self._writer.submit(operation)

    async def read(self, read: Callable[[lmdb.Transaction], ResultT]) -> ResultT:
        """Run a short read on the event loop. A resize of the map is awaited without blocking the loop."""
        while True:
            environment = self.get_environment()
            try:
                with environment.read_transaction(wait=False) as transaction:
                    return read(transaction)
            except MapBusy:
                await self._wait_for_resize(environment)

    async def set_state(self, state: State) -> None:
        """Replace the state of the store, durably."""
        await self.write(lambda transaction: write_state(transaction, self.meta, state))
        self.state = state

    async def _open(self, models: tuple[type[Model], ...]) -> None:
        environment = await asyncio.to_thread(Environment, self._folder, self._map_bytes, self._access)
        try:
            catalog = await asyncio.to_thread(open_catalog, environment, self._folder, models, self._access)
        except StoreUnavailable as error:
            environment.close()
            raise StoreUnusable(f"{self._folder}: {error}") from None
        except BaseException:
            environment.close()
            raise
        self.meta, self.state, self.collections = catalog
        self._environment = environment
        if self._access is not Access.READ:
            self._writer = GroupCommitWriter(environment)

    async def _reopen(self, failed: Environment) -> None:
        """Close an environment that has failed, and open it again. If that fails, the next call tries again."""
        assert self._writer is not None
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(failed.close)
        try:
            await self._open(tuple(self.collections))
        except StoreError as error:
            logger.warning("the store could not be reopened", reason=str(error))
        else:
            logger.warning("the store was reopened after a failed write to disk")

    async def _close_writer(self) -> None:
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)

    async def _close_environment(self) -> None:
        environment, self._environment = self._environment, None
        if environment is not None:
            await asyncio.to_thread(environment.close)

    async def _wait_for_resize(self, environment: Environment) -> None:
        """Wait in a thread until the map has been resized. Concurrent callers share one wait."""
        if self._resize is None or self._resize.done():
            self._resize = asyncio.get_running_loop().run_in_executor(self._resizer, environment.wait_for_resize)
            self._resize.add_done_callback(lambda future: future.cancelled() or future.exception())
        await asyncio.shield(self._resize)
