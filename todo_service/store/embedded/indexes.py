"""Indexes as ordered LMDB keys: what is stored for a document, and how a plan walks it.

An entry's key is the document's values in the index's order, then the document's id; its value is the id. A key is at
most `KEY_BYTES` long (`capacity` bounds the texts that an index holds), so the order of the keys is the order of the
documents.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice, product, takewhile
from operator import itemgetter
from typing import Any, Final, NamedTuple

import lmdb

from todo_service.store.capacity import KEY_BYTES
from todo_service.store.codec import decode_cached
from todo_service.store.embedded.keys import AFTER, EMPTY_LIST, encode, encode_beginning, end_of_type, type_tag
from todo_service.store.query.expressions import STARTS_WITH, Kind, build_predicate, get_kind
from todo_service.store.query.planner import DeclaredIndex, Plan

_AFTER_EVERY_ID: Final = AFTER * 13
_SEEK_BYTES: Final = KEY_BYTES + 1
"""Where a bound is cut to be looked up, since LMDB takes no longer key. Every key is shorter, so a bound that was cut
equals none, and divides the keys as the whole bound does."""


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are surely indexed alike: equal, and of one type with all their elements."""
    if type(one) is not type(other) or one != other:
        return False
    return type(one) is not list or all(map(same, one, other))


