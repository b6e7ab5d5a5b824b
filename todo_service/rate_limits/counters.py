"""Where requests are counted for the rate limits: in this process, or in MongoDB for all workers and replicas alike.

Both count with the `limits` library by its sliding window, in which taking is one atomic step. In MongoDB that step is
a call of its own, and a read is to cost one store call. So a process takes a few requests of a limit at a time, a
*lease*, and spends it in memory: a lease begins small, doubles as long as it is used up, and is at most a fortieth of
the limit. What is leased is counted as used, so all processes together never allow more in a window than the limit;
what a process leased in one window it may still spend in the next. A limit below 80, and whatever is asked for exactly,
is never leased.

Clients choose the keys: a flood from many addresses must not become a flood of calls to MongoDB. So a process makes a
bounded number of calls a second, and counts what goes beyond by itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import Final, Literal, NamedTuple, Protocol

import structlog
from limits import RateLimitItem
from limits.aio.storage import MongoDBStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as SharedLimiter
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter as LocalLimiter
from limits.util import WindowStats

from todo_service.bounds.requests import COUNTER_LEASES, COUNTER_WINDOWS, SHARED_COUNTER_CALLS
from todo_service.store.addresses import parse_database_name

ANSWER_SECONDS: Final = 0.5
"""How long a request waits for the shared counter at most."""
APART_SECONDS: Final = 5.0
"""How long a process counts by itself before it asks a shared counter that did not answer again."""
_SAMPLE: Final = 8
"""How many windows a new one is weighed against."""
_LEASE_FIRST: Final = 150
_LEASE_MOST: Final = 40
_REMEMBERED_SECONDS: Final = 1.0
logger = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """Where somebody stands.

    Attributes:
        allowed: Whether the request is allowed.
        remaining: How many more are.
        seconds: After how many seconds there will be more.
        counted_in: Where the request was counted, so that it is given back there.
    """

    allowed: bool
    remaining: int
    seconds: int
    counted_in: Literal["process", "lease", "store"] = "process"


class Counter(Protocol):
    """Counts requests by a key, such as `user:…`."""

    async def take(self, item: RateLimitItem, policy: str, key: str, *, exact: bool) -> Standing:
        """Count one request if the limit allows it, in one atomic step.

        Args:
            item: The limit.
            policy: Its name; limits of other names are counted apart.
            key: Who asks.
            exact: Whether it matters that not one more is allowed, whatever it costs.
        """

    async def give_back(self, item: RateLimitItem, policy: str, key: str, taken: Standing) -> None:
        """Take back a request that was counted.

        Args:
            item: As in `take`.
            policy: As in `take`.
            key: As in `take`.
            taken: What `take` returned.
        """

    def close(self) -> None:
        """Let go of everything."""


class SlidingWindows(MemoryStorage):
    """The library's storage in memory, with sliding windows that cost one look-up; for one thread.

    The library's own windows are two counters each, and a thread that scans all counters every 10 ms.

    Clients choose the keys, so their number is bounded. Each new window takes the place of expired ones. Where none
    has expired and the table is full, it replaces the window with the smallest count among the next few in turn. So
    nobody can reset a window that is nearly used up by filling the table with others: each of those counts one request.

    Args:
        most: How many windows are kept.
    """

    def __init__(self, most: int = COUNTER_WINDOWS) -> None:
        super().__init__()
        self._most = most
        self._windows: dict[str, tuple[int, int, int, float]] = {}
        self._turn: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._windows)

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count if the limit allows it."""
        moment = time.time()
        before, before_seconds, count, seconds = self._at(key, expiry, moment)
        if int(before * before_seconds / expiry + count) + amount > limit:
            return False
        if key not in self._windows:
            self._make_room(moment)
            self._turn.append(key)
        self._windows[key] = int(moment / expiry), before, max(0, count + amount), moment + seconds
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the counts of the window before and of this one, each with the seconds that it still counts."""
        return self._at(key, expiry, time.time())

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget both windows; they are of the same length always, as it is a part of the key."""
        if self._windows.pop(key, None) is not None:
            self._turn.remove(key)

    def _make_room(self, moment: float) -> None:
        """Drop the expired windows among the next few, or the least one of them if the table is full."""
        kept = []
        for _ in range(min(_SAMPLE, len(self._turn))):
            key = self._turn.popleft()
            if self._windows[key][3] > moment:
                kept.append(key)
            else:
                del self._windows[key]
        if len(self._windows) >= self._most:
            least = min(kept, key=lambda key: self._windows[key][1] + self._windows[key][2])
            kept.remove(least)
            del self._windows[least]
        self._turn.extend(kept)

    def _at(self, key: str, expiry: int, moment: float) -> tuple[int, float, int, float]:
        window, before, count, _ = self._windows.get(key, (0, 0, 0, 0.0))
        passed = int(moment / expiry) - window
        if passed:
            before, count = count if passed == 1 else 0, 0
        left = expiry - moment % expiry
        return before, left if before else 0.0, count, left + expiry


class LocalCounter:
    """Counts in this process."""

    def __init__(self) -> None:
        self._limiter = LocalLimiter(SlidingWindows())

    async def take(self, item: RateLimitItem, policy: str, key: str, *, exact: bool) -> Standing:  # always is
        """See `Counter.take`."""
        allowed = self._limiter.hit(item, policy, key)
        return _standing(allowed, self._limiter.get_window_stats(item, policy, key))

    async def give_back(self, item: RateLimitItem, policy: str, key: str, taken: Standing) -> None:
        """See `Counter.give_back`."""
        self._limiter.hit(item, policy, key, cost=-1)

    def close(self) -> None:
        """See `Counter.close`."""


