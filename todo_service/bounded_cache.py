"""A cache with a bounded number of entries."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class BoundedCache(OrderedDict[KeyT, ValueT]):
    """A dict that evicts the entry that was set the longest ago when it is full.

    An `OrderedDict`, because finding the first entry of a `dict` takes microseconds once many have been evicted.

    Args:
        capacity: The maximum number of entries.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._capacity:
            self.popitem(last=False)
