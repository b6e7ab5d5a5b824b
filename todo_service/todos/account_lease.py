"""Leases on an account: blocks that hold the same lease run one at a time, in whatever process they begin.

A lease is a document that exists while a block runs. If a process dies, its lease remains; another process takes it
over once it has not been renewed for `LEASE_SECONDS`, measured by its own clock.

- A move holds the lease on the manual order of its account. It reads the neighbours of its new place and then writes,
  and makes room in several writes. Two moves at once would put two documents into the same place, or undo each other's
  room.
- A write near a quota of its account holds the lease on that quota (`quotas`).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from odmantic import ObjectId

from todo_service.bounds.requests import LEASE_SECONDS
from todo_service.bounds.todos import LEASE_WAIT_SECONDS
from todo_service.errors import Busy
from todo_service.leases import LeaseLostError, hold_lease
from todo_service.locks import KeyedLocks
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.timestamps import now
from todo_service.todos.documents import OrderLease, QuotaLease

_LONGEST_PAUSE_SECONDS: Final = 0.02
_LIFETIME: Final = timedelta(days=1)
"""How long the document of a lease remains if the process that holds it dies and no other takes it over."""
QUOTA_KINDS: Final = ("todos", "tags", "lists")
"""The quotas of an account: each has a lease of its own."""

LeaseModel = type[OrderLease] | type[QuotaLease]


class HeldLease:
    """A lease that this process holds.

    Attributes:
        holder: The id of this holder.
        inherited: When the document that an earlier holder has kept expires; None if there was none.
        keep_until: When the document expires after this holder has released it; None to delete it at once.
    """

    def __init__(self, holder: ObjectId, inherited: datetime | None) -> None:
        self.holder = holder
        self.inherited = inherited
        self.keep_until = inherited


def hold_order(
    store: DocumentStore, locks: KeyedLocks, account: ObjectId, takeover_seconds: float = LEASE_SECONDS
) -> AbstractAsyncContextManager[HeldLease]:
    """Hold the lease on the manual order of an account for the duration of a block. See `hold_account`."""
    return hold_account(store, locks, OrderLease, account, takeover_seconds)


def hold_quota(
    store: DocumentStore, locks: KeyedLocks, account: ObjectId, kind: str
) -> AbstractAsyncContextManager[HeldLease]:
    """Hold the lease on a quota of an account for the duration of a block. See `hold_account`."""
    return hold_account(store, locks, QuotaLease, derive_lease_id(account, kind))


def derive_lease_id(account: ObjectId, kind: str) -> ObjectId:
    """Return the id of the lease on a quota of an account."""
    return ObjectId(hashlib.blake2b(account.binary + kind.encode(), digest_size=12).digest())


@asynccontextmanager
async def hold_account(
    store: DocumentStore,
    locks: KeyedLocks,
    model: LeaseModel,
    lease_id: ObjectId,
    takeover_seconds: float = LEASE_SECONDS,
) -> AsyncIterator[HeldLease]:
    """Hold a lease for the duration of a block.

    Args:
        store: The store.
        locks: The locks of this process: its blocks wait in line instead of competing for the lease.
        model: The model of the lease.
        lease_id: The id of the lease.
        takeover_seconds: How long a lease must go without a renewal before it is taken over.

    Raises:
        Busy: Other blocks take too long, or the lease was lost.
    """
    async with locks.hold((model, lease_id)):
        lease = await _take(store, model, lease_id, takeover_seconds)
        try:
            async with hold_lease(partial(_renew, store, model, lease_id, lease.holder)):
                yield lease
        except LeaseLostError:
            raise Busy("this change took too long") from None
        finally:
            where = (model.id == lease_id, model.holder == lease.holder)
            if lease.keep_until is None:
                await store.delete(model, *where)
            else:
                await store.update(model, *where, changes={"holder": None, "expires_at": lease.keep_until})


async def _take(store: DocumentStore, model: LeaseModel, lease_id: ObjectId, takeover_seconds: float) -> HeldLease:
    """Take a lease."""
    loop = asyncio.get_running_loop()
    holder, deadline = ObjectId(), loop.time() + LEASE_WAIT_SECONDS
    watched: OrderLease | QuotaLease | None = None
    since = loop.time()
    while loop.time() < deadline:
        try:
            await store.insert(model(id=lease_id, holder=holder, expires_at=now() + _LIFETIME))
        except DuplicateDocument:
            found: OrderLease | QuotaLease | None = await store.get(model, model.id == lease_id)
        else:
            return HeldLease(holder, None)
        if found is None or found != watched:
            watched, since = found, loop.time()
        if found is not None and (found.holder is None or loop.time() - since >= takeover_seconds):
            changes = {"holder": holder, "expires_at": now() + _LIFETIME}
            unchanged = (model.holder == found.holder, model.expires_at == found.expires_at)
            if await store.update(model, model.id == lease_id, *unchanged, changes=changes) is not None:
                return HeldLease(holder, found.expires_at if found.holder is None else None)
            continue
        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311  # not a secret
    raise Busy("other clients are changing this account continuously")


async def _renew(store: DocumentStore, model: LeaseModel, lease_id: ObjectId, holder: ObjectId) -> bool:
    changes = {"expires_at": now() + _LIFETIME}
    where = (model.id == lease_id, model.holder == holder)
    return await store.update(model, *where, changes=changes) is not None
