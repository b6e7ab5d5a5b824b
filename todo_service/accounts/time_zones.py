"""The time zones of accounts, and the todos that follow them.

Some fields of a todo without a time zone of its own are derived from that of its account (`todos.schedule`). When the
account changes its time zone, a background job recomputes them.

The write that changes the time zone also schedules the job, in the same document, so that a crash loses neither. A
concurrent write of a todo may have read the time zone before the change, and store the todo after the job. So the job
visits the account three times: immediately, when all requests that began before the change must have ended, and when
all imports that began before it must have ended. A todo whose fields are right is not written, so the job may be
repeated, and run on several replicas.

The job works in rounds. A round recomputes at most `ZONE_SHARE` todos of each account, and the next one continues
there. So an account with many todos does not delay the others. If it changes its time zone during a visit, the visit
starts anew in the next round. The positions are kept in memory, so unfinished visits also start anew after a restart.

Most accounts have no todo that depends on the time zone. `time_zone_used` says that one may: a write of such a todo
sets it before it stores the todo, once for each account. The visits of the other accounts read no todo.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import msgspec
from odmantic import ObjectId

from todo_service.accounts.documents import User
from todo_service.background import process_each
from todo_service.bounds.accounts import ZONE_SHARE
from todo_service.errors import NotFound
from todo_service.store.base import DocumentStore
from todo_service.store.paging import iterate_sorted
from todo_service.timestamps import EARLIEST
from todo_service.todos.service import Todos
from todo_service.todos.zone_changes import DueEndPosition

AFTER_REQUESTS: Final = timedelta(seconds=30)
AFTER_IMPORTS: Final = timedelta(hours=1)
"""How long after the change of a time zone the account is visited again."""
_VISITS: Final = (AFTER_REQUESTS, AFTER_IMPORTS)


class _AccountZone(msgspec.Struct, frozen=True):
    time_zone: str
    time_zone_used: bool = True


class _Schedule(NamedTuple):
    """The fields of an account that identify a visit."""

    time_zone: str
    time_zone_changed_at: datetime | None
    next_visit_at: datetime | None

    @classmethod
    def of(cls, user: User) -> Self:
        """Return those of an account."""
        return cls(user.time_zone, user.time_zone_changed_at, user.next_visit_at)


class _UnfinishedVisit(NamedTuple):
    schedule: _Schedule
    position: DueEndPosition


class TimeZones:
    """The time zones of all accounts.

    Args:
        store: The store.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    async def get(self, user_id: ObjectId) -> str:
        """Return an account's time zone, an IANA name.

        Raises:
            NotFound: The account has been deleted.
        """
        return (await self._read(user_id)).time_zone

    async def use(self, user_id: ObjectId) -> str:
        """Return an account's time zone for a write of a todo that depends on it, and mark it as used.

        Raises the same error as `get`.
        """
        found = await self._read(user_id)
        if not found.time_zone_used:
            changes = {"time_zone_used": True}
            found = await self._store.update(User, User.id == user_id, changes=changes, into=_AccountZone) or found
        return found.time_zone

    async def _read(self, user_id: ObjectId) -> _AccountZone:
        found: _AccountZone | None = await self._store.get(User, User.id == user_id, into=_AccountZone)
        if found is None:
            raise NotFound("the account has been deleted")
        return found


class ZoneVisits:
    """Visits the accounts whose time zone has changed, in rounds in which each account has a share.

    Args:
        store: The store.
        create_todos: Returns the todos of an account.
        share: The maximum number of todos of an account that are read in a round, 1 to 9 999.
    """

    def __init__(
        self, store: DocumentStore, create_todos: Callable[[ObjectId], Todos], share: int = ZONE_SHARE
    ) -> None:
        self._store = store
        self._create_todos = create_todos
        self._share = share
        self._unfinished: dict[ObjectId, _UnfinishedVisit] = {}

    async def run_round(self, moment: datetime) -> bool:
        """Visit each account whose visit is due, or continue its visit, for one share of its todos.

        Args:
            moment: The current time.

        Returns:
            Whether a visit is unfinished. Call again to continue it.

        Raises:
            StoreUnavailable: Some accounts may not have been visited.
        """
        unfinished: dict[ObjectId, _UnfinishedVisit] = {}

        async def visit(user: User) -> None:
            position = await self._follow(user)
            if position is not None:
                unfinished[user.id] = _UnfinishedVisit(_Schedule.of(user), position)
            else:
                await self._finish(user)

        due = User.next_visit_at <= moment  # type: ignore[operator]  # an expression
        pages = iterate_sorted(self._store, User, due, by="next_visit_at")
        await process_each(
            pages, visit, "failed to recompute the todos of an account after a change of its time zone", "account"
        )
        self._unfinished = unfinished
        return bool(unfinished)

    async def _follow(self, user: User) -> DueEndPosition | None:
        """Recompute a share of an account's todos, and return the position of the last one, or None at the end."""
        if not user.time_zone_used:
            return None
        earlier = self._unfinished.get(user.id)
        # if the time zone has changed again, the visit starts anew
        after = earlier.position if earlier is not None and earlier.schedule == _Schedule.of(user) else None
        try:
            return await self._create_todos(user.id).follow_time_zone(after, self._share)
        except NotFound:
            return None  # the account has been deleted meanwhile

    async def _finish(self, user: User) -> None:
        """Schedule the next visit of an account, unless its time zone has changed again meanwhile."""
        unchanged = (
            User.time_zone == user.time_zone,
            User.time_zone_changed_at == user.time_zone_changed_at,
            User.next_visit_at == user.next_visit_at,
        )
        following = {"next_visit_at": _find_next_visit(user)}
        await self._store.update(User, User.id == user.id, *unchanged, changes=following)


def schedule_visits(moment: datetime) -> dict[str, Any]:
    """Return the changes to an account whose time zone changes at a moment."""
    # the first visit is due at once, even if the clock is set back meanwhile
    return {"time_zone_changed_at": moment, "next_visit_at": EARLIEST}


def _find_next_visit(user: User) -> datetime | None:
    assert user.time_zone_changed_at is not None  # a visit was scheduled
    assert user.next_visit_at is not None
    visits = (user.time_zone_changed_at + delay for delay in _VISITS)
    return next((visit for visit in visits if visit > user.next_visit_at), None)
