"""A store in Python's dictionaries: an example of a store, and the proof that one needs nothing but its own module.

It is registered like the others (`register_dict_store`), and passes the conformance suite. Its documents live as long
as the process, under the name in the address: `dict://name`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

from bson import ObjectId, Timestamp
from odmantic import Model

from todo_service.store.base import Access, Condition, DocumentStore, FindResult, ModelT, Snapshot, Sort, State
from todo_service.store.bson_codec import decode, encode, move_id_first, read_id
from todo_service.store.capacity import SMALL_CHANGES_BYTES, check_indexed, check_loaded, check_size
from todo_service.store.codec import (
    build_model,
    dump,
    find_changed_stamp_key,
    find_stamp_key,
    to_result,
    validate_changes,
)
from todo_service.store.defaults import make_getter
from todo_service.store.errors import DuplicateDocument, StoreUnavailable, StoreUnusable, UnsupportedExpression
from todo_service.store.query.expressions import build_predicate, is_id_equality, normalize
from todo_service.store.query.kinds import get_kind
from todo_service.store.query.planner import list_indexes, parse_sort, plan_query
from todo_service.store.query.predicates import Node
from todo_service.store.registry import StoreType, register

SCHEME: Final = "dict"
_BATCH_DOCUMENTS: Final = 1000
_EMPTY_LIST: Final = (0, 0)
"""The index entry of an empty list, which equals that of no value."""


class Database:
    """The documents of one store, as BSON by collection and id."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[bytes, bytes]] = {}
        self.clock = Timestamp(0, 0)
        self.state = State(uuid.uuid4().hex)


databases: Final[dict[str, Database]] = {}
"""The databases of this process, by address. Delete one to free its memory."""


