"""Leases on an account: blocks that hold the same lease run one at a time, in whatever process they begin.

A lease is a document that exists while a block runs. If a process dies, its lease remains; another process takes it
over once it has not been renewed for `LEASE_SECONDS`, measured by its own clock.

- A move holds the lease on the manual order of its account. It reads the neighbors of its new place and then writes,
  and makes room in several writes. Two moves at once would put two documents into the same place, or undo each other's
  room.
- The writes of a process near a quota of an account share the lease on that quota (`quota_queue`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import lru_cache, partial
from typing import Final, Literal, NamedTuple

import msgspec
from odmantic import ObjectId

from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.requests import LEASE_SECONDS
from todo_service.bounds.todos import LEASE_WAIT_SECONDS
from todo_service.cancellation import run_to_completion
from todo_service.errors import Busy
from todo_service.leases import LeaseLostError, hold_lease
from todo_service.locks import KeyedLocks
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.timestamps import now
from todo_service.todos.documents import AccountLease

LONGEST_PAUSE_SECONDS: Final = 0.02
"""How long a process waits at most before it checks again whether a lease has been released."""
RELIANCE_SECONDS: Final = 0.05
"""How long a process may rely on a result of `find_last_holder`. With a retention, `hold_account` waits for as long
before its block begins, so that no process still relies on an earlier result."""
_LIFETIME: Final = timedelta(days=1)
"""How long the document of a lease remains if the process that holds it dies and no other takes it over."""

_MAX_WATCHED: Final = 1000
"""The maximum number of leases that a process watches."""

Purpose = Literal["order", "todos", "tags", "lists"]
PURPOSES: Final[tuple[Purpose, ...]] = ("order", "todos", "tags", "lists")
"""The leases of an account: on its manual order, and on each of its quotas."""


class _Watched(NamedTuple):
    """A lease of another block.

    Attributes:
        lease: Its document.
        since: When this process first read the document in its current state, by the monotonic clock.
    """

    lease: AccountLease
    since: float


_watched_leases: Final[BoundedCache[ObjectId, _Watched]] = BoundedCache(_MAX_WATCHED)
"""The leases that this process has waited for. Requests share them, because one may time out before it takes a lease
over."""


class _LastHolder(msgspec.Struct, frozen=True):
    """The part of a lease that writes with tags read; an ODMantic model would cost more."""

    last_holder: str | None


@asynccontextmanager
async def hold_order(
    store: DocumentStore, locks: KeyedLocks, account: ObjectId, takeover_seconds: float = LEASE_SECONDS
) -> AsyncIterator[None]:
    """Hold the lease on the manual order of an account for the duration of a block.

    Args:
        store: The store.
        locks: The locks of this process: its moves wait in line instead of competing for the lease.
        account: The account.
        takeover_seconds: See `hold_account`.

    Raises:
        Busy: Other moves take too long, or the lease was lost.
    """
    async with locks.hold(("order", account)), hold_account(store, account, "order", takeover_seconds):
        yield


@asynccontextmanager
async def hold_account(
    store: DocumentStore,
    account: ObjectId,
    purpose: Purpose,
    takeover_seconds: float = LEASE_SECONDS,
    retention: timedelta | None = None,
) -> AsyncIterator[ObjectId]:
    """Hold a lease on an account for the duration of a block. Yield an id that identifies the block as its holder.

    Args:
        store: The store.
        account: The account.
        purpose: Which lease.
        takeover_seconds: How long a lease must go without a renewal before it is taken over.
        retention: How long its document is kept at least once no block holds the lease; None to delete it at once.

    Raises:
        Busy: Other blocks take too long, or the lease was lost.
    """
    lease_id, holder = derive_lease_id(account, purpose), ObjectId()
    try:
        # inside `try`, because a task may be cancelled just after it has taken the lease
        if retention is None or not await _take_released(store, lease_id, holder):
            await _take(store, lease_id, holder, takeover_seconds)
        async with hold_lease(partial(_renew, store, lease_id, holder)):
            if retention is not None:
                await asyncio.sleep(RELIANCE_SECONDS)
            yield holder
    except LeaseLostError:
        raise Busy("this change took too long") from None
    finally:
        where = (AccountLease.id == lease_id, AccountLease.holder == holder)
        if retention is None:
            await store.delete(AccountLease, *where)
        else:
            await store.update(AccountLease, *where, changes={"holder": None, "expires_at": now() + retention})


async def find_last_holder(store: DocumentStore, account: ObjectId, purpose: Purpose) -> ObjectId | None:
    """Return the block that holds a lease or held it last; None if its document no longer exists.

    The caller may rely on the result for `RELIANCE_SECONDS` from the call.
    """
    found = await store.get(AccountLease, _match_lease(account, purpose), into=_LastHolder)
    return None if found is None or found.last_holder is None else ObjectId(found.last_holder)


async def delete_leases(store: DocumentStore, account: ObjectId) -> None:
    """Delete all leases on an account, including those left by processes that died."""
    for purpose in PURPOSES:
        await store.delete(AccountLease, AccountLease.id == derive_lease_id(account, purpose))


def derive_lease_id(account: ObjectId, purpose: Purpose) -> ObjectId:
    """Return the id of a lease on an account."""
    return ObjectId(hashlib.blake2b(account.binary + purpose.encode(), digest_size=12).digest())


@lru_cache(1024)
def _match_lease(account: ObjectId, purpose: Purpose) -> Condition:
    """Return the condition for a lease. Cached, because writes with tags need it often."""
    return AccountLease.id == derive_lease_id(account, purpose)


async def _take_released(store: DocumentStore, lease_id: ObjectId, holder: ObjectId) -> bool:
    """Take a lease that nobody holds but whose document still exists. Return whether there was one."""
    unheld = AccountLease.holder == None  # noqa: E711  # an expression
    changes = {"holder": holder, "last_holder": holder, "expires_at": now() + _LIFETIME}
    return await store.update(AccountLease, AccountLease.id == lease_id, unheld, changes=changes) is not None


async def _take(store: DocumentStore, lease_id: ObjectId, holder: ObjectId, takeover_seconds: float) -> None:
    """Take a lease as soon as it is released or may be taken over."""
    watched: _Watched | None = None
    deadline = time.monotonic() + LEASE_WAIT_SECONDS
    while time.monotonic() < deadline:
        expires_at = now() + _LIFETIME
        if watched is None:
            with contextlib.suppress(DuplicateDocument):
                lease = AccountLease(id=lease_id, holder=holder, last_holder=holder, expires_at=expires_at)
                # to completion, because the lease cannot be released while its insert is in flight
                await run_to_completion(store.insert(lease))
                return
        elif watched.lease.holder is None or time.monotonic() - watched.since >= takeover_seconds:
            old = watched.lease
            unchanged = (AccountLease.holder == old.holder, AccountLease.expires_at == old.expires_at)
            changes = {"holder": holder, "last_holder": holder, "expires_at": expires_at}
            if await store.update(AccountLease, AccountLease.id == lease_id, *unchanged, changes=changes) is not None:
                return
        await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311  # not a secret
        watched = _watch(lease_id, await store.get(AccountLease, AccountLease.id == lease_id))
    raise Busy("other clients are changing this account continuously")


def _watch(lease_id: ObjectId, found: AccountLease | None) -> _Watched | None:
    """Record the current state of a lease, and return since when it has been unchanged; None if there is no lease."""
    if found is None:
        _watched_leases.pop(lease_id, None)
        return None
    watched = _watched_leases.get(lease_id)
    if watched is None or watched.lease != found:
        watched = _watched_leases[lease_id] = _Watched(found, time.monotonic())
    return watched


async def _renew(store: DocumentStore, lease_id: ObjectId, holder: ObjectId) -> bool:
    changes = {"expires_at": now() + _LIFETIME}
    where = (AccountLease.id == lease_id, AccountLease.holder == holder)
    return await store.update(AccountLease, *where, changes=changes) is not None
