"""Positions in a manual order, and those of new todos."""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odmantic import ObjectId

from todo_service.positions import HALVINGS, advance, find_between, renumber_all, retreat, spread
from todo_service.services import MODELS
from todo_service.store.registry import create_store
from todo_service.todos import dto
from todo_service.todos.creation import build_document
from todo_service.todos.new_positions import NewPositions

LARGEST = sys.float_info.max
floats = st.floats(-1e300, 1e300)


@given(floats)
def test_forty_positions_fit_between_new_neighbors(position: float) -> None:
    for lower, upper in ((position, advance(position)), (retreat(position), position)):
        between: float | None = lower
        for _ in range(HALVINGS):
            between = find_between(between, upper)
            assert between is not None
        between = upper
        for _ in range(HALVINGS):
            between = find_between(lower, between)
            assert between is not None


@given(floats, floats)
def test_a_position_between_two_others_lies_between_them(one: float, other: float) -> None:
    lower, upper = sorted((one, other))

    found = find_between(lower, upper)

    assert found is None or lower < found < upper


def test_no_position_fits_between_adjacent_floats_or_beyond_the_largest() -> None:
    assert find_between(1.0, 1.0) is None
    assert find_between(1.0, 1.0 + sys.float_info.epsilon) is None
    assert find_between(LARGEST, None) is None
    assert find_between(None, -LARGEST) is None
    assert find_between(-LARGEST, LARGEST) == 0.0


@given(st.one_of(st.none(), floats), floats, st.integers(1, 50))
def test_spread_positions_are_in_order_and_leave_room(lower: float | None, upper: float, number: int) -> None:
    positions = spread(lower, upper, number)

    if positions is not None:
        assert len(positions) == number
        edges = [*([] if lower is None else [lower]), *positions, upper]
        for one, other in itertools.pairwise(edges):
            between: float | None = one
            for _ in range(15):
                between = find_between(between, other)
                assert between is not None


def test_a_hundred_thousand_positions_are_different_and_finite() -> None:
    positions = renumber_all(100_000)

    assert all(one < other for one, other in itertools.pairwise(positions))
    assert positions[-1] < 1e30


@pytest.mark.anyio
async def test_todos_that_two_processes_create_in_turn_are_in_order(store_url: str) -> None:
    store, account, moment = create_store(store_url), ObjectId(), datetime(2027, 1, 1, tzinfo=UTC)
    await store.open(*MODELS)
    processes = [NewPositions(store), NewPositions(store)]
    found = []
    for number in range(40):
        # bursts, with a pause after every tenth todo
        moment += timedelta(milliseconds=500 if number % 10 == 9 else 5)
        process = processes[0 if number % 7 == 3 else number % 2]
        (position,) = await process.choose(account, moment)
        todo = dto.TodoCreate(title="x")
        await store.insert(build_document(todo, account, ObjectId(), moment, None, position))
        found.append(position)
    await store.close()

    assert found == sorted(set(found))
