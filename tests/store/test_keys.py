"""Encoded keys compare as their values do."""

from __future__ import annotations

import struct
from datetime import UTC
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from odmantic import ObjectId

from todo_service.store.embedded.keys import encode_value
from todo_service.store.query.expressions import normalize_value
from todo_service.store.query.kinds import get_kind

INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.datetimes(timezones=st.just(UTC)).map(normalize_value),
)


def compare(one: Any, other: Any) -> int:
    """Compare two values in the order that `store.base` defines."""
    first, second = get_kind(one), get_kind(other)
    assert first is not None
    assert second is not None
    if first != second:
        return -1 if first < second else 1
    if isinstance(one, str):
        one, other = one.encode(), other.encode()
    if one is None or one == other:
        return 0
    return -1 if one < other else 1


@given(st.lists(VALUES, min_size=1, max_size=4), st.lists(VALUES, min_size=1, max_size=4))
@example([2**53], [float(2**53)])
@example([2**53 + 1], [float(2**53)])
@example([2**63 - 1], [float(2**63)])
@example([-0.0], [0])
@example(["a"], ["a\x00"])
@example(["a", "b"], ["a\x00", ""])
@example([5e-324], [0])
def test_concatenated_keys_compare_value_by_value(one: list[Any], other: list[Any]) -> None:
    length = min(len(one), len(other))
    orders = [compare(a, b) for a, b in zip(one[:length], other[:length], strict=True)]
    expected = next((order for order in orders if order), 0)
    first = b"".join(encode_value(value) for value in one[:length])
    second = b"".join(encode_value(value) for value in other[:length])

    assert (first > second) - (first < second) == expected


@given(INTEGERS, st.floats(allow_nan=False, allow_infinity=False))
def test_integers_and_floats_compare_exactly(integer: int, real: float) -> None:
    nearest = struct.unpack(">d", struct.pack(">d", float(integer)))[0]
    for number in (real, nearest):
        assert (encode_value(integer) > encode_value(number)) == (integer > number)
        assert (encode_value(integer) == encode_value(number)) == (integer == number)


@given(VALUES, VALUES)
@example("a", "a\x00")
@example(b"", b"\x00")
def test_no_key_is_a_prefix_of_another(one: Any, other: Any) -> None:
    first, second = encode_value(one), encode_value(other)

    assert first == second or not second.startswith(first)
