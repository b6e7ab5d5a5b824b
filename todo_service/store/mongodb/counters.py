"""The counters of rate limits that replicas share, in collections of their own."""

from __future__ import annotations

from collections.abc import Callable

from limits.aio.storage import MongoDBStorage

from todo_service.store.addresses import parse_database_name


def create_counter_storage(url: str, seconds: float) -> tuple[MongoDBStorage, Callable[[], None]]:
    """Return the storage of the counters in a database, and a function that closes it.

    Args:
        url: The address of the database.
        seconds: The timeout of a call.
    """
    # counts need not survive a crash of MongoDB, so a write concern of one member is enough
    storage = MongoDBStorage(
        f"async+{url}",
        database_name=parse_database_name(url),
        counter_collection_name="rate_limit_counters",
        window_collection_name="rate_limit_windows",
        appname="todo_service",
        w=1,
        journal=False,
        serverSelectionTimeoutMS=seconds * 1000,
        connectTimeoutMS=seconds * 1000,
        timeoutMS=seconds * 1000,
        # see `MongoDBConnection.disable_unsupported_retries`
        retryWrites=False,
    )
    return storage, storage.storage.close
