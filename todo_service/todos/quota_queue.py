"""Grants room in a quota to the writes of an account.

Waiting writes are considered in order, but a write that does not fit does not hold up smaller ones.

Each process counts what the account has in the store, and then grants room from memory. It does not see what other
processes are writing at that moment, nor what they may write without a further count. These unseen writes are bounded:

- A large quota of documents: 1/32 of the room left, or 0.05 % of the quota if that is more. Part of it is an allowance:
  writes that need no further count.
- A small quota, and that of tags: 1/16 of the room left, without an allowance (but see `tag_quota`), and nothing once
  little room is left. A write that needs more takes the lease on the quota (`account_lease`). Its process counts,
  grants room to all of its writes that wait or arrive within the next moment, and holds the lease until they have
  ended. So the processes take turns, and fill the quota exactly.

A write is refused only after a count that began when it already waited, and when nothing was being written in this
process, because a count may or may not see a write in flight.
"""

from __future__ import annotations

import abc
import asyncio
import contextvars
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from odmantic import ObjectId

from todo_service.bounds.todos import DOCUMENT_WAITERS
from todo_service.errors import Busy
from todo_service.store.base import DocumentStore
from todo_service.todos.account_lease import LONGEST_PAUSE_SECONDS, Purpose, hold_account

LARGE: Final = 2000
"""From this limit on, a quota of documents is large."""
_UNSEEN_SHARE_OF_ROOM: Final = 16
_UNSEEN_SHARE_OF_LARGE_ROOM: Final = 32
_UNSEEN_SHARE_OF_QUOTA: Final = 2000
"""A process may write this fraction (1/n) of the room left, or of the quota, while other processes do not see it."""
_NEAR: Final = 128
_NEAR_SHARE_OF_QUOTA: Final = 8
"""With less room than this in a small quota, or than this fraction (1/n) of it, every write takes the lease."""
_SAFE_ROOM: Final = 64
"""While there is this much room, a turn grants only half of it, because other processes may still write unseen."""
_TURN_SECONDS: Final = 0.1
"""How long a process grants room while it holds the lease. It then waits only for the writes in flight."""
_LONG_SECONDS: Final = 600.0
"""How long an allowance stays valid while the account uses less than half of the quota."""
_SHORT_SECONDS: Final = 5.0
"""How long an allowance stays valid otherwise."""
_CLOSING_SECONDS: Final = 1.0


class Request:
    """A write that waits for room.

    Args:
        wanted: How many documents or tags it adds.
        partial: Whether it may be granted less, at least one.

    Attributes:
        wanted: How many documents or tags it adds.
        partial: Whether it may be granted less.
        granted: How much room it gets.
        refused: Whether it gets none because there is not enough.
    """

    __slots__ = ("granted", "partial", "refused", "wanted")

    def __init__(self, wanted: int, *, partial: bool) -> None:
        self.wanted = wanted
        self.partial = partial
        self.granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.refused = False


RequestT = TypeVar("RequestT", bound=Request)


