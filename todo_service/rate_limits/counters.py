"""Counters for the rate limits: in this process, or in the shared store for all workers and replicas.

Both count in the sliding window of the `limits` library, in one atomic step. In the store that step is a call of its
own, but a read should cost only one store call. A process therefore takes a *lease* of several requests at a time, and
spends it in memory. A lease starts small, doubles when it is used up before it expires, and never exceeds a fortieth of
the limit. Requests count as used when they are leased, so all processes together never lease more than the limit in a
window. A process may, however, spend the rest of a lease in the next window. Limits below 80, and exact ones, are never
leased.

Clients choose the keys, and a flood from many addresses must not become a flood of calls to the store. A process
therefore makes a bounded number of calls per second, and counts any further requests locally.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol

import structlog
from limits import RateLimitItem
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter as SharedLimiter
from limits.util import WindowStats

from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.requests import COUNTER_LEASES, COUNTER_WINDOWS, SHARED_COUNTER_CALLS

CALL_SECONDS: Final = 0.5
"""The default timeout of a call to the shared counter."""
FALLBACK_SECONDS: Final = 5.0
"""How long a process counts locally after a call to the shared counter has failed."""
_SAMPLE_SIZE: Final = 8
"""The number of windows considered for eviction when a new one is added."""
_INITIAL_LEASE_DIVISOR: Final = 150
_MAX_LEASE_DIVISOR: Final = 40
_REJECTION_SECONDS: Final = 1.0
logger = structlog.get_logger(__name__)


class RateLimitDecision(NamedTuple):
    """The decision on a request.

    Attributes:
        allowed: Whether the request is allowed.
        remaining: The number of further requests that are allowed.
        reset_after: The time until more requests are allowed, in seconds.
        counted_in: The counter of the request, for a refund.
    """

    allowed: bool
    remaining: int
    reset_after: int
    counted_in: Literal["process", "lease", "store"] = "process"


class Counter(Protocol):
    """Counts requests by key, for example `user:…`."""

    async def take(self, item: RateLimitItem, policy: str, key: str, *, exact: bool) -> RateLimitDecision:
        """Count one request if the limit allows it, in one atomic step.

        Args:
            item: The limit.
            policy: The name of the policy. Each policy is counted separately.
            key: The client or account to count.
            exact: Whether to enforce the limit exactly, at the cost of a call for each request.
        """

    async def refund(self, item: RateLimitItem, policy: str, key: str, taken: RateLimitDecision) -> None:
        """Undo the counting of a request.

        Args:
            item: As in `take`.
            policy: As in `take`.
            key: As in `take`.
            taken: The decision that `take` returned.
        """

    def close(self) -> None:
        """Close the connections."""


class LocalCounter:
    """Counts in this process. Not thread-safe.

    It decides as the library does, but looks a key up once, where the library does so four times. The requests of the
    previous window count in proportion to how much of it lies within the last `item.get_expiry()` seconds.

    Clients choose the keys, so the number of windows is bounded. Adding a window evicts expired ones. If the table is
    full and none has expired, it evicts the window with the smallest count among the next few. A client therefore
    cannot reset a nearly exhausted window by filling the table with new windows, which have a count of one.

    Args:
        capacity: The maximum number of windows.
        clock: Returns the time, in seconds since the epoch.
    """

    def __init__(self, capacity: int = COUNTER_WINDOWS, clock: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}
        self._queue: deque[tuple[str, str]] = deque()

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._windows)

    async def take(self, item: RateLimitItem, policy: str, key: str, *, exact: bool) -> RateLimitDecision:
        """See `Counter.take`."""
        moment, seconds = self._clock(), item.get_expiry()
        window = self._read((policy, key), moment, seconds)
        left = seconds - moment % seconds
        used = int(window.previous * left / seconds) + window.requests
        allowed = used < item.amount
        if allowed:
            used += 1
            self._store((policy, key), window._replace(requests=window.requests + 1), moment)
        # until one request less counts: the previous window counts for one less, or this one becomes the previous one
        resets = left % (seconds / window.previous) if window.previous else left
        return RateLimitDecision(allowed, max(0, item.amount - used), max(1, math.ceil(resets)))

    async def refund(self, item: RateLimitItem, policy: str, key: str, taken: RateLimitDecision) -> None:
        """See `Counter.refund`."""
        moment = self._clock()
        window = self._read((policy, key), moment, item.get_expiry())
        self._store((policy, key), window._replace(requests=max(0, window.requests - 1)), moment)

    def close(self) -> None:
        """See `Counter.close`."""

    def _read(self, key: tuple[str, str], moment: float, seconds: int) -> _Window:
        """Return the window of a moment, with the counts so far."""
        number = int(moment / seconds)
        known = self._windows.get(key)
        if known is not None and known.number == number:
            return known
        previous = known.requests if known is not None and known.number == number - 1 else 0
        return _Window(number, previous, 0, (number + 2) * seconds)

    def _store(self, key: tuple[str, str], window: _Window, moment: float) -> None:
        if key not in self._windows:
            self._evict(moment)
            self._queue.append(key)
        self._windows[key] = window

    def _evict(self, moment: float) -> None:
        """Evict the expired windows among the next few, or the smallest of them if the table is full."""
        kept = []
        for _ in range(min(_SAMPLE_SIZE, len(self._queue))):
            key = self._queue.popleft()
            if self._windows[key].expires > moment:
                kept.append(key)
            else:
                del self._windows[key]
        if len(self._windows) >= self._capacity:
            smallest = min(kept, key=lambda key: self._windows[key].previous + self._windows[key].requests)
            kept.remove(smallest)
            del self._windows[smallest]
        self._queue.extend(kept)


class _Window(NamedTuple):
    """The requests in one window of time.

    Attributes:
        number: The number of the window since the epoch.
        previous: The number of requests in the previous window.
        requests: The number of requests in this window.
        expires: The end of the next window, until which the requests count, in seconds since the epoch.
    """

    number: int
    previous: int
    requests: int
    expires: float


class _Lease:
    """The requests that a process may still allow for one policy and key without a call."""

    __slots__ = ("left", "lock", "rejected_until", "remaining", "resets", "size", "until")

    def __init__(self) -> None:
        self.left = 0
        self.size = 0
        self.until = 0.0
        self.rejected_until = 0.0
        self.remaining = 0
        self.resets = 0.0
        self.lock = asyncio.Lock()

    def spend(self, moment: float) -> RateLimitDecision | None:
        """Return the decision on a request, or None if that takes a call to the shared storage."""
        seconds = max(1, math.ceil(self.resets - moment))
        if self.left and moment < self.until:
            self.left -= 1
            return RateLimitDecision(True, self.remaining + self.left, seconds, "lease")
        if moment < self.rejected_until:
            return RateLimitDecision(False, 0, seconds)
        return None


class SharedCounter:
    """Counts in a shared storage. While that is unavailable, it falls back to a local counter, so no request fails.

    Args:
        create_storage: Returns the storage for a timeout in seconds, and a function that closes it.
        timeout: The timeout of a call, in seconds.
    """

    def __init__(
        self, create_storage: Callable[[float], tuple[Storage, Callable[[], None]]], timeout: float = CALL_SECONDS
    ) -> None:
        self._create_storage = create_storage
        self._timeout = timeout
        self._local = LocalCounter()
        self._limiter: SharedLimiter | None = None
        self._close_storage: Callable[[], None] | None = None
        self._leases: BoundedCache[tuple[str, str], _Lease] = BoundedCache(COUNTER_LEASES)
        self._fallback_until = 0.0
        self._second = 0
        self._calls = 0

    async def take(self, item: RateLimitItem, policy: str, key: str, *, exact: bool) -> RateLimitDecision:
        """See `Counter.take`."""
        initial = 1 if exact else max(1, item.amount // _INITIAL_LEASE_DIVISOR)
        largest = 1 if exact else max(1, item.amount // _MAX_LEASE_DIVISOR)
        lease = self._get_lease(policy, key)
        if (known := lease.spend(time.monotonic())) is not None:
            return known
        # requests that wait here are served from the lease that the first one takes
        async with lease.lock:
            moment = time.monotonic()
            if (known := lease.spend(moment)) is not None:
                return known
            if self._may_call(moment):
                try:
                    async with asyncio.timeout(self._timeout):
                        size = min(largest, lease.size * 2) if moment < lease.until else initial
                        found = await self._take(lease, item, policy, key, max(1, size))
                        return found._replace(counted_in="store" if exact else "lease")
                except Exception as error:  # a failing counter must not fail the request
                    self._fall_back(error)
            return await self._local.take(item, policy, key, exact=exact)

    async def refund(self, item: RateLimitItem, policy: str, key: str, taken: RateLimitDecision) -> None:
        """See `Counter.refund`."""
        lease = self._get_lease(policy, key)
        lease.rejected_until = 0.0
        if taken.counted_in == "lease":
            lease.left += 1
        elif taken.counted_in == "process":
            await self._local.refund(item, policy, key, taken)
        elif time.monotonic() >= self._fallback_until:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._connect().hit(item, policy, key, cost=-1)
            except Exception as error:  # a failing counter must not fail the request
                self._fall_back(error)

    def close(self) -> None:
        """See `Counter.close`."""
        if self._close_storage is not None:
            self._close_storage()
        self._close_storage = self._limiter = None

    async def _take(self, lease: _Lease, item: RateLimitItem, policy: str, key: str, size: int) -> RateLimitDecision:
        limiter = self._connect()
        lease.left = 0  # the rest has expired; a refund that arrives during the call has not
        allowed = await limiter.hit(item, policy, key, cost=size)
        if not allowed and size > 1:
            size = 1
            allowed = await limiter.hit(item, policy, key)
        stats = await limiter.get_window_stats(item, policy, key)
        moment = time.monotonic()
        found = _to_decision(allowed, stats)
        lease.remaining, lease.resets = found.remaining, moment + found.reset_after
        if allowed:
            lease.size, lease.until = size, moment + item.get_expiry()
            lease.left += size - 1
        else:
            # remember the rejection for a moment, so that many concurrent requests do not all make a call
            lease.size, lease.rejected_until = 0, moment + min(found.reset_after, _REJECTION_SECONDS)
        return found._replace(remaining=found.remaining + lease.left)

    def _connect(self) -> SharedLimiter:
        if self._limiter is None:
            storage, self._close_storage = self._create_storage(self._timeout)
            self._limiter = SharedLimiter(storage)
        return self._limiter

    def _get_lease(self, policy: str, key: str) -> _Lease:
        lease = self._leases.get((policy, key))
        if lease is None:
            lease = self._leases[policy, key] = _Lease()
        return lease

    def _may_call(self, moment: float) -> bool:
        """Return whether a call to the storage is allowed now, and count it."""
        if moment < self._fallback_until:
            return False
        if int(moment) != self._second:
            self._second, self._calls = int(moment), 0
        self._calls += 1
        return self._calls <= SHARED_COUNTER_CALLS

    def _fall_back(self, error: Exception) -> None:
        self._fallback_until = time.monotonic() + FALLBACK_SECONDS
        logger.warning("rate limits fall back to counting in this process", reason=type(error).__name__)


def _to_decision(allowed: bool, stats: WindowStats) -> RateLimitDecision:
    return RateLimitDecision(allowed, max(0, int(stats.remaining)), max(1, math.ceil(stats.reset_time - time.time())))
