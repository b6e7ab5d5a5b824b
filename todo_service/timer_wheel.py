"""A timer that calls many members periodically."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

MemberT = TypeVar("MemberT")
_TICK_SECONDS: Final = 0.1


class TimerWheel(Generic[MemberT]):
    """Calls a function with each member once in every period.

    One timer of the event loop serves all members, since one for each would cost more time and memory. The members are
    spread over the slots of the wheel, and each tick of the timer serves one slot. There is no timer while there are no
    members.

    Args:
        seconds: The period, in seconds.
        call: The function. It may add and remove members.
    """

    def __init__(self, seconds: float, call: Callable[[MemberT], None]) -> None:
        self._slots: list[set[MemberT]] = [set() for _ in range(round(seconds / _TICK_SECONDS))]
        self._call = call
        self._current = 0
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there is no timer."""
        return self._timer is None

    def add(self, member: MemberT) -> int:
        """Add a member, and return its slot. The first call follows after one period."""
        self._slots[self._current].add(member)
        self._size += 1
        if self.is_idle:
            loop = asyncio.get_running_loop()
            self._schedule(loop, loop.time() + _TICK_SECONDS)
        return self._current

    def remove(self, member: MemberT, slot: int) -> None:
        """Remove a member from its slot. If it was removed before, nothing happens."""
        if member in self._slots[slot]:
            self._slots[slot].remove(member)
            self._size -= 1
            if not self._size and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _schedule(self, loop: asyncio.AbstractEventLoop, moment: float) -> None:
        self._timer = loop.call_at(moment, self._tick, loop, moment)

    def _tick(self, loop: asyncio.AbstractEventLoop, moment: float) -> None:
        # first, so that an exception does not stop the wheel; late ticks are made up for
        self._schedule(loop, moment + _TICK_SECONDS)
        self._current = (self._current + 1) % len(self._slots)
        for member in tuple(self._slots[self._current]):
            self._call(member)
