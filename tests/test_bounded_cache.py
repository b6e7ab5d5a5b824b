"""The cache with a bounded number of entries."""

from __future__ import annotations

from todo_service.bounded_cache import BoundedCache


def test_a_full_cache_evicts_the_entry_that_was_set_the_longest_ago() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)

    cache["a"] = 1
    cache["b"] = 2
    assert cache.get("a") == 1
    cache["c"] = 3

    assert dict(cache) == {"b": 2, "c": 3}


def test_an_entry_that_is_set_again_is_the_newest() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)

    cache["a"] = 1
    cache["b"] = 2
    cache["a"] = 3
    cache["c"] = 4

    assert dict(cache) == {"a": 3, "c": 4}


def test_no_way_to_add_entries_exceeds_the_capacity() -> None:
    cache: BoundedCache[int, int] = BoundedCache(3)

    cache.update({number: number for number in range(10)})
    cache.setdefault(10, 10)
    cache |= {11: 11}

    assert dict(cache) == {9: 9, 10: 10, 11: 11}
