"""The connection to a MongoDB database: its client, its collections and the timeouts of its calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient
from odmantic import AIOEngine, Model
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from todo_service.cancellation import wait_for_end
from todo_service.store.addresses import parse_database_name
from todo_service.store.base import Access
from todo_service.store.bson_codec import PLAIN, RAW
from todo_service.store.errors import (
    DuplicateDocument,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    UnsupportedExpression,
)
from todo_service.store.mongodb.driver_waits import correct_driver_waits
from todo_service.store.mongodb.errors import redact_address_error, translate_error

CALL_SECONDS: Final = 3.5
"""The timeout of a call while the store serves."""
DRIVER_SECONDS: Final = 4.0
"""The driver's own timeout of a call. It is longer, so that a call is not cancelled while the driver ends it."""
COPY_CALL_SECONDS: Final = 600.0
"""The timeout of a call during a copy, and of building an index."""
_SELECTION_SECONDS: Final = 2.0
"""The timeout for finding a server, and for connecting to one."""
_MONITORING_SECONDS: Final = 2.0
"""How often the driver checks a server. After some network errors, calls fail until the next check."""
_APP_NAME_BYTES: Final = 128
"""MongoDB's limit on the name of a connection."""
P = ParamSpec("P")
T = TypeVar("T")


class MongoDBConnection:
    """A connection to a database, for the models that the store was opened for.

    Args:
        url: The address; see `MongoDBStore`.

    Attributes:
        models: The models that the store was opened for.
    """

    def __init__(self, url: str) -> None:
        self.models: tuple[type[Model], ...] = ()
        self._url = url
        self._options: dict[str, Any] = {}
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._database: AsyncDatabase[dict[str, Any]] | None = None
        self._collections: dict[tuple[type[Model], bool], AsyncCollection[Any]] = {}

    def open(self, models: tuple[type[Model], ...], access: Access) -> None:
        """Create the client. It connects at the first call.

        Raises:
            StoreUnusable: The address is invalid.
        """
        correct_driver_waits()
        try:
            self._options = _build_options(parse_database_name(self._url), access)
            self._create_client()
        except Exception as error:  # parsing an address also raises errors of the libraries that the driver uses
            raise StoreUnusable(f"the address of MongoDB cannot be used: {redact_address_error(error)}") from None
        self.models = models

    async def disable_unsupported_retries(self) -> None:
        """Disable retryable writes if the server is standalone, because it does not support them.

        If a write fails before it has a connection, the driver would otherwise retry it until the timeout without a
        pause, and so block the event loop. Each retry would raise the first error again, and close a new connection.
        """
        if supports_sessions(await self.hello()):
            return
        await self.client.close()
        self._options["retryWrites"] = False
        self._create_client()

    async def close(self) -> None:
        """Close the client. Closing twice is allowed."""
        client, self._client, self._database = self._client, None, None
        self._collections.clear()
        if client is not None:
            await client.close()

    @property
    def is_open(self) -> bool:
        """Whether there is a client."""
        return self._client is not None

    @property
    def client(self) -> AsyncMongoClient[dict[str, Any]]:
        """The driver's client.

        Raises:
            StoreUnavailable: The connection is closed.
        """
        if self._client is None:
            raise StoreUnavailable("the store is closed")
        return self._client

    @property
    def database(self) -> AsyncDatabase[dict[str, Any]]:
        """The database.

        Raises:
            StoreUnavailable: The connection is closed.
        """
        if self._database is None:
            raise StoreUnavailable("the store is closed")
        return self._database

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[AIOEngine]:
        """Provide ODMantic's engine for the database. It needs a client of its own, of another driver."""
        client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(self._url, **self._options)
        try:
            yield AIOEngine(client, self.database.name)
        finally:
            # blocks: it ends the client's sessions on the server
            await asyncio.to_thread(client.close)

    def collection(self, model: type[Model], *, raw: bool = False) -> AsyncCollection[Any]:
        """Return the collection of a model.

        Args:
            model: The model.
            raw: Whether its documents are raw BSON rather than dictionaries.

        Raises:
            StoreUnavailable: The connection is closed.
            UnsupportedExpression: The store was not opened for the model.
        """
        database = self.database
        # the driver would create a new collection object for each call
        collection = self._collections.get((model, raw))
        if collection is None:
            if model not in self.models:
                raise UnsupportedExpression(f"the store was not opened for {model.__name__}")
            options: CodecOptions[Any] = RAW if raw else PLAIN
            collection = database.get_collection(model.__collection__, codec_options=options)
            self._collections[model, raw] = collection
        return collection

    def _create_client(self) -> None:
        """Create a client with the options. It connects at the first call."""
        self._client = AsyncMongoClient(self._url, **self._options)
        self._database = self._client[parse_database_name(self._url)]

    async def hello(self, seconds: float = CALL_SECONDS) -> dict[str, Any]:
        """Return the primary's description of itself, including its clock.

        Args:
            seconds: The timeout.
        """
        client = self.client
        async with guard_call(seconds=seconds):
            hello: dict[str, Any] = await client.admin.command("hello")
        return hello


