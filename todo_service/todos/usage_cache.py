"""A cache of how much of a quota each account uses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from odmantic import ObjectId

_MAX_ACCOUNTS: Final = 10_000


class Evictable(Protocol):
    """A usage that the cache may evict while it is idle."""

    @property
    def idle(self) -> bool:
        """Whether the account has no write in flight."""


UsageT = TypeVar("UsageT", bound=Evictable)


class UsageCache(Generic[UsageT]):
    """An LRU cache of the usage of each account. Not a `BoundedCache`: an account with a write in flight stays.

    Args:
        create: Creates the usage of an account that is not in the cache.
        on_evict: Called with each usage that the cache evicts.
    """

    def __init__(self, create: Callable[[], UsageT], on_evict: Callable[[UsageT], None] = lambda _: None) -> None:
        self._create = create
        self._on_evict = on_evict
        # keyed by the bytes of the ids, which hash faster than the ids
        self._usages: OrderedDict[bytes, UsageT] = OrderedDict()

    def get(self, account: ObjectId) -> UsageT:
        """Return the usage of an account, and create it if necessary."""
        usage = self._usages.get(account.binary)
        if usage is None:
            usage = self._usages[account.binary] = self._create()
            if len(self._usages) > _MAX_ACCOUNTS:
                self.evict_oldest(account)
        self._usages.move_to_end(account.binary)
        return usage

    def evict_oldest(self, keep: ObjectId) -> bool:
        """Evict the least recently used account that is idle. Return whether there was one.

        Args:
            keep: An account that stays in the cache.
        """
        for account, usage in self._usages.items():
            if usage.idle and account != keep.binary:
                del self._usages[account]
                self._on_evict(usage)
                return True
        return False
