"""The files of a kept database: the data, and what the service answered about it.

The embedded store is kept as a compacted LMDB data file, MongoDB's as extended JSON with the declarations of the
indexes. Both are compressed.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb
import msgspec
from bson import json_util
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri

from todo_service.store.registry import find_local_folder

FOLDER: Final = Path(__file__).parent
STORES: Final = ("embedded", "mongodb")
_JSON: Final = json_util.CANONICAL_JSON_OPTIONS.with_options(tz_aware=True)


class Kept(msgspec.Struct, frozen=True):
    """What is known about a kept database.

    Attributes:
        secret_key: The secret key that it was served with.
        username: The account whose documents it holds.
        password: Its password.
        refresh_token: The refresh token of one of its sessions.
        api_key: One of its API keys.
        webhook_secret: The signing secret of its webhook that is enabled.
        sync_token: The token of the last call of `/v1/todos/changes`.
        answers: The JSON of the responses by path, as the account. Fields that depend on the time are omitted.
        documents: The number of documents by collection.
    """

    secret_key: str
    username: str
    password: str
    refresh_token: str
    api_key: str
    webhook_secret: str
    sync_token: str
    answers: dict[str, Any]
    documents: dict[str, int]


class Release(NamedTuple):
    """A kept database.

    Attributes:
        version: The version that made it.
        store: One of `STORES`.
    """

    version: str
    store: str

    @property
    def _data(self) -> Path:
        return FOLDER / self.version / ("embedded.mdb.gz" if self.store == "embedded" else "mongodb.json.gz")

    @property
    def _kept(self) -> Path:
        return FOLDER / self.version / f"{self.store}.json"

    def load_kept(self) -> Kept:
        """Return what is known about the database."""
        return msgspec.json.decode(self._kept.read_bytes(), type=Kept)

    def save(self, url: str, kept: Kept) -> None:
        """Keep the database at an address. No process may have it open."""
        self._data.parent.mkdir(exist_ok=True)
        folder = find_local_folder(url)
        data = _dump_mongodb(url) if folder is None else _dump_embedded(folder)
        self._data.write_bytes(gzip.compress(data, mtime=0))
        self._kept.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")

    def restore(self, url: str) -> None:
        """Write a copy of the database to an unused address."""
        data = gzip.decompress(self._data.read_bytes())
        folder = find_local_folder(url)
        if folder is None:
            _restore_mongodb(url, data)
        else:
            folder.mkdir(parents=True)
            (folder / "data.mdb").write_bytes(data)


def list_releases() -> list[Release]:
    """Return all kept databases."""
    versions = sorted(path.name for path in FOLDER.iterdir() if path.is_dir() and path.name[0].isdigit())
    return [Release(version, store) for version in versions for store in STORES]


def _dump_embedded(folder: Path) -> bytes:
    target = folder.with_name("compacted")
    target.mkdir()
    with lmdb.open(str(folder), max_dbs=128) as environment:
        environment.copy(str(target), compact=True)
    return (target / "data.mdb").read_bytes()


def _dump_mongodb(url: str) -> bytes:
    def dump(database: Any) -> str:
        collections = {
            name: {
                "indexes": list(database[name].list_indexes()),
                "documents": list(database[name].find().sort("_id")),
            }
            for name in sorted(database.list_collection_names())
        }
        return json_util.dumps(collections, json_options=_JSON, indent=1)

    text: str = _call_mongodb(url, dump)
    return text.encode()


def _restore_mongodb(url: str, data: bytes) -> None:
    def restore(database: Any) -> None:
        for name, collection in json_util.loads(data.decode(), json_options=_JSON).items():
            database.command("createIndexes", name, indexes=collection["indexes"])
            if collection["documents"]:
                database[name].insert_many(collection["documents"])

    _call_mongodb(url, restore)


def _call_mongodb(url: str, call: Callable[[Any], Any]) -> Any:
    with MongoClient[dict[str, Any]](url, tz_aware=True) as client:
        return call(client[parse_uri(url)["database"]])
