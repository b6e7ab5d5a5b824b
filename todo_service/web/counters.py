"""Where requests are counted for the rate limits: in this process, or in MongoDB for all workers and replicas alike.

Both count with the `limits` library by its sliding window, in which taking is one atomic step. In MongoDB that step is
a call of its own, and a read is to cost one store call. So a process takes a few requests of a limit at a time, a
*lease*, and spends it in memory: a lease begins small, doubles as long as it is used up, and is at most a fortieth of
the limit. What is leased is counted as used, so all processes together never allow more in a window than the limit;
what a process leased in one window it may still spend in the next. A limit below 80, and whatever is asked for exactly,
is never leased.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import structlog
from limits import RateLimitItem
from limits.aio.storage import MongoDBStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as SharedLimiter
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter as LocalLimiter
from limits.util import WindowStats

from todo_service.store.mongodb import DEFAULT_DATABASE

ANSWER_SECONDS: Final = 0.5
"""How long a request waits for the shared counter at most."""
APART_SECONDS: Final = 5.0
"""How long a process counts by itself before it asks a shared counter that did not answer again."""
_LEASES: Final = 20_000
_LEASE_FIRST: Final = 150
_LEASE_MOST: Final = 40
_REMEMBERED_SECONDS: Final = 1.0
_SWEEP_FROM: Final = 1000
logger = structlog.get_logger(__name__)


class Standing(NamedTuple):
    """Where somebody stands.

    Attributes:
        allowed: Whether the request is allowed.
        remaining: How many more are.
        seconds: After how many seconds there will be more.
    """

    allowed: bool
    remaining: int
    seconds: int


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

    async def give_back(self, item: RateLimitItem, policy: str, key: str) -> None:
        """Take back a request that was counted exactly."""

    def close(self) -> None:
        """Let go of everything."""


class SlidingWindows(MemoryStorage):
    """The library's storage in memory, with sliding windows that cost one look-up; for one thread.

    Its own ones are two counters each, with a look at every counter there is, in a thread that starts every 10 ms.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[str, tuple[int, int, int, float]] = {}
        self._sweep_at = _SWEEP_FROM

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count if the limit allows it."""
        moment = time.time()
        before, before_seconds, count, seconds = self._at(key, expiry, moment)
        if int(before * before_seconds / expiry + count) + amount > limit:
            return False
        if len(self._windows) >= self._sweep_at and key not in self._windows:
            self._windows = {name: found for name, found in self._windows.items() if found[3] > moment}
            self._sweep_at = max(_SWEEP_FROM, 2 * len(self._windows))
        self._windows[key] = int(moment / expiry), before, max(0, count + amount), moment + seconds
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Return the counts of the window before and of this one, each with the seconds that it still counts."""
        return self._at(key, expiry, time.time())

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget both windows; they are of the same length always, as it is a part of the key."""
        self._windows.pop(key, None)

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

    async def give_back(self, item: RateLimitItem, policy: str, key: str) -> None:
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
            return Standing(True, self.remaining + self.left, seconds)
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
            if moment >= self._apart_until:
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        size = min(most, lease.size * 2) if moment < lease.until else first
                        return await self._take(lease, item, policy, key, max(1, size))
                except Exception as error:  # whatever a driver raises, a limit must not fail a request
                    self._fall_apart(error)
            return await self._local.take(item, policy, key, exact=exact)

    async def give_back(self, item: RateLimitItem, policy: str, key: str) -> None:
        """See `Counter.give_back`."""
        if time.monotonic() >= self._apart_until:
            self._lease(policy, key).refused_until = 0.0
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
        allowed = await limiter.hit(item, policy, key, cost=size)
        if not allowed and size > 1:
            size = 1
            allowed = await limiter.hit(item, policy, key)
        stats = await limiter.get_window_stats(item, policy, key)
        moment = time.monotonic()
        found = _standing(allowed, stats)
        lease.remaining, lease.resets = found.remaining, moment + found.seconds
        if allowed:
            lease.size, lease.left, lease.until = size, size - 1, moment + item.get_expiry()
        else:
            # many may ask at once: for a moment none of them needs to be told again by MongoDB
            lease.size, lease.refused_until = 0, moment + min(found.seconds, _REMEMBERED_SECONDS)
        return found._replace(remaining=found.remaining + lease.left)

    def _shared(self) -> SharedLimiter:
        if self._limiter is None:
            # what is counted need not outlive a crash of MongoDB: the default write concern of one member will do
            self._storage = MongoDBStorage(
                f"async+{self._url}",
                database_name=unquote(urlsplit(self._url).path[1:]) or DEFAULT_DATABASE,
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
            if len(self._leases) >= _LEASES:
                self._leases.pop(next(iter(self._leases)))
            lease = self._leases[policy, key] = _Lease()
        return lease

    def _fall_apart(self, error: Exception) -> None:
        self._apart_until = time.monotonic() + APART_SECONDS
        logger.warning("rate limits are counted by this process alone", reason=type(error).__name__)


def _standing(allowed: bool, stats: WindowStats) -> Standing:
    return Standing(allowed, max(0, int(stats.remaining)), max(1, math.ceil(stats.reset_time - time.time())))