class _Lease:
    """What a process may still allow of one limit to one key without asking."""

    __slots__ = ("left", "lock", "refused_until", "remaining", "resets", "size", "until")

    def __init__(self) -> None:
        self.left = 0
        self.size = 0
        self.until = 0.0
        self.refused_until = 0.0
        self.remaining = 0
        self.resets = 0.0
        self.lock = asyncio.Lock()

    def spend(self, moment: float) -> Standing | None:
        """Return an answer that needs no question, if there is one."""
        seconds = max(1, math.ceil(self.resets - moment))
        if self.left and moment < self.until:
            self.left -= 1
            return Standing(True, self.remaining + self.left, seconds, "lease")
        if moment < self.refused_until:
            return Standing(False, 0, seconds)
        return None


class SharedCounter:
    """Counts in MongoDB. While that does not answer, this process counts by itself: limits hold, and fail nothing.

    Args:
        url: The address of MongoDB; the figures lie in its database, in collections of their own.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._local = LocalCounter()
        self._limiter: SharedLimiter | None = None
        self._storage: MongoDBStorage | None = None
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._apart_until = 0.0
        self._second = 0
        self._calls = 0

    async def take(self, item: RateLimitItem, policy: str, key: str, *, exact: bool) -> Standing:
        """See `Counter.take`."""
        first, most = (1, 1) if exact else (max(1, item.amount // _LEASE_FIRST), max(1, item.amount // _LEASE_MOST))
        lease = self._lease(policy, key)
        if (known := lease.spend(time.monotonic())) is not None:
            return known
        # whoever waits here is answered from the lease that the one before has taken
        async with lease.lock:
            moment = time.monotonic()
            if (known := lease.spend(moment)) is not None:
                return known
            if self._may_call(moment):
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        size = min(most, lease.size * 2) if moment < lease.until else first
                        found = await self._take(lease, item, policy, key, max(1, size))
                        return found._replace(counted_in="store" if exact else "lease")
                except Exception as error:  # whatever a driver raises, a limit must not fail a request
                    self._fall_apart(error)
            return await self._local.take(item, policy, key, exact=exact)

    async def give_back(self, item: RateLimitItem, policy: str, key: str, taken: Standing) -> None:
        """See `Counter.give_back`."""
        lease = self._lease(policy, key)
        lease.refused_until = 0.0
        if taken.counted_in == "lease":
            lease.left += 1
        elif taken.counted_in == "process":
            await self._local.give_back(item, policy, key, taken)
        elif time.monotonic() >= self._apart_until:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._shared().hit(item, policy, key, cost=-1)
            except Exception as error:  # as above
                self._fall_apart(error)

    def close(self) -> None:
        """See `Counter.close`."""
        if self._storage is not None:
            self._storage.storage.close()
        self._storage = self._limiter = None

    async def _take(self, lease: _Lease, item: RateLimitItem, policy: str, key: str, size: int) -> Standing:
        limiter = self._shared()
        lease.left = 0  # what is left has expired; what is given back from now on has not
        allowed = await limiter.hit(item, policy, key, cost=size)
        if not allowed and size > 1:
            size = 1
            allowed = await limiter.hit(item, policy, key)
        stats = await limiter.get_window_stats(item, policy, key)
        moment = time.monotonic()
        found = _standing(allowed, stats)
        lease.remaining, lease.resets = found.remaining, moment + found.seconds
        if allowed:
            lease.size, lease.until = size, moment + item.get_expiry()
            lease.left += size - 1
        else:
            # many may ask at once: for a moment none of them needs to be told again by MongoDB
            lease.size, lease.refused_until = 0, moment + min(found.seconds, _REMEMBERED_SECONDS)
        return found._replace(remaining=found.remaining + lease.left)

    def _shared(self) -> SharedLimiter:
        if self._limiter is None:
            # what is counted need not outlive a crash of MongoDB: the default write concern of one member will do
            self._storage = MongoDBStorage(
                f"async+{self._url}",
                parse_database_name=parse_database_name(self._url),
                counter_collection_name="rate_limit_counters",
                window_collection_name="rate_limit_windows",
                appname="todo_service",
                w=1,
                journal=False,
                serverSelectionTimeoutMS=ANSWER_SECONDS * 1000,
                connectTimeoutMS=ANSWER_SECONDS * 1000,
                timeoutMS=ANSWER_SECONDS * 1000,
            )
            self._limiter = SharedLimiter(self._storage)
        return self._limiter

    def _lease(self, policy: str, key: str) -> _Lease:
        lease = self._leases.get((policy, key))
        if lease is None:
            if len(self._leases) >= COUNTER_LEASES:
                self._leases.pop(next(iter(self._leases)))
            lease = self._leases[policy, key] = _Lease()
        return lease

    def _may_call(self, moment: float) -> bool:
        """Return whether a call to MongoDB may be made now, and count it."""
        if moment < self._apart_until:
            return False
        if int(moment) != self._second:
            self._second, self._calls = int(moment), 0
        self._calls += 1
        return self._calls <= SHARED_COUNTER_CALLS

    def _fall_apart(self, error: Exception) -> None:
        self._apart_until = time.monotonic() + APART_SECONDS
        logger.warning("rate limits are counted by this process alone", reason=type(error).__name__)


def _standing(allowed: bool, stats: WindowStats) -> Standing:
    return Standing(allowed, max(0, int(stats.remaining)), max(1, math.ceil(stats.reset_time - time.time())))