class DictStore(DocumentStore):
    """A document store in dictionaries.

    Args:
        url: `dict://name`. Stores with the same name share their documents.
    """

    resolves_at_once = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._database: Database | None = None
        self._models: tuple[type[Model], ...] = ()

    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """See `DocumentStore.open`."""
        if access is Access.READ and self._url not in databases:
            raise StoreUnusable(f"{self._url} contains no store")
        for model in models:
            list_indexes(model)
        database = databases.setdefault(self._url, Database())
        if database.state.restoring_from is not None and access is not Access.RESTORE:
            raise StoreUnusable("a copy into this store was not finished: run it again")
        self._database, self._models = database, models

    async def close(self) -> None:
        """See `DocumentStore.close`."""
        self._database = None

    @property
    def state(self) -> State:
        """See `DocumentStore.state`."""
        return self._get_database().state

    @state.setter
    def state(self, state: State) -> None:
        self._get_database().state = state

    async def ping(self) -> None:
        """See `DocumentStore.ping`."""
        self._get_database()

    async def insert(self, *documents: Model) -> None:
        """See `DocumentStore.insert`."""
        for each in documents:
            model, document = type(each), dump(each)
            self._stamp(model, document)
            raw = check_size(model, encode(document))
            check_indexed(model, document)
            if read_id(raw) in self._get_collection(model):
                raise DuplicateDocument(model.__name__, "id")
            self._put(model, raw)

    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """See `DocumentStore.get`."""
        found = self._find(model, normalize(where), None)
        return to_result(found[0], model, into) if found else None

    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        into: type[Any] | None = None,
        selective: bool = False,
    ) -> FindResult[Any]:
        """See `DocumentStore.find`."""
        found: list[Any] = []
        size = 0
        for raw in self._find(model, normalize(where), sort)[: max(0, limit)]:
            found.append(to_result(raw, model, into))
            size += len(raw)
            if max_bytes is not None and size >= max_bytes:
                return FindResult(found, truncated=len(found) < limit)
        return FindResult(found)

    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        """See `DocumentStore.update`."""
        nodes = normalize(where)
        if not any(map(is_id_equality, nodes)):
            raise UnsupportedExpression("an update needs equality on the id")
        changed = validate_changes(model, changes)
        check_indexed(model, changed)
        found = self._find(model, nodes, None)
        if not found:
            return None
        [raw] = found
        if changed:
            document = decode(raw) | changed
            if find_changed_stamp_key(model, changed) is not None:
                self._stamp(model, document)
            raw = encode(document)
            if len(encode({"_id": document["_id"], **changed})) > SMALL_CHANGES_BYTES:
                check_size(model, raw)
            self._put(model, raw)
        return to_result(raw, model, into)

    async def delete(self, model: type[Model], *where: Condition) -> int:
        """See `DocumentStore.delete`."""
        found = self._find(model, normalize(where), None)
        for raw in found:
            del self._get_collection(model)[read_id(raw)]
        return len(found)

    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """See `DocumentStore.count`."""
        return len(self._find(model, normalize(where), None)[:limit])

    async def resolved_stamp(self) -> Timestamp:
        """See `DocumentStore.resolved_stamp`."""
        return self._get_database().clock

    async def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """See `DocumentStore.scan`."""
        for identity in sorted(self._get_collection(model)):
            raw = self._get_collection(model).get(identity)
            if raw is not None:
                yield build_model(model, decode(raw))

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `DocumentStore.snapshot`."""
        yield DictSnapshot({model: dict(self._get_collection(model)) for model in self._models})

    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """See `DocumentStore.load`."""
        written = 0
        collection, stamped = self._get_collection(model), find_stamp_key(model)
        for raw in documents:
            if collection.get(read_id(raw)) == raw:
                continue
            document = decode(check_loaded(model, raw))
            check_indexed(model, document, validated=False)
            self._put(model, raw)
            written += 1
            if stamped and isinstance(stamp := document.get(stamped), Timestamp):
                self._get_database().clock = max(self._get_database().clock, stamp)
        return written

    async def clear(self, model: type[Model]) -> None:
        """See `DocumentStore.clear`."""
        self._get_collection(model).clear()

    async def set_state(self, state: State) -> None:
        """See `DocumentStore.set_state`."""
        self.state = state

    def _get_database(self) -> Database:
        if self._database is None:
            raise StoreUnavailable("the store is closed")
        return self._database

    def _get_collection(self, model: type[Model]) -> dict[bytes, bytes]:
        database = self._get_database()
        if model not in self._models:
            raise UnsupportedExpression(f"the store was not opened for {model.__name__}")
        return database.collections.setdefault(model.__collection__, {})

    def _find(self, model: type[Model], nodes: tuple[Node, ...], sort: Sort | None) -> list[bytes]:
        """Return all documents that match, in order. The plan is made only to refuse what no index serves."""
        collection = self._get_collection(model)
        plan_query(model, nodes, sort)
        matches = build_predicate(nodes, model)
        documents = [decode(raw) for raw in self._preselect(collection, nodes)]
        found = [document for document in documents if matches is None or matches(document)]
        if sort is not None:
            keys, descending = parse_sort(sort)
            getters = [make_getter(model, key) for key in keys]
            found.sort(
                key=lambda document: [_to_sort_key(get_value(document)) for get_value in getters],
                reverse=descending,
            )
        return [collection[document["_id"].binary] for document in found]

    def _preselect(self, collection: dict[bytes, bytes], nodes: Iterable[Node]) -> list[bytes]:
        for node in nodes:
            if is_id_equality(node):
                raw = collection.get(node.value.binary) if isinstance(node.value, ObjectId) else None
                return [] if raw is None else [raw]
        return list(collection.values())

    def _put(self, model: type[Model], raw: bytes) -> None:
        """Write a document, unless another one has the same values in a unique index."""
        collection, identity, document = self._get_collection(model), read_id(raw), decode(raw)
        for index in list_indexes(model)[1:]:
            if not index.unique:
                continue
            own = _list_entries(model, document, index.keys)
            others = (decode(other) for other in collection.values() if read_id(other) != identity)
            if any(not own.isdisjoint(_list_entries(model, other, index.keys)) for other in others):
                raise DuplicateDocument(model.__name__, _find_field(model, index.keys[-1]))
        collection[identity] = raw

    def _stamp(self, model: type[Model], document: dict[str, Any]) -> None:
        stamped = find_stamp_key(model)
        if stamped is not None:
            database, seconds = self._get_database(), int(time.time())
            last = database.clock
            database.clock = Timestamp(seconds, 1) if seconds > last.time else Timestamp(last.time, last.inc + 1)
            document[stamped] = database.clock


class DictSnapshot(Snapshot):
    """A copy of the dictionaries.

    Args:
        collections: The documents of each model.
    """

    point_in_time = True

    def __init__(self, collections: Mapping[type[Model], Mapping[bytes, bytes]]) -> None:
        self.taken_at = datetime.now(UTC)
        self._collections = collections

    async def size(self, model: type[Model]) -> int:
        """See `Snapshot.size`."""
        return len(self._collections.get(model, ()))

    async def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """See `Snapshot.documents`."""
        collection = self._collections.get(model, {})
        identities = sorted(identity for identity in collection if after is None or identity > after.binary)
        for start in range(0, len(identities), _BATCH_DOCUMENTS):
            yield [move_id_first(collection[each]) for each in identities[start : start + _BATCH_DOCUMENTS]]


def register_dict_store() -> None:
    """Let `registry.create_store` know the addresses of these stores."""
    register(StoreType((SCHEME,), DictStore, is_local=False))


def _to_sort_key(value: Any) -> tuple[int, Any]:
    """Return a key that sorts values of all kinds as `base` says. No index that serves a sort has a list in it."""
    kind = get_kind(value)
    if kind is None:
        raise UnsupportedExpression(f"a {type(value).__name__} cannot be sorted")
    return kind, 0 if value is None else value


def _list_entries(model: type[Model], document: Mapping[str, Any], keys: tuple[str, ...]) -> set[Any]:
    """Return the combinations of a document's values in an index: one for each element of a list."""
    entries = []
    for key in keys:
        value = make_getter(model, key)(document)
        values = value or [_EMPTY_LIST] if isinstance(value, list) else [value]
        entries.append([each if each is _EMPTY_LIST else _to_sort_key(each) for each in values])
    return set(product(*entries))


def _find_field(model: type[Model], key: str) -> str:
    return next(name for name, field in model.__odm_fields__.items() if field.key_name == key)
