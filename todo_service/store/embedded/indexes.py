"""Scans of indexes: they run the plans of queries."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator
from itertools import islice, product, takewhile
from operator import itemgetter
from typing import Final, NamedTuple

import lmdb
from odmantic import Model

from todo_service.store.bson_codec import decode_cached
from todo_service.store.capacity import KEY_BYTES
from todo_service.store.defaults import make_getter
from todo_service.store.embedded.keys import AFTER, encode_text_prefix, encode_value, type_end, type_tag
from todo_service.store.query.expressions import build_predicate
from todo_service.store.query.kinds import ValueKind, get_kind
from todo_service.store.query.planner import Plan
from todo_service.store.query.predicates import STARTS_WITH

_AFTER_EVERY_ID: Final = AFTER * 13
_IDS_PER_STEP: Final = 500
"""How many ids a scan collects before it can be interrupted."""
_FEW_DOCUMENTS: Final = 50
"""Up to this many documents, sorting is faster than finding them in the index of the sort order."""
_SEEK_BYTES: Final = KEY_BYTES + 1
"""The length to which a bound is truncated for a seek, the longest key that LMDB accepts. Every stored key is shorter,
so a truncated bound equals none of them and separates them as the full bound does."""


class IndexRange(NamedTuple):
    """A contiguous range of keys with the same leading values.

    Attributes:
        prefix: The leading values.
        start: The first key, inclusive.
        end: The last key, exclusive.
    """

    prefix: bytes
    start: bytes
    end: bytes


def compute_index_ranges(plan: Plan) -> list[IndexRange]:
    """Return the ranges of an index that a plan reads, in ascending order."""
    prefixes = {
        b"".join(parts) for parts in product(*([encode_value(value) for value in values] for values in plan.fixed))
    }
    return [_compute_index_range(plan, prefix) for prefix in sorted(prefixes)]


def _compute_index_range(plan: Plan, prefix: bytes) -> IndexRange:
    start, end = prefix, prefix + AFTER
    if plan.bounds:
        kind = get_kind(plan.bounds[0].value)
        assert kind is not None  # normalized values have one
        start, end = prefix + type_tag(kind), prefix + type_end(kind)
    for bound in plan.bounds:
        limit = prefix + encode_value(bound.value)
        match bound.operator:
            case "$gt":
                start = limit + AFTER
            case "$gte":
                start = limit
            case "$lt":
                end = limit
            case "$lte":
                end = limit + AFTER
            case operator if operator == STARTS_WITH:
                start = prefix + encode_text_prefix(bound.value)
                end = start + AFTER
    return IndexRange(prefix, start, end)


class IndexScan:
    """Runs a plan on a secondary index.

    Args:
        model: The model.
        plan: The plan.
        documents: The database of the documents.
        index: The database of the index.
    """

    def __init__(self, model: type[Model], plan: Plan, documents: lmdb._Database, index: lmdb._Database) -> None:
        self._model = model
        self._plan = plan
        self._ranges = compute_index_ranges(plan)
        self._documents = documents
        self._index = index
        self._residual = build_predicate(plan.residual, model)
        # a range over the elements of a list can contain several entries of a document
        self._may_repeat = plan.declared.list_key in plan.declared.keys[len(plan.fixed) :]

    @property
    def leading(self) -> Hashable:
        """See `Plan.leading_value`."""
        found: Hashable = self._plan.leading_value
        return found

    def iter_ids(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Yield the ids of the matching documents in any order, and None for each entry that does not match."""
        if self._residual is None and not self._may_repeat:
            for part in self._ranges:
                yield from map(itemgetter(1), self._iter_entries(transaction, part))
            return
        for document_id in self._iter_ordered_ids(transaction):
            matches = document_id is not None and self._read(transaction, document_id) is not None
            yield document_id if matches else None

    def count(self, transaction: lmdb.Transaction, limit: int) -> int | None:
        """Count the matching documents from the entries alone, up to a limit. Return None if that is not possible."""
        if self._residual is not None or self._may_repeat:
            return None
        found = 0
        for part in self._ranges:
            with transaction.cursor(self._index) as cursor:
                if cursor.set_range(part.start[:_SEEK_BYTES]) if part.start else cursor.first():
                    keys = list(islice(cursor.iternext(keys=True, values=False), limit - found))
                    found += bisect_left(keys, part.end)
        return found

    def iter_documents(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Yield the matching documents in order, as BSON, and None for each entry that does not match."""
        if self._residual is None:
            for document_id in self._iter_ordered_ids(transaction):
                yield None if document_id is None else transaction.get(document_id, db=self._documents)
            return
        for document_id in self._iter_ordered_ids(transaction):
            yield None if document_id is None else self._read(transaction, document_id)

    def iter_in_order(
        self, ordered: IndexScan, sort_keys: tuple[str, ...], transaction: lmdb.Transaction
    ) -> Iterator[bytes | None]:
        """Yield the matching documents in the order of another index, and None for each entry that does not match.

        This takes less time than scanning the other index if this one yields few documents. As many entries of the
        other index are searched as there are documents; those that are not found there are read and sorted.

        Args:
            ordered: A scan of the other index for the same conditions.
            sort_keys: The keys of the order.
            transaction: The transaction.
        """
        left: set[bytes] = set()
        for part in self._ranges:
            document_ids = map(itemgetter(1), self._iter_entries(transaction, part))
            while some := list(islice(document_ids, _IDS_PER_STEP)):
                left.update(some)
                yield None
        if len(left) > _FEW_DOCUMENTS:
            entries = ordered._iter_ordered_ids(transaction)
            for document_id in islice(entries, len(left)):
                if document_id in left:
                    left.remove(document_id)
                    yield self._read(transaction, document_id)
                else:
                    yield None
            if next(entries, None) is None:
                return
        # the id sorts as its bytes do, and decides between equal values
        getters = [make_getter(self._model, key) for key in takewhile("_id".__ne__, sort_keys)]
        found: list[tuple[bytes, bytes]] = []
        for document_id in left:
            raw = self._read(transaction, document_id)
            if raw is not None:
                document = decode_cached(raw)
                found.append((b"".join([encode_value(get_value(document)) for get_value in getters]), document_id))
            yield None
        found.sort(reverse=ordered._plan.descending)
        for _, document_id in found:
            yield transaction.get(document_id, db=self._documents)

    def _read(self, transaction: lmdb.Transaction, document_id: bytes) -> bytes | None:
        """Return a document, or None if it does not match the residual conditions."""
        raw: bytes = transaction.get(document_id, db=self._documents)
        return raw if self._residual is None or self._residual(decode_cached(raw)) else None

    def _iter_ordered_ids(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Return an iterator over the ids in order, with None for each further entry of a document."""
        if len(self._ranges) == 1:
            entries = self._iter_entries(transaction, self._ranges[0])
        else:
            ranges = [self._iter_without_prefix(transaction, part) for part in self._ranges]
            entries = heapq.merge(*ranges, key=itemgetter(0), reverse=self._plan.descending)
        document_ids = map(itemgetter(1), entries)
        return _deduplicate(document_ids) if self._may_repeat else document_ids

    def _iter_without_prefix(self, transaction: lmdb.Transaction, part: IndexRange) -> Iterator[tuple[bytes, bytes]]:
        """Return an iterator over the entries of a range with their keys cut to the part by which ranges are merged."""
        length = len(part.prefix)
        return ((key[length:], document_id) for key, document_id in self._iter_entries(transaction, part))

    def _iter_entries(self, transaction: lmdb.Transaction, part: IndexRange) -> Iterator[tuple[bytes, bytes]]:
        return self._iter_between(transaction.cursor(self._index), part.start, part.end)

    def _iter_between(self, cursor: lmdb.Cursor, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries from `start` (inclusive) to `end` (exclusive) in the direction of the plan."""
        if self._plan.descending:
            if cursor.prev() if cursor.set_range(end[:_SEEK_BYTES]) else cursor.last():
                yield from takewhile(lambda entry: entry[0] >= start, cursor.iterprev())
        elif cursor.set_range(start[:_SEEK_BYTES]) if start else cursor.first():
            yield from takewhile(lambda entry: entry[0] < end, cursor.iternext())


class PrimaryKeyScan(IndexScan):
    """Runs a plan on the documents themselves, which are sorted by id."""

    def count(self, transaction: lmdb.Transaction, limit: int) -> None:
        """Return None: without index entries, a count has to read the documents."""

    def _iter_entries(self, transaction: lmdb.Transaction, part: IndexRange) -> Iterator[tuple[bytes, bytes]]:
        # documents are stored under their ids without the tag of an encoded value
        tag = type_tag(ValueKind.OBJECT_ID)
        start, end = part.start[len(tag) :], part.end[len(tag) :] or _AFTER_EVERY_ID
        for document_id, _ in self._iter_between(transaction.cursor(self._documents), start, end):
            yield tag + document_id, document_id


def _deduplicate(document_ids: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield each id once, and None for each repetition."""
    seen: set[bytes] = set()
    for document_id in document_ids:
        yield None if document_id in seen else document_id
        seen.add(document_id)