def supports_sessions(hello: Mapping[str, Any]) -> bool:
    """Return whether a server supports retryable writes and snapshot reads, given its response to `hello`."""
    return "setName" in hello or hello.get("msg") == "isdbgrid"


def cancel_once(call: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Run a coroutine function that calls the driver in a task of its own, which is cancelled at most once.

    A cancelled call returns its connection to the driver's pool. A second cancellation would interrupt that, and the
    pool would count the connection as in use for good. A cancelled caller waits until the call has ended.
    """

    @wraps(call)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        task = asyncio.create_task(call(*args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelling():  # `guard_call` may have cancelled it at this moment
                task.cancel()
            await wait_for_end(task)
            raise

    return run


def guard_call(model: type[Model] | None = None, seconds: float | None = CALL_SECONDS) -> CallGuard:
    """Return an async context manager that limits the time of a call to the driver, and translates its errors.

    The time includes the wait for a connection. If the driver suppresses a cancellation, it is raised again at the end
    of the block: before Python 3.12, `asyncio.wait_for`, which the driver calls, suppresses a cancellation that arrives
    as the awaited call ends. A cancellation that was requested before the call is raised at the start of the block.

    Args:
        model: The model whose documents are written, or None for a read.
        seconds: The timeout, or None for none.
    """
    return CallGuard(model, seconds)


class CallGuard:
    """See `guard_call`. A class, because `asynccontextmanager` is several times slower."""

    __slots__ = ("_cancellations", "_expired", "_model", "_seconds", "_task", "_timer")

    def __init__(self, model: type[Model] | None, seconds: float | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._model = model
        self._seconds = seconds
        self._cancellations = task.cancelling()
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False

    async def __aenter__(self) -> None:
        if self._cancellations:
            await asyncio.sleep(0)  # raises a cancellation that has been requested but not raised yet
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._expired:
            self._task.uncancel()
        if self._task.cancelling() > self._cancellations:
            raise asyncio.CancelledError
        if isinstance(error, TimeoutError) or (self._expired and isinstance(error, asyncio.CancelledError)):
            raise StoreUnavailable("MongoDB does not respond in time") from error
        # the driver also raises errors of BSON, numbers and texts that are not its own
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            found = translate_error(error, self._model)
            raise found from (None if isinstance(found, DuplicateDocument | StoreUnusable) else error)

    def _expire(self) -> None:
        """Cancel the call, as `asyncio.timeout` does, unless it is being cancelled already (see `cancel_once`)."""
        if self._task.cancelling() == self._cancellations:
            self._expired = True
            self._task.cancel()


def _build_options(database: str, access: Access) -> dict[str, Any]:
    """Return the options of a client, which override those of the address."""
    return {
        "appname": build_app_name(database) if access is Access.SERVE else "todo_service copy",
        "tz_aware": True,
        "unicode_decode_error_handler": "replace",
        "w": "majority",
        "journal": True,
        # the change feed relies on the clock of the member that it reads
        "readPreference": "primary",
        "serverSelectionTimeoutMS": _SELECTION_SECONDS * 1000,
        "connectTimeoutMS": _SELECTION_SECONDS * 1000,
        "heartbeatFrequencyMS": _MONITORING_SECONDS * 1000,
        "timeoutMS": DRIVER_SECONDS * 1000 if access is Access.SERVE else None,
        "socketTimeoutMS": COPY_CALL_SECONDS * 1000,
    }


def build_app_name(database: str) -> str:
    """Return the application name by which the server lists the connections of a serving process."""
    return f"todo_service/{database}".encode()[:_APP_NAME_BYTES].decode(errors="ignore")
