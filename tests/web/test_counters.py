"""Counters of the rate limits: memory and calls are bounded."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import limits
import pytest
from limits.strategies import SlidingWindowCounterRateLimiter
from pymongo import MongoClient

from todo_service.bounds.requests import SHARED_COUNTER_CALLS
from todo_service.rate_limits.counters import LocalCounter, SharedCounter, SlidingWindowStorage
from todo_service.store.mongodb.counters import create_counter_storage

ITEM = limits.parse("5/month")


def test_filling_the_table_does_not_reset_an_exhausted_window() -> None:
    windows = SlidingWindowStorage(capacity=100)
    limiter = SlidingWindowCounterRateLimiter(windows)
    for _ in range(5):
        assert limiter.hit(ITEM, "api", "attacker")

    for number in range(20_000):
        assert limiter.hit(ITEM, "api", f"address {number}")
        assert len(windows) <= 100

    assert not limiter.hit(ITEM, "api", "attacker")


def test_expired_windows_are_evicted() -> None:
    moment = 1_800_000_000.0
    windows = SlidingWindowStorage(capacity=100, clock=lambda: moment)
    limiter = SlidingWindowCounterRateLimiter(windows)
    short = limits.parse("5/second")
    for number in range(50):
        limiter.hit(short, "api", f"short {number}")

    moment += 2  # a window still counts during the next one
    for number in range(100):
        limiter.hit(ITEM, "api", f"long {number}")

    assert len(windows) == 100


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
