"""The registry of stores: the only module that knows their URL schemes and capabilities.

A store is imported when it is created, so that the command line can start without loading the drivers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from todo_service.store.addresses import format_address, parse_path, parse_scheme
from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnusable

if TYPE_CHECKING:
    from limits.aio.storage import Storage


class StoreType(NamedTuple):
    """A kind of document store.

    Attributes:
        schemes: The URL schemes of its addresses, in lower case.
        create: Returns the store at an address, not yet open.
        is_local: Whether the address is the path of a folder on this machine (`scheme:///path`).
        create_counter_storage: If replicas of the service can share the store, returns the storage of the rate limits
            that they share, and a function that closes it. Its arguments are the address and the timeout of a call,
            in seconds. None if replicas cannot share the store.
    """

    schemes: tuple[str, ...]
    create: Callable[[str], DocumentStore]
    is_local: bool
    create_counter_storage: Callable[[str, float], tuple[Storage, Callable[[], None]]] | None = None


_types: Final[dict[str, StoreType]] = {}


def register(store_type: StoreType) -> None:
    """Add a kind of store, or replace the one that has its schemes."""
    _types.update(dict.fromkeys(store_type.schemes, store_type))


def list_address_forms() -> list[str]:
    """Return the forms of the addresses of all registered stores, such as `lmdb:///path`."""
    return [f"{scheme}:///path" if found.is_local else f"{scheme}://…" for scheme, found in _types.items()]


def list_schemes() -> list[str]:
    """Return the URL schemes of all registered stores."""
    return list(_types)


def find_store_type(url: str) -> StoreType:
    """Return the kind of store at an address.

    Raises:
        StoreUnusable: No store has this scheme.
    """
    found = _types.get(parse_scheme(url))
    if found is None:
        known = [f"{scheme}://" for scheme in _types]
        raise StoreUnusable(f"the address of a store begins with {', '.join(known[:-1])} or {known[-1]}")
    return found


def create_store(url: str) -> DocumentStore:
    """Return the store at an address, not yet open.

    Args:
        url: `lmdb:///absolute/path`, `mongodb://host/database` or `mongodb+srv://host/database`. The default name of
            the database is `todo_service`.

    Raises:
        StoreUnusable: The address is invalid.
    """
    return find_store_type(url).create(url)


def find_local_folder(url: str) -> Path | None:
    """Return the folder of a store on this machine, or None for a store on a server.

    Raises:
        StoreUnusable: No store has this scheme.
        ValueError: The path is invalid; the message says why.
    """
    return parse_path(url) if find_store_type(url).is_local else None


def format_embedded_address(folder: Path) -> str:
    """Return the address of the embedded store in a folder."""
    return format_address("lmdb", folder)


def _create_embedded(url: str) -> DocumentStore:
    from todo_service.store.embedded.store import EmbeddedStore  # see the module's docstring

    try:
        return EmbeddedStore(parse_path(url))
    except ValueError as error:
        raise StoreUnusable(f"the address of an embedded store cannot be used: {error}") from None


def _create_mongodb(url: str) -> DocumentStore:
    from todo_service.store.mongodb.store import MongoDBStore  # see the module's docstring

    return MongoDBStore(url)


def _create_mongodb_counters(url: str, seconds: float) -> tuple[Storage, Callable[[], None]]:
    from todo_service.store.mongodb.counters import create_counter_storage  # see the module's docstring

    return create_counter_storage(url, seconds)


register(StoreType(("lmdb",), _create_embedded, is_local=True))
register(
    StoreType(
        ("mongodb", "mongodb+srv"), _create_mongodb, is_local=False, create_counter_storage=_create_mongodb_counters
    )
)
