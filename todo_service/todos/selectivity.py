"""Which filter of a list leaves the fewest todos."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.todos import SORTED_TODOS
from todo_service.store.base import Condition, DocumentStore
from todo_service.todos.documents import Todo
from todo_service.todos.dto import TodoQuery

_MAX_COUNTED_FILTERS: Final = 8
"""How many filters are counted to find the most selective one: half of them from the start, half from the end."""
_REMEMBERED_SECONDS: Final = 10.0
"""How long a choice is reused. Meanwhile, another filter may become more selective."""
_MAX_REMEMBERED: Final = 10_000
_DIGEST_BYTES: Final = 16


class FilterSelector:
    """Finds the most selective filter of a list, by counting the todos that each filter leaves.

    The choice decides what a page costs, not what it contains. It is therefore remembered for a few seconds, and the
    next pages of a list need no counts. There is one instance per process.

    Args:
        store: The store.
        in_memory_limit: The maximum number of todos, at the time of the count, that the store sorts in memory.
    """

    def __init__(self, store: DocumentStore, in_memory_limit: int = SORTED_TODOS) -> None:
        self._store = store
        self._in_memory_limit = in_memory_limit
        self._chosen: BoundedCache[bytes, tuple[float, int | None]] = BoundedCache(_MAX_REMEMBERED)

    async def select(
        self, account: ObjectId, query: TodoQuery, filters: Sequence[list[Condition]]
    ) -> list[Condition] | None:
        """Return the most selective of some filters, or None if it leaves too many todos to sort in memory.

        Args:
            account: The account.
            query: The list that has these filters. Its sort order, page size and cursor have no influence.
            filters: The filters, built from the query; at least one.
        """
        key = _digest(account, query)
        moment = time.monotonic()
        valid_until, chosen = self._chosen.get(key, (moment, None))
        if moment >= valid_until:
            chosen = await self._choose(account, filters)
            self._chosen[key] = moment + _REMEMBERED_SECONDS, chosen
        return None if chosen is None else filters[chosen]

    async def _choose(self, account: ObjectId, filters: Sequence[list[Condition]]) -> int | None:
        """Return the index of the most selective filter, or None."""
        candidates: Sequence[int] = range(len(filters))
        if len(filters) > _MAX_COUNTED_FILTERS:
            # the longest words come first, filters other than words last
            half = _MAX_COUNTED_FILTERS // 2
            candidates = [*candidates[:half], *candidates[-half:]]
        limit = self._in_memory_limit
        numbers = {
            index: await self._store.count(Todo, Todo.owner == account, *filters[index], limit=limit + 1)
            for index in candidates
        }
        chosen = min(numbers, key=numbers.__getitem__)
        return chosen if numbers[chosen] <= limit else None


def _digest(account: ObjectId, query: TodoQuery) -> bytes:
    """Return a digest of the filters, which takes less memory than their texts."""
    filters = msgspec.structs.replace(query, sort="position", limit=1, cursor=UNSET)
    encoded = msgspec.msgpack.encode(filters, enc_hook=str)
    return hashlib.blake2b(account.binary + encoded, digest_size=_DIGEST_BYTES).digest()
