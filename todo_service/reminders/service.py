"""Fires due dates and reminders. The job runs in every process, but each due date and each reminder fires once.

A todo holds the moment at which it fires next, and an index of these moments yields what is due. To fire, a process
inserts a `Firing`. Its id is derived from the todo, the reminder and the moment, so only one process can insert it.
Then the process advances `next_fire`, unless the todo has changed. If it crashes in between, the next process finds
both the todo and its `Firing`. So nothing is lost, and nothing fires twice, even if the clock is set back.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
import structlog
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.reminders import ACCOUNT_SHARE, CONCURRENT_TODOS, FIRINGS, LATEST_HOURS
from todo_service.cancellation import is_cancelled
from todo_service.errors import NotFound
from todo_service.reminders.documents import Firing
from todo_service.reminders.due_todos import DueTodo, DueTodos
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument, StoreUnavailable
from todo_service.sync.changes import ChangePosition
from todo_service.timestamps import EARLIEST, format_timestamp
from todo_service.todos.documents import Todo
from todo_service.todos.firing_times import FiringTime, depends_on_zone, find_first_after, list_firing_times

_LONGEST_PAUSE: Final = 1.0
"""The maximum polling interval, in seconds."""
_JITTER_SECONDS: Final = 0.05
"""The maximum jitter added to it, so that processes do not poll at the same moment."""
LATEST: Final = timedelta(hours=LATEST_HOURS)
FIRING_LIFETIME: Final = timedelta(days=7)
"""How long a `Firing` is stored. It outlasts the retries of webhooks and every repeated attempt to fire it."""
_SKIPPED: Final = 500
"""How many missed todos are advanced at a time, so that they do not delay those that fire."""
_TRIM_INTERVAL: Final = 1_000
"""The number of firings of an account after which its stored firings are counted."""
_MAX_COUNTED: Final = 10_000
"""The maximum number of accounts whose firings are counted. The count of an evicted account starts again at zero."""
_TRIM_BATCH: Final = 10_000
logger = structlog.get_logger(__name__)


class _Changed(msgspec.Struct, frozen=True):
    changed: str


class ReminderService:
    """Fires the due dates and reminders of all accounts.

    Args:
        store: The store.
        time_zone: Returns the time zone of an account, an IANA name. It raises `NotFound` if the account is deleted.
        now: Returns the current time.
        record: Called for each firing with `due` or `reminder`, and with the delay in seconds.
        stored: The maximum number of firings of an account that are stored.
        share: The maximum number of todos of an account that fire in a row while others wait, 1 to 9 999.
    """

    def __init__(
        self,
        store: DocumentStore,
        time_zone: Callable[[ObjectId], Awaitable[str]],
        now: Callable[[], datetime],
        record: Callable[[str, float], None],
        stored: int = FIRINGS,
        share: int = ACCOUNT_SHARE,
    ) -> None:
        self._store = store
        self._share = share
        self._stored = stored
        self._time_zone = time_zone
        self._now = now
        self._record = record
        self._fired: BoundedCache[str, int] = BoundedCache(_MAX_COUNTED)
        self._count = 0
        self._worst = 0.0

    async def watch(self) -> None:
        """Fire everything when it is due, until the task is cancelled.

        Raises:
            StoreUnavailable: Call it again.
        """
        while not is_cancelled():
            await self.fire_due()
            await asyncio.sleep(await self._find_pause())

    async def _find_pause(self) -> float:
        """Return the pause until something may be due, in seconds."""
        following = await self._store.find(
            Todo,
            Todo.next_fire > self._now(),  # type: ignore[operator]  # an expression
            sort=asc(Todo.next_fire),
            limit=1,
            into=DueTodo,
        )
        left = (following[0].next_fire - self._now()).total_seconds() if following else _LONGEST_PAUSE
        jitter = random.uniform(0, _JITTER_SECONDS)  # noqa: S311  # not a secret
        return max(0.0, min(left, _LONGEST_PAUSE)) + jitter

    async def fire_due(self) -> None:
        """Fire everything that is due.

        Raises:
            StoreUnavailable: Some todos may not have fired. Call it again.
        """
        self._count, self._worst = 0, 0.0
        try:
            while await self._fire_pass():
                pass
        finally:
            if self._count:
                logger.info("due dates and reminders fired", count=self._count, worst_lateness_seconds=self._worst)
        await self._skip_missed()

    async def _fire_pass(self) -> bool:
        """Fire what is due, in rounds in which each account has a share.

        A pass ends when nothing waits, or when half of what it has found is done. The next pass then finds what this
        one could not: todos that other requests have changed or stored meanwhile. A pass reads about three times as
        many todos as it fires, so the work remains linear.

        Returns:
            Whether an account has more due todos, which wait for the next pass.
        """
        due = DueTodos(self._store, self._now() - LATEST, self._share)
        advanced = 0
        while True:
            async for todos in due.read_round(self._now()):
                advanced += await self._fire_each(todos)
            if not due.waiting or 2 * advanced >= due.found:
                return due.waiting

    async def _skip_missed(self) -> None:
        """Advance a batch of todos that were due too long ago to fire."""
        found = await self._store.find(
            Todo,
            Todo.next_fire >= EARLIEST,  # type: ignore[operator]  # an expression
            Todo.next_fire < self._now() - LATEST,  # type: ignore[operator]  # an expression
            sort=asc(Todo.next_fire),
            limit=_SKIPPED,
            into=DueTodo,
        )
        if found:
            logger.info("todos were due too long ago to fire", count=await self._fire_each(found))

    async def _fire_each(self, todos: Sequence[DueTodo]) -> int:
        """Fire some todos, and return how many of them this process has advanced."""
        advanced = 0
        # in random order, so that several processes rarely try the same todo
        shuffled = random.sample(todos, len(todos))
        for start in range(0, len(shuffled), CONCURRENT_TODOS):
            batch = shuffled[start : start + CONCURRENT_TODOS]
            outcomes = await asyncio.gather(*map(self._fire, batch), return_exceptions=True)
            for todo, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, bool):
                    advanced += outcome
                elif isinstance(outcome, Exception) and not isinstance(outcome, StoreUnavailable):
                    logger.error("failed to fire a todo", todo=todo.id, exc_info=outcome)
                else:
                    raise outcome
        return advanced

    async def _fire(self, todo: DueTodo) -> bool:
        """Fire the due date and the reminders of a todo that are due, and advance `next_fire`.

        Returns:
            Whether it was advanced. It is not if the todo has changed meanwhile.
        """
        moment = self._now()
        try:
            times = list_firing_times(todo, await self._find_zone(todo))
        except NotFound:
            times = []  # the account has been deleted
        for each in times:
            if max(todo.next_fire, moment - LATEST) <= each.moment <= moment:
                await self._insert(todo, each)
        changed = await self._store.update(
            Todo,
            Todo.id == ObjectId(todo.id),
            Todo.version == todo.version,
            Todo.next_fire == todo.next_fire,
            changes={"next_fire": find_first_after(times, moment)},
            into=_Changed,
        )
        return changed is not None

    async def _find_zone(self, todo: DueTodo) -> tzinfo:
        if not depends_on_zone(todo):
            return UTC
        return ZoneInfo(todo.time_zone or await self._time_zone(ObjectId(todo.account)))

    async def _insert(self, todo: DueTodo, fired: FiringTime) -> None:
        moment = self._now()
        firing = Firing(
            id=_derive_id(todo, fired),
            account=ObjectId(todo.account),
            todo=ObjectId(todo.id),
            at=fired.at,
            minutes_before=fired.minutes_before,
            occurrence=fired.moment,
            fired_at=moment,
            expires_at=moment + FIRING_LIFETIME,
        )
        with suppress(DuplicateDocument):  # it has fired already
            await self._store.insert(firing)
            late = (moment - fired.moment).total_seconds()
            self._record("due" if fired.is_due_date else "reminder", late)
            self._count += 1
            self._worst = max(self._worst, late)
            self._fired[todo.account] = self._fired.get(todo.account, 0) + 1
            if self._fired[todo.account] >= _TRIM_INTERVAL:
                del self._fired[todo.account]
                await self._trim(ObjectId(todo.account))

    async def _trim(self, account: ObjectId) -> None:
        """Delete the oldest firings of an account that has too many."""
        count = await self._store.count(Firing, Firing.account == account, limit=self._stored + _TRIM_BATCH)
        if count <= self._stored:
            return
        oldest = await self._store.find(
            Firing,
            Firing.account == account,
            sort=(asc(Firing.changed), asc(Firing.id)),
            limit=min(count - self._stored, _TRIM_BATCH),
            into=_Changed,
        )
        end = ChangePosition.parse(oldest[-1].changed).stamp
        await self._store.delete(Firing, Firing.account == account, Firing.changed <= end)
        logger.warning("an account has too many due dates and reminders that fired", account=str(account))


def _derive_id(todo: DueTodo, fired: FiringTime) -> ObjectId:
    reminder = f"{fired.minutes_before} minutes before" if fired.at is None else "at"
    key = f"{todo.id} {'due' if fired.is_due_date else reminder} {format_timestamp(fired.moment)}"
    return ObjectId(hashlib.sha256(key.encode()).digest()[:12])
