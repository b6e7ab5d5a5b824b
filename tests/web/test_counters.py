"""Counters of the rate limits: memory and calls are bounded."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from random import Random

import limits
import pytest
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from pymongo import MongoClient

from todo_service.bounds.requests import SHARED_COUNTER_CALLS
from todo_service.rate_limits.counters import LocalCounter, SharedCounter
from todo_service.store.mongodb.counters import create_counter_storage

ITEM = limits.parse("5/month")


@pytest.mark.anyio
async def test_filling_the_table_does_not_reset_an_exhausted_window() -> None:
    counter = LocalCounter(capacity=100)
    for _ in range(5):
        assert (await counter.take(ITEM, "api", "attacker", exact=False)).allowed

    for number in range(20_000):
        assert (await counter.take(ITEM, "api", f"address {number}", exact=False)).allowed
        assert len(counter) <= 100

    assert not (await counter.take(ITEM, "api", "attacker", exact=False)).allowed


@pytest.mark.anyio
async def test_expired_windows_are_evicted() -> None:
    moment = 1_000_000.0
    counter = LocalCounter(capacity=100, clock=lambda: moment)
    short = limits.parse("5/second")
    for number in range(50):
        await counter.take(short, "api", f"short {number}", exact=False)

    moment += 2  # a window still counts during the next one
    for number in range(100):
        await counter.take(ITEM, "api", f"long {number}", exact=False)

    assert len(counter) == 100


class LibraryWindows(MemoryStorage):
    """The two windows of one key, counted by the strategy of `limits` at a given time."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = 0.0
        self.counts: Counter[int] = Counter()

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        number = int(self.moment / expiry)
        left = expiry - self.moment % expiry
        return self.counts[number - 1], left, self.counts[number], left + expiry

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        before, left, count, _ = self.get_sliding_window(key, expiry)
        allowed = int(before * left / expiry + count) + amount <= limit
        if allowed:
            self.counts[int(self.moment / expiry)] += amount
        return allowed


@pytest.mark.anyio
async def test_decisions_are_those_of_the_library() -> None:
    item = limits.parse("20/minute")
    windows = LibraryWindows()
    limiter = SlidingWindowCounterRateLimiter(windows)
    counter = LocalCounter(clock=lambda: windows.moment)
    pauses = Random(1)  # noqa: S311  # not a secret
    decisions = Counter[bool]()
    for _ in range(2000):
        windows.moment += pauses.choice([0.1, 1.0, 3.0, 20.0]) * pauses.random()
        allowed = limiter.hit(item, "somebody")
        now = time.time()
        stats = limiter.get_window_stats(item, "somebody")
        decision = await counter.take(item, "api", "somebody", exact=False)

        assert (decision.allowed, decision.remaining) == (allowed, stats.remaining)
        assert decision.reset_after == pytest.approx(max(1, stats.reset_time - now), abs=1.01)
        decisions[allowed] += 1

    assert min(decisions.values()) > 100


@pytest.mark.anyio
async def test_refunded_request_can_be_taken_again() -> None:
    counter = LocalCounter()
    for _ in range(20):
        taken = await counter.take(ITEM, "auth", "somebody", exact=True)
        assert taken.allowed
        await counter.refund(ITEM, "auth", "somebody", taken)


@pytest.mark.anyio
@pytest.mark.parametrize("exact", [True, False])
async def test_refunded_request_can_be_taken_again_on_mongodb(mongodb_url: str, exact: bool) -> None:
    counter = SharedCounter(partial(create_counter_storage, mongodb_url))
    for _ in range(20):
        taken = await counter.take(ITEM, "auth", "somebody", exact=exact)
        assert taken.allowed
        await counter.refund(ITEM, "auth", "somebody", taken)
    counter.close()


@pytest.mark.anyio
async def test_flood_of_addresses_makes_a_bounded_number_of_calls_to_mongodb(mongodb_url: str) -> None:
    counter = SharedCounter(partial(create_counter_storage, mongodb_url))
    started = time.monotonic()
    for first in range(0, 5000, 100):
        decisions = await asyncio.gather(
            *(counter.take(ITEM, "api", f"address {number}", exact=False) for number in range(first, first + 100))
        )
        assert all(decision.allowed for decision in decisions)
    seconds = int(time.monotonic() - started) + 2
    counter.close()

    with MongoClient[dict[str, object]](mongodb_url) as client:
        counted = client.get_default_database()["rate_limit_windows"].count_documents({})
    assert 0 < counted <= SHARED_COUNTER_CALLS * seconds
    if seconds < 8:
        assert counted < 5000
