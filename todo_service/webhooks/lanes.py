"""Shares the concurrent attempts of a process among receivers of different speeds, and among accounts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto
from weakref import WeakValueDictionary

from odmantic import ObjectId

from todo_service.bounds.webhooks import CONCURRENT_ATTEMPTS_OF_ACCOUNT
from todo_service.webhooks.resolver import Resolver


class Speed(Enum):
    """What the last attempt says about a receiver."""

    UNKNOWN = auto()
    """The webhook has made no attempt since this process began to serve it."""
    QUICK = auto()
    """It succeeded quickly."""
    SLOW = auto()
    """It failed or was slow."""


class Lane:
    """The slots and the resolver for attempts to receivers of one speed, so that slow receivers do not delay others.

    An account makes at most `CONCURRENT_ATTEMPTS_OF_ACCOUNT` of them. Its further attempts wait for the account's own
    share before they queue for a slot, so they never block the attempts of other accounts.

    Args:
        attempts: The number of concurrent attempts.
        resolver: Resolves the names of receivers.
    """

    def __init__(self, attempts: int, resolver: Resolver) -> None:
        self.resolver = resolver
        self._slots = asyncio.Semaphore(attempts)
        self._shares: WeakValueDictionary[ObjectId, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def enter(self, account: ObjectId) -> AsyncIterator[None]:
        """Hold a slot for the duration of a block."""
        share = self._shares.setdefault(account, asyncio.Semaphore(CONCURRENT_ATTEMPTS_OF_ACCOUNT))
        async with share, self._slots:
            yield
