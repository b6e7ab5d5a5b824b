"""The open environment of an embedded store, with its writer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import lmdb
from odmantic import Model

from todo_service.store.base import Access, State
from todo_service.store.bson_codec import encode_fields
from todo_service.store.embedded.catalog import Catalog, encode_state, open_catalog
from todo_service.store.embedded.databases import Collection, Databases
from todo_service.store.embedded.environment import Environment, MapBusy, identify_data
from todo_service.store.embedded.process_writer import ProcessWriter
from todo_service.store.embedded.thread_writer import ThreadWriter
from todo_service.store.errors import StoreUnavailable, StoreUnusable, UnsupportedExpression

ResultT = TypeVar("ResultT")


class EmbeddedConnection:
    """An environment, its catalog and its writer.

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
        self._environment: Environment | None = None
        self._writer: ThreadWriter | ProcessWriter | None = None
        self._resizer: ThreadPoolExecutor
        self._resize: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether `open` has succeeded and `close` has not been called since."""
        return self._environment is not None

    async def open(self, models: tuple[type[Model], ...], access: Access) -> None:
        """Open the environment and the databases of some models. Raises the errors of `DocumentStore.open`."""
        environment, catalog = await asyncio.to_thread(self._open, models, access)
        self.meta, self.state, self.collections = catalog
        self._environment = environment
        self._writer = self._create_writer(environment, access)
        self._resizer = ThreadPoolExecutor(1, "store-map")

    async def close(self) -> None:
        """Run the pending writes, then close the environment. If a step fails, the remaining ones run nevertheless."""
        async with contextlib.AsyncExitStack() as stack:
            # in reverse order
            stack.push_async_callback(self._close_environment)
            stack.push_async_callback(self._close_writer)
            stack.push_async_callback(asyncio.to_thread, self._resizer.shutdown)

    def get_environment(self) -> Environment:
        """Return the open environment.

        Raises:
            StoreUnavailable: The store is closed.
        """
        if self._environment is None:
            raise StoreUnavailable("the store is closed")
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

    async def write(self, operation: str, model: type[Model] | None = None, **arguments: Any) -> Any:
        """Execute a write operation, and return its result once it is on disk.

        Args:
            operation: The name of the operation, see `operations`.
            model: The model of the documents.
            **arguments: The arguments of the operation.

        Raises:
            StoreError: The operation failed.
            UnsupportedExpression: BSON cannot represent an argument.
        """
        self.get_environment()
        collection = None if model is None else self.get_collection(model).schema.collection
        assert self._writer is not None  # it lives as long as the environment
        return await self._writer.submit(encode_fields({"do": operation, "in": collection, **arguments}))

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
        await self.write("set_state", state=encode_state(state))
        self.state = state

    def _open(self, models: tuple[type[Model], ...], access: Access) -> tuple[Environment, Catalog]:
        environment = Environment(
            self._folder, self._map_bytes, read_only=access is Access.READ, exclusive=access is Access.RESTORE
        )
        try:
            return environment, open_catalog(environment, self._folder, models, access)
        except StoreUnavailable as error:
            environment.close()
            raise StoreUnusable(f"{self._folder}: {error}") from None
        except BaseException:
            environment.close()
            raise

    def _create_writer(self, environment: Environment, access: Access) -> ThreadWriter | ProcessWriter | None:
        """Return the writer: a process for a service, whose event loop a thread would slow down."""
        if access is Access.READ:
            return None
        collections = self.collections.values()
        if access is Access.RESTORE:
            by_name = {collection.schema.collection: collection for collection in collections}
            return ThreadWriter(environment, Databases(self.meta, by_name))
        opening = {
            "folder": str(self._folder),
            "data": identify_data(self._folder),
            "map_bytes": self._map_bytes,
            "schemas": [collection.schema.dump() for collection in collections],
        }
        return ProcessWriter(encode_fields(opening))

    async def _close_writer(self) -> None:
        if self._writer is not None:
            await self._writer.close()

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
