"""From an address to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

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
    parts = urlsplit(url)
    match parts.scheme:
        case "lmdb":
            if parts.netloc or len(parts.path) <= 1:
                raise StoreUnusable("the address of an embedded store is lmdb:///path, with three slashes")
            return EmbeddedStore(Path(unquote(parts.path)))
        case "mongodb" | "mongodb+srv":
            return MongoDBStore(url)
    raise StoreUnusable("the address of a store begins with lmdb://, mongodb:// or mongodb+srv://")
