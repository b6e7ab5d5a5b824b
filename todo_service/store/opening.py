"""From an address to a store."""

from __future__ import annotations

from todo_service.store.addresses import address_path, address_scheme
from todo_service.store.base import DocumentStore, StoreUnusable
from todo_service.store.embedded import EmbeddedStore
from todo_service.store.mongodb import MongoDBStore


def open_store(url: str) -> DocumentStore:
    """Return the store at an address; it is not open yet.

    Args:
        url: `lmdb:///absolute/path`, `mongodb://host/database` or `mongodb+srv://host/database`; without a database's
            name it is `todo_service`.

    Raises:
        StoreUnusable: the address is of another form.
    """
    match address_scheme(url):
        case "lmdb":
            try:
                return EmbeddedStore(address_path(url))
            except ValueError as error:
                raise StoreUnusable(f"the address of an embedded store cannot be used: {error}") from None
        case "mongodb" | "mongodb+srv":
            return MongoDBStore(url)
    raise StoreUnusable("the address of a store begins with lmdb://, mongodb:// or mongodb+srv://")
