"""The tags of an account that are known to be in use, and the writes that wait to add more (see `tag_quota`)."""

from __future__ import annotations

import asyncio

from odmantic import ObjectId

from todo_service.todos.quota_queue import Request, Usage


class TagRequest(Request):
    """A write that waits for room for tags.

    Args:
        tags: The digests of its tags.
        removed: The digests of the tags that it removes from a todo.
        partial: Whether it may be granted fewer new tags than it has.
        patient: Whether it waits without a timeout if the account has to be counted.

    Attributes:
        tags: The digests of its tags.
        removed: The digests of the tags that it removes from a todo.
        patient: Whether it waits without a timeout if the account has to be counted.
        written: The digests of the tags that it may write without further room; empty until it is granted room.
        known: The tags that were in use or being written when it was granted room.
    """

    __slots__ = ("known", "patient", "removed", "tags", "written")

    def __init__(self, tags: set[str], removed: set[str], *, partial: bool, patient: bool) -> None:
        super().__init__(len(tags), partial=partial)
        self.tags = tags
        self.removed = removed
        self.patient = patient
        self.written: set[str] = set()
        self.known: set[str] = set()


class LeaseRead:
    """A read of the lease on an account's tags.

    Args:
        began: When it began, by the monotonic clock.

    Attributes:
        began: When it began, by the monotonic clock.
        ended: Set once it has ended.
    """

    __slots__ = ("began", "ended")

    def __init__(self, began: float) -> None:
        self.began = began
        self.ended = asyncio.Event()


class TagUsage(Usage[TagRequest]):
    """The tags of an account that are known to be in use.

    Attributes:
        known: The digests of all tags in use, and possibly of some that no longer are.
        known_until: Until when a write may rely on them, by the monotonic clock; 0 if it may not. Other processes may
            have removed tags since.
        unconfirmed: Tags that may not be in use: writes of them are in flight, or have failed since the last count.
        last_holder: The last holder of the lease when they were counted; None if its document no longer existed.
        checked_until: Until when a write may rely on `last_holder`, by the monotonic clock.
        read: The last read that compares `last_holder` with the store.
        freed: The digests of tags that only one todo has and that a waiting write removes from it.
        written: The tags of each write in flight.
        uncounted: The tags that a count in progress may not see: those of writes in flight when it began, and of those
            that have begun since. None while the account is not being counted.
        counted: Whether the account has been counted.
        spare: How many tags may be added without a count while no process is near the quota.
        exact: When the last exact count began, by the monotonic clock; the tags in use and the room that it found.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()
        self.known_until = 0.0
        self.unconfirmed: set[str] = set()
        self.last_holder: ObjectId | None = None
        self.checked_until = 0.0
        self.read: LeaseRead | None = None
        self.freed: set[str] = set()
        self.written: list[set[str]] = []
        self.uncounted: set[str] | None = None
        self.counted = False
        self.spare = 0
        self.exact: tuple[float, set[str], int] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is being written, and no write waits."""
        return super().idle and not self.written

    def begin(self, request: TagRequest, tags: set[str]) -> None:
        """Record the tags that a write may write, which now begins."""
        request.written = set(tags)
        self.written.append(request.written)
        self.unconfirmed |= tags - self.known
        if self.uncounted is not None:
            self.uncounted |= tags

    def add(self, request: TagRequest, tags: set[str]) -> None:
        """Record further tags of a write in flight."""
        request.written |= tags
        self.unconfirmed |= tags - self.known
        if self.uncounted is not None:
            self.uncounted |= tags

    def forget(self, request: TagRequest) -> None:
        """Forget the tags of a write that has ended."""
        # by identity: another write may have an equal set
        self.written[:] = [tags for tags in self.written if tags is not request.written]