class Entries:
    """What indexes hold of one document. Each value is encoded once, whichever indexes it is in.

    Args:
        document: The document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._encoded: dict[str, tuple[bytes, ...]] = {}

    def prefixes(self, index: DeclaredIndex) -> set[bytes]:
        """Return its values in an index, encoded: one for each element where a key holds a list.

        Raises:
            UnsupportedExpression: a value cannot be indexed.
        """
        values = [self._encoded.get(key) or self._encode(key) for key in index.keys]
        return set(map(b"".join, product(*values)))

    def keys(self, index: DeclaredIndex) -> set[bytes]:
        """Return its keys in an index. See `prefixes` for the errors."""
        if index.keys[-1] == "_id":
            return self.prefixes(index)
        (identity,) = self._encoded.get("_id") or self._encode("_id")
        return {prefix + identity for prefix in self.prefixes(index)}

    def _encode(self, key: str) -> tuple[bytes, ...]:
        value = self._document.get(key)
        if isinstance(value, list):
            found = tuple({encode(element) for element in value}) or (EMPTY_LIST,)
        else:
            found = (encode(value),)
        self._encoded[key] = found
        return found


class Range(NamedTuple):
    """The keys of a plan that begin with the same values, from `start` to before `end`.

    Attributes:
        prefix: The values.
    """

    prefix: bytes
    start: bytes
    end: bytes


def ranges_of(plan: Plan) -> list[Range]:
    """Return the parts of an index that a plan walks, in order."""
    prefixes = {b"".join(parts) for parts in product(*([encode(value) for value in values] for values in plan.fixed))}
    return [_range_of(plan, prefix) for prefix in sorted(prefixes)]


def _range_of(plan: Plan, prefix: bytes) -> Range:
    start, end = prefix, prefix + AFTER
    if plan.bounds:
        kind = get_kind(plan.bounds[0].value)
        assert kind is not None  # normalised values have one
        start, end = prefix + type_tag(kind), prefix + end_of_type(kind)
    for bound in plan.bounds:
        limit = prefix + encode(bound.value)
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
                start = prefix + encode_beginning(bound.value)
                end = start + AFTER
    return Range(prefix, start, end)


class IndexScan:
    """Goes through what a plan finds, in order.

    Args:
        plan: The plan.
        documents: The database of the documents.
        index: The database of the index.
    """

    def __init__(self, plan: Plan, documents: lmdb._Database, index: lmdb._Database) -> None:
        self._plan = plan
        self._ranges = ranges_of(plan)
        self._documents = documents
        self._index = index
        self._residual = build_predicate(plan.residual)
        # a list whose elements are walked may hold a document more than once
        self._repeating = plan.declared.list_key in plan.declared.keys[len(plan.fixed) :]

    @property
    def leading(self) -> Hashable:
        """See `Plan.leading_value`."""
        found: Hashable = self._plan.leading_value
        return found

    def identities(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Yield the id of each document that matches, in any order, and None for each look at one that does not."""
        if self._residual is None and not self._repeating:
            for part in self._ranges:
                yield from map(itemgetter(1), self._entries(transaction, part))
            return
        for identity in self._walk(transaction):
            matches = identity is not None and self._read(transaction, identity) is not None
            yield identity if matches else None

    def number(self, transaction: lmdb.Transaction, most: int) -> int | None:
        """Return how many documents match, `most` at most, where the entries alone tell; else None."""
        if self._residual is not None or self._repeating:
            return None
        found = 0
        for part in self._ranges:
            with transaction.cursor(self._index) as cursor:
                if cursor.set_range(part.start[:_SEEK_BYTES]) if part.start else cursor.first():
                    keys = list(islice(cursor.iternext(keys=True, values=False), most - found))
                    found += bisect_left(keys, part.end)
        return found

    def documents(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Yield the BSON of each document that matches, and None for each that was looked at and does not."""
        if self._residual is None:
            for identity in self._walk(transaction):
                yield None if identity is None else transaction.get(identity, db=self._documents)
            return
        for identity in self._walk(transaction):
            yield None if identity is None else self._read(transaction, identity)

    def _read(self, transaction: lmdb.Transaction, identity: bytes) -> bytes | None:
        """Return a document, or None where the residual conditions do not hold for it."""
        raw: bytes = transaction.get(identity, db=self._documents)
        return raw if self._residual is None or self._residual(decode_cached(raw)) else None

    def _walk(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Return ids in order, and None for each entry of a document that came before."""
        if len(self._ranges) == 1:
            entries = self._entries(transaction, self._ranges[0])
        else:
            walks = [self._walk_range(transaction, part) for part in self._ranges]
            entries = heapq.merge(*walks, key=itemgetter(0), reverse=self._plan.descending)
        identities = map(itemgetter(1), entries)
        return _first_times(identities) if self._repeating else identities

    def _walk_range(self, transaction: lmdb.Transaction, part: Range) -> Iterator[tuple[bytes, bytes]]:
        """Yield what a range holds, in order, each with its key after the prefix, by which ranges are merged."""
        length = len(part.prefix)
        return ((key[length:], identity) for key, identity in self._entries(transaction, part))

    def _entries(self, transaction: lmdb.Transaction, part: Range) -> Iterator[tuple[bytes, bytes]]:
        return self._between(transaction.cursor(self._index), part.start, part.end)

    def _between(self, cursor: lmdb.Cursor, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries from `start` to before `end`, in the plan's direction."""
        if self._plan.descending:
            if cursor.prev() if cursor.set_range(end[:_SEEK_BYTES]) else cursor.last():
                yield from takewhile(lambda entry: entry[0] >= start, cursor.iterprev())
        elif cursor.set_range(start[:_SEEK_BYTES]) if start else cursor.first():
            yield from takewhile(lambda entry: entry[0] < end, cursor.iternext())


class PrimaryKeyScan(IndexScan):
    """Goes through documents in the order of their ids."""

    def number(self, transaction: lmdb.Transaction, most: int) -> None:
        """Have them gone through: there are no entries, but the documents themselves."""

    def _entries(self, transaction: lmdb.Transaction, part: Range) -> Iterator[tuple[bytes, bytes]]:
        # the documents' own keys are ids without the tag that an index gives them
        tag = type_tag(Kind.OBJECT_ID)
        start, end = part.start[len(tag) :], part.end[len(tag) :] or _AFTER_EVERY_ID
        for identity, _ in self._between(transaction.cursor(self._documents), start, end):
            yield tag + identity, identity


def _first_times(identities: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield each id where it comes first, and None where it comes again."""
    seen: set[bytes] = set()
    for identity in identities:
        yield None if identity in seen else identity
        seen.add(identity)


def violates_unique(
    transaction: lmdb.Transaction, index: DeclaredIndex, database: lmdb._Database, document: Mapping[str, Any]
) -> bool:
    """Tell whether another document has the same values in a unique index."""
    own = document["_id"].binary
    for prefix in Entries(document).prefixes(index):
        with transaction.cursor(database) as cursor:
            found = cursor.set_range(prefix)
            while found and cursor.key().startswith(prefix):
                if cursor.value() != own:
                    return True
                found = cursor.next()
    return False
