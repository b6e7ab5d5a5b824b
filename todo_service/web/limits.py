"""How often one may ask: rate limits, with the headers of the IETF draft (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from todo_service.web.problems import ProblemError

Policy = Literal["api", "auth"]
LIMIT: Final = "limit"
"""The handler option that names the policy of a route (`api` unless it says otherwise), or None for no limit."""


class RateLimits:
    """Counts requests in this process and refuses those over a policy's limit.

    Args:
        policies: What each policy allows. An empty mapping allows everything.
    """

    def __init__(self, policies: Mapping[Policy, RateLimitItem]) -> None:
        self._policies = policies
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def hit(self, policy: Policy, key: str, headers: dict[str, str]) -> None:
        """Count one request.

        Args:
            policy: Which limit applies.
            key: Who is counted, such as `user:…` or `address:…`.
            headers: Takes the response headers that tell the caller where it stands.

        Raises:
            ProblemError: 429, with the seconds to wait.
        """
        item = self._policies.get(policy)
        if item is None:
            return
        allowed = self._limiter.hit(item, policy, key)
        self._describe(policy, item, key, headers)
        if not allowed:
            self._refuse(item, policy, key)

    def require(self, policy: Policy, key: str, headers: dict[str, str]) -> None:
        """Refuse, without counting, where nothing is left of a limit. Arguments and errors as in `hit`."""
        item = self._policies.get(policy)
        if item is not None and not self._limiter.test(item, policy, key):
            self._describe(policy, item, key, headers)
            self._refuse(item, policy, key)

    @contextmanager
    def spending(self, policy: Policy, key: str, headers: dict[str, str], *failures: type[Exception]) -> Iterator[None]:
        """Do something that may be tried only so often: only the tries that fail in one of these ways are counted.

        Raises:
            ProblemError: 429, nothing is left of the limit.
        """
        self.require(policy, key, headers)
        try:
            yield
        except failures:
            self.hit(policy, key, headers)
            raise

    def _describe(self, policy: Policy, item: RateLimitItem, key: str, headers: dict[str, str]) -> None:
        remaining, seconds = self._standing(item, policy, key)
        headers["RateLimit-Policy"] = f'"{policy}";q={item.amount};w={item.get_expiry()}'
        headers["RateLimit"] = f'"{policy}";r={remaining};t={seconds}'

    def _refuse(self, item: RateLimitItem, policy: Policy, key: str) -> None:
        _, seconds = self._standing(item, policy, key)
        raise ProblemError(
            "rate-limited",
            f"more than {item.amount} requests in {item.get_expiry()} s; wait {seconds} s",
            headers={"Retry-After": str(seconds)},
        )

    def _standing(self, item: RateLimitItem, policy: Policy, key: str) -> tuple[int, int]:
        stats = self._limiter.get_window_stats(item, policy, key)
        return max(0, int(stats.remaining)), max(1, math.ceil(stats.reset_time - time.time()))


def address_of(scope: Any) -> str:
    """Return the client's address, as the server tells it (`TRUSTED_PROXIES` decides what it believes)."""
    client = scope.get("client")
    return client[0] if client else "unknown"
