"""A lease on the manual order of an account: its moves run one at a time, in whatever process they begin.

A move reads the neighbours of its new place and then writes, and makes room in several writes. Two moves at once would
put two documents into the same place, or undo each other's room. The lease is a document that exists while a move runs.
If a process dies, its lease remains; another process takes it over once it has not been renewed for `LEASE_SECONDS`,
measured by its own clock.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final

from odmantic import ObjectId

from todo_service.bounds.requests import LEASE_SECONDS
from todo_service.bounds.todos import MOVE_WAIT_SECONDS
from todo_service.errors import Busy
from todo_service.leases import LeaseLostError, hold_lease
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.timestamps import now
from todo_service.todos.documents import OrderLease

_LONGEST_PAUSE_SECONDS: Final = 0.02
_LIFETIME: Final = timedelta(days=1)
"""How long the document of an account without further moves remains if a process dies."""


@asynccontextmanager
async def hold_order(
    store: DocumentStore, locks: KeyedLocks, account: ObjectId, takeover_seconds: float = LEASE_SECONDS
) -> AsyncIterator[None]:
    """Hold the lease on the manual order of an account for the duration of a block.

    Args:
        store: The store.
        locks: The locks of this process: its moves wait in line instead of competing for the lease.
        account: The account.
        takeover_seconds: How long a lease must go without a renewal before it is taken over.

    Raises:
        Busy: Other moves take too long, or the lease was lost.
    """
    async with locks.hold(("order", account)):
        holder = await _take(store, account, takeover_seconds)
        try:
            async with hold_lease(partial(_renew, store, account, holder)):
                yield
        except LeaseLostError:
            raise Busy("this move took too long") from None
        finally:
            await store.delete(OrderLease, OrderLease.id == account, OrderLease.holder == holder)


async def _take(store: DocumentStore, account: ObjectId, takeover_seconds: float) -> ObjectId:
    """Take the lease, and return the id of the holder."""
    loop = asyncio.get_running_loop()
    holder, deadline = ObjectId(), loop.time() + MOVE_WAIT_SECONDS
    watched: OrderLease | None = None
    since = loop.time()
    while loop.time() < deadline:
        try:
            await store.insert(OrderLease(id=account, holder=holder, expires_at=now() + _LIFETIME))
        except DuplicateDocument:
            found = await store.get(OrderLease, OrderLease.id == account)
        else:
            return holder
        if found is None or found != watched:
            watched, since = found, loop.time()
        elif loop.time() - since >= takeover_seconds:
            changes = {"holder": holder, "expires_at": now() + _LIFETIME}
            unchanged = (OrderLease.holder == found.holder, OrderLease.expires_at == found.expires_at)
            if await store.update(OrderLease, OrderLease.id == account, *unchanged, changes=changes) is not None:
                return holder
        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311  # not a secret
    raise Busy("other clients are moving items of this account continuously")


async def _renew(store: DocumentStore, account: ObjectId, holder: ObjectId) -> bool:
    changes = {"expires_at": now() + _LIFETIME}
    where = (OrderLease.id == account, OrderLease.holder == holder)
    return await store.update(OrderLease, *where, changes=changes) is not None
