"""Indexes as ordered LMDB keys: what is stored for a document, and how a plan walks it.

An entry's key is the document's values in the index's order, then the document's id; its value is the id. LMDB's keys
end at 511 bytes, so a longer one is cut, and the id follows the cut. Cut keys that agree are ties whose order LMDB does
not know: a walk puts them in order by the documents themselves.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import islice, product, takewhile
from operator import itemgetter
from typing import Any, Final, NamedTuple

import lmdb

from todo_service.store.documents import look
from todo_service.store.expressions import BEGINS, Comparison, Predicate, kind_of, predicate
from todo_service.store.keys import AFTER, EMPTY_LIST, after_tag_of, encode, encode_beginning, tag_of
from todo_service.store.planning import DeclaredIndex, Plan

CUT: Final = 480
_ID_BYTES: Final = 12


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
        """Return its keys in an index, cut where they are too long."""
        identity = self._document["_id"].binary
        return {full if len(full) <= CUT else full[:CUT] + identity for full in self.full_keys(index)}

    def full_keys(self, index: DeclaredIndex) -> set[bytes]:
        """Return its keys in an index, however long they are."""
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
        exact: Whether each key in it is of the plan. It is not where the bounds themselves had to be cut.
    """

    prefix: bytes
    start: bytes
    end: bytes
    exact: bool


def ranges_of(plan: Plan) -> list[Range]:
    """Return the parts of an index that a plan walks, in order."""
    prefixes = {b"".join(parts) for parts in product(*([encode(value) for value in values] for values in plan.fixed))}
    return [_range_of(plan, prefix) for prefix in sorted(prefixes)]


def _range_of(plan: Plan, prefix: bytes) -> Range:
    start, end = prefix, prefix + AFTER
    if plan.bounds:
        kind = kind_of(plan.bounds[0].value)
        assert kind is not None  # normalised values have one
        start, end = prefix + tag_of(kind), prefix + after_tag_of(kind)
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
            case operator if operator == BEGINS:
                start = prefix + encode_beginning(bound.value)
                end = start + AFTER
    exact = len(start) <= CUT and len(end) <= CUT
    return Range(prefix, start[:CUT], end if len(end) <= CUT else end[:CUT] + AFTER * (_ID_BYTES + 1), exact)


class Walk:
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
        settled = [Comparison(key, "$in", values) for key, values in zip(plan.declared.keys, plan.fixed, strict=False)]
        self._everything = predicate((*settled, *plan.bounds, *plan.residual))
        self._residual = predicate(plan.residual) if all(part.exact for part in self._ranges) else self._everything
        # a list whose elements are walked may hold a document more than once
        self._repeating = plan.declared.list_key in plan.declared.keys[len(plan.fixed) :]

    def identities(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Yield the id of each document that matches, in any order, and None for each look at one that does not."""
        if self._residual is None and not self._repeating:
            for part in self._ranges:
                yield from (identity for _, identity in self._entries(transaction, part))
            return
        for identity, raw in self._walk(transaction):
            matches = raw is not None or self._residual is None or self._holds(transaction, identity, self._residual)
            yield identity if matches else None

    def number(self, transaction: lmdb.Transaction, most: int) -> int | None:
        """Return how many documents match, `most` at most, where the entries alone tell; else None."""
        if self._residual is not None or self._repeating:
            return None
        found = 0
        for part in self._ranges:
            with transaction.cursor(self._index) as cursor:
                if cursor.set_range(part.start) if part.start else cursor.first():
                    keys = list(islice(cursor.iternext(keys=True, values=False), most - found))
                    found += bisect_left(keys, part.end)
        return found

    def documents(self, transaction: lmdb.Transaction) -> Iterator[bytes | None]:
        """Yield the BSON of each document that matches, and None for each that was looked at and does not."""
        residual = self._residual
        for identity, known in self._walk(transaction):
            raw = known if known is not None else transaction.get(identity, db=self._documents)
            yield raw if known is not None or residual is None or residual(look(raw)) else None

    def _holds(self, transaction: lmdb.Transaction, identity: bytes, residual: Predicate) -> bool:
        return residual(look(transaction.get(identity, db=self._documents)))

    def _walk(self, transaction: lmdb.Transaction) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield ids in order; with the document where it was read to be put in order, and matches."""
        walks = [self._walk_range(transaction, part) for part in self._ranges]
        steps = heapq.merge(*walks, key=itemgetter(0), reverse=self._plan.descending) if len(walks) > 1 else walks[0]
        seen: set[bytes] = set()
        for _, identity, raw in steps:
            if self._repeating:
                if identity in seen:
                    continue
                seen.add(identity)
            yield identity, raw

    def _walk_range(self, transaction: lmdb.Transaction, part: Range) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Yield what a range holds, in order, each with its key after the prefix, by which ranges are merged."""
        cut: bytes | None = None
        ties: list[bytes] = []
        for key, identity in self._entries(transaction, part):
            if cut is not None and not (len(key) > CUT and key.startswith(cut)):
                yield from self._in_order(transaction, part, ties)
                cut, ties = None, []
            if len(key) > CUT:
                cut = key[:CUT]
                ties.append(identity)
            else:
                yield key[len(part.prefix) :], identity, None
        if ties:
            yield from self._in_order(transaction, part, ties)

    def _entries(self, transaction: lmdb.Transaction, part: Range) -> Iterator[tuple[bytes, bytes]]:
        return self._between(transaction.cursor(self._index), part.start, part.end)

    def _between(self, cursor: lmdb.Cursor, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries from `start` to before `end`, in the plan's direction."""
        if self._plan.descending:
            if cursor.prev() if cursor.set_range(end) else cursor.last():
                yield from takewhile(lambda entry: entry[0] >= start, cursor.iterprev())
        elif cursor.set_range(start) if start else cursor.first():
            yield from takewhile(lambda entry: entry[0] < end, cursor.iternext())

    def _in_order(
        self, transaction: lmdb.Transaction, part: Range, ties: list[bytes]
    ) -> Iterator[tuple[bytes, bytes, bytes]]:
        found = []
        for identity in dict.fromkeys(ties):
            raw = transaction.get(identity, db=self._documents)
            document = look(raw)
            if self._everything is None or self._everything(document):
                full = min(
                    key for key in Entries(document).full_keys(self._plan.declared) if key.startswith(part.prefix)
                )
                found.append((full[len(part.prefix) :], identity, raw))
        found.sort(key=itemgetter(0), reverse=self._plan.descending)
        yield from found


def clash(
    transaction: lmdb.Transaction,
    index: DeclaredIndex,
    database: lmdb._Database,
    documents: lmdb._Database,
    document: Mapping[str, Any],
) -> bool:
    """Tell whether another document has the same values in a unique index."""
    own = document["_id"].binary
    for prefix in Entries(document).prefixes(index):
        with transaction.cursor(database) as cursor:
            found = cursor.set_range(prefix[:CUT])
            while found and cursor.key().startswith(prefix[:CUT]):
                identity = cursor.value()
                if identity != own and (
                    len(cursor.key()) <= CUT
                    or prefix in Entries(look(transaction.get(identity, db=documents))).prefixes(index)
                ):
                    return True
                found = cursor.next()
    return False