class Usage(Generic[RequestT]):
    """How much of a quota an account uses, as far as this process knows.

    Attributes:
        room: How much was left at the last count, less what has been granted since and what was being written.
        takes_lease: Whether writes need the lease.
        allowance: How much may be written without a further count.
        expires: When the allowance expires, by the monotonic clock.
        turn: The holder id under which this process holds the lease; None if it does not.
        writing: How much is being written.
        waiting: The writes that wait for room.
        task: The task that serves them; None if none waits.
    """

    __slots__ = ("_ended", "allowance", "expires", "room", "takes_lease", "task", "turn", "waiting", "writing")

    def __init__(self) -> None:
        self.room = 0
        self.takes_lease = False
        self.allowance = 0
        self.expires = 0.0
        self.turn: ObjectId | None = None
        self.writing = 0
        self.waiting: list[RequestT] = []
        self.task: asyncio.Task[None] | None = None
        self._ended: asyncio.Event | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is being written, and no write waits."""
        return not self.writing and self.task is None

    def take(self, number: int) -> bool:
        """Take room from the allowance. Return False if it is too small or has expired.

        It also returns False while writes are waiting, so that none is overtaken.
        """
        if number > self.allowance or self.waiting or time.monotonic() >= self.expires:
            return False
        self.allowance -= number
        self.room -= number
        self.writing += number
        return True

    def release(self, number: int) -> None:
        """Record that writes have ended."""
        self.writing -= number
        if not self.writing and self._ended is not None:
            self._ended.set()
            self._ended = None

    async def wait_for_writes(self) -> None:
        """Wait until nothing is being written."""
        while self.writing:
            self._ended = self._ended or asyncio.Event()
            await self._ended.wait()


UsageT = TypeVar("UsageT", bound=Usage[Any])


class QuotaQueue(abc.ABC, Generic[UsageT, RequestT]):
    """A quota of one kind. Each account with writes that wait for room has a task that serves them.

    Args:
        store: The store.
        kind: What is counted, in the plural.
        limit: The quota.
        leases: Whether writes near the quota take the lease, however large it is.
        near: With less room than this every write takes the lease, if writes near the quota do.
        retention: How long the document of a lease is kept after a turn. See `hold_account`.

    Attributes:
        kind: What is counted, in the plural.
        limit: The quota.
        leases: Whether writes near the quota take the lease.
    """

    def __init__(
        self,
        store: DocumentStore,
        kind: Purpose,
        limit: int,
        *,
        leases: bool,
        near: int = 0,
        retention: timedelta | None = None,
    ) -> None:
        self._store = store
        self.kind: Purpose = kind
        self.limit = limit
        self.leases = leases or limit < LARGE
        self._retention = retention
        self._near = max(near, _NEAR, limit // _NEAR_SHARE_OF_QUOTA)
        self._tasks: set[asyncio.Task[None]] = set()

    @abc.abstractmethod
    async def _count(self, account: ObjectId, usage: UsageT, wanted: int) -> bool:
        """Count what an account has, and set `usage.room`, from which `usage.writing` at the start is subtracted.

        Args:
            account: The account.
            usage: The usage of the account.
            wanted: A lower bound suffices if it is at least this.

        Returns:
            Whether the count is exact, provided that nothing was being written.
        """

    @abc.abstractmethod
    def _measure(self, usage: UsageT, request: RequestT) -> int:
        """Return how much room a write needs."""

    def _measure_freed(self, usage: UsageT, request: RequestT) -> int:
        """Return how much room a write itself frees, as far as the last count knows."""
        return 0

    def _grant_replacement(self, usage: UsageT, waiting: Iterable[RequestT]) -> None:
        """Grant room to one of the writes that fit only if the room they free is counted. Called only in a turn."""

    @abc.abstractmethod
    def _record(self, usage: UsageT, request: RequestT, number: int) -> None:
        """Record what a write was granted, or that it was refused (`request.refused`)."""

    async def close(self) -> None:
        """Release the leases. Call it when no request is left, and before the store is closed."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSING_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _wait_for_room(self, account: ObjectId, usage: UsageT, request: RequestT) -> int:
        """Return how much room a write gets. The caller returns it with `usage.release`.

        Raises:
            Busy: Too many writes are waiting, or other processes hold the lease for too long.
        """
        if len(usage.waiting) >= DOCUMENT_WAITERS:
            raise Busy("too many concurrent requests to change this account")
        usage.waiting.append(request)
        if usage.task is None:
            # not in the context of this request: the task may outlive it
            task = asyncio.create_task(self._serve(account, usage), context=contextvars.Context())
            usage.task = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await request.granted
        except asyncio.CancelledError:
            if request.granted.done() and not request.granted.cancelled() and request.granted.exception() is None:
                usage.release(request.granted.result())
            raise

    async def _serve(self, account: ObjectId, usage: UsageT) -> None:
        try:
            while waiting := _retain_unanswered(usage):
                if not usage.takes_lease or not any(self._measure(usage, request) for request in waiting):
                    await self._serve_without_lease(account, usage)
                    continue
                await usage.wait_for_writes()
                async with hold_account(self._store, account, self.kind, retention=self._retention) as usage.turn:
                    deadline = time.monotonic() + _TURN_SECONDS
                    await self._serve_turn(account, usage, deadline)
                if time.monotonic() >= deadline:
                    # longer than other processes wait before they look again
                    await asyncio.sleep(LONGEST_PAUSE_SECONDS * 1.25)
        except Exception as error:
            for request in _retain_unanswered(usage):
                request.granted.set_exception(error)
        finally:
            for request in _retain_unanswered(usage):
                request.granted.cancel()  # the process stops
            usage.waiting.clear()
            usage.task = None

    async def _serve_without_lease(self, account: ObjectId, usage: UsageT) -> None:
        """Grant waiting writes as much room as this process may use unseen by other processes."""
        waiting = _retain_unanswered(usage)
        was_idle = not usage.writing
        usage.allowance = 0
        least = min(sum(self._measure(usage, request) for request in waiting), self.limit // _UNSEEN_SHARE_OF_QUOTA)
        is_exact = await self._count(account, usage, max(1, least)) and was_idle
        room = usage.room
        most = self._bound_unseen(room + usage.writing)
        self._answer(usage, waiting, most, is_exact=is_exact, fully=not self.leases)
        if _retain_unanswered(usage, waiting):
            if self.leases:
                usage.takes_lease = True
            else:
                await usage.wait_for_writes()
        elif not self.leases:
            left = min(usage.room, most - usage.writing, self.limit // _UNSEEN_SHARE_OF_QUOTA)
            usage.allowance = max(0, left)
            usage.expires = time.monotonic() + (_LONG_SECONDS if room >= self.limit / 2 else _SHORT_SECONDS)

    async def _serve_turn(self, account: ObjectId, usage: UsageT, deadline: float) -> None:
        """Grant room to the writes that wait, and to those that arrive meanwhile, while the process holds the lease.

        Args:
            account: The account.
            usage: The usage of the account.
            deadline: When to grant no more, by the monotonic clock.
        """
        try:
            while waiting := _retain_unanswered(usage):
                await self._count(account, usage, self.limit)
                room = usage.room
                most = room // 2 if room >= _SAFE_ROOM else room
                self._answer(usage, waiting, most, is_exact=True, fully=True)
                self._grant_replacement(usage, waiting)
                usage.allowance, usage.expires = max(0, min(usage.room, most - usage.writing)), deadline
                await usage.wait_for_writes()
                usage.allowance = 0
                usage.takes_lease = 0 < usage.room < self._near or bool(_retain_unanswered(usage))
                if time.monotonic() >= deadline:
                    return
        finally:
            usage.allowance, usage.expires, usage.turn = 0, 0.0, None

    def _bound_unseen(self, room: int) -> int:
        """Return how much this process may be writing without the lease while there is so much room."""
        if self.leases:
            return room // _UNSEEN_SHARE_OF_ROOM if room >= self._near else 0
        return max(room // _UNSEEN_SHARE_OF_LARGE_ROOM, self.limit // _UNSEEN_SHARE_OF_QUOTA)

    def _answer(self, usage: UsageT, waiting: Iterable[RequestT], most: int, *, is_exact: bool, fully: bool) -> None:
        """Grant or refuse room to writes that have waited since before the count. Others go on waiting.

        Args:
            usage: The usage of the account, counted.
            waiting: The writes.
            most: How much this process may be writing.
            is_exact: Whether the count is exact, so that writes may be refused.
            fully: Whether to grant a write that does not fit into `most`, while no other is in progress. A partial one
                gets as much as fits; any other gets all that it needs, if there is room.
        """
        counted = usage.room
        for request in waiting:
            if request.granted.done():
                continue  # its client has gone
            wanted = self._measure(usage, request)
            free = min(usage.room, most - usage.writing)
            if not wanted or wanted <= free:
                number = wanted
            elif fully and not usage.writing and free > 0 and (request.partial or wanted <= usage.room):
                number = free if request.partial else wanted
            elif is_exact and (
                counted <= 0 if request.partial else counted < wanted - self._measure_freed(usage, request)
            ):
                number, request.refused = 0, True
            else:
                continue
            usage.room -= number
            usage.writing += number
            self._record(usage, request, number)
            request.granted.set_result(number)
        _retain_unanswered(usage)


def _retain_unanswered(usage: Usage[RequestT], requests: list[RequestT] | None = None) -> list[RequestT]:
    """Drop answered writes from `usage.waiting`. Return the unanswered ones of `requests`, or all if it is None."""
    usage.waiting[:] = [request for request in usage.waiting if not request.granted.done()]
    if requests is None:
        return list(usage.waiting)
    return [request for request in requests if not request.granted.done()]
