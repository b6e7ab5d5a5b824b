"""How often one may ask: rate limits, with the headers of the IETF draft (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from limits import RateLimitItem

from todo_service.web.counters import Counter, Standing
from todo_service.web.problems import ProblemError

Policy = Literal["api", "auth"]
LIMIT: Final = "limit"
"""The handler option that names the policy of a route (`api` unless it says otherwise), or None for no limit."""
COUNTED_INSIDE: Final = "counted inside"
"""The limit of a route whose handler counts by itself, since it depends on what is asked."""
_EXACT: Final = frozenset({"auth"})
"""The policies of which not one request more is allowed; see `web.counters`."""
_IPV6_NETWORK: Final = 64


class RateLimits:
    """Counts requests and refuses those over a policy's limit.

    Args:
        policies: What each policy allows. An empty mapping allows everything.
        counter: Where requests are counted.
        refused: Hears the policy of each refusal.
    """

    def __init__(
        self, policies: Mapping[Policy, RateLimitItem], counter: Counter, refused: Callable[[str], None]
    ) -> None:
        self._policies = policies
        self._counter = counter
        self._refused = refused

    async def hit(self, policy: Policy, key: str, headers: dict[str, str]) -> None:
        """Count one request.

        Args:
            policy: Which limit applies.
            key: Who is counted, such as `user:…` or `address:…`.
            headers: Takes the response headers that tell the caller where it stands.

        Raises:
            ProblemError: 429, with the seconds to wait.
        """
        item = self._policies.get(policy)
        if item is not None:
            await self._take(item, policy, key, headers)

    @asynccontextmanager
    async def spending(
        self, policy: Policy, keys: Sequence[str], headers: dict[str, str], *failures: type[Exception]
    ) -> AsyncIterator[None]:
        """Do something that may fail only so often: only the tries that fail in one of these ways stay counted.

        A try is counted beforehand and taken back when it has not failed, so that no more can be under way at once
        than may fail.

        Args:
            policy: Which limit applies, one that is counted exactly.
            keys: Who is counted; each has the whole limit, and all must have some of it left.
            headers: As in `hit`; they tell of the key that has the least left.
            *failures: What a counted try raises.

        Raises:
            ProblemError: 429, nothing is left of the limit.
        """
        item = self._policies.get(policy)
        if item is None:
            yield
            return
        taken: dict[str, Standing] = {}
        try:
            for key in keys:
                taken[key] = await self._take(item, policy, key, headers)
            least = min(taken.values(), key=lambda standing: standing.remaining)
            _describe(item, policy, least, headers)
            yield
        except failures:
            raise
        except Exception:
            # not where the request was cancelled: whoever hangs up has tried all the same
            await self._give_back(item, policy, taken)
            raise
        await self._give_back(item, policy, taken)
        _describe(item, policy, least._replace(remaining=least.remaining + 1), headers)

    async def _take(self, item: RateLimitItem, policy: Policy, key: str, headers: dict[str, str]) -> Standing:
        standing = await self._counter.take(item, policy, key, exact=policy in _EXACT)
        _describe(item, policy, standing, headers)
        if not standing.allowed:
            self._refused(policy)
            raise ProblemError(
                "rate-limited",
                f"more than {item.amount} requests in {item.get_expiry()} s; wait {standing.seconds} s",
                headers={"Retry-After": str(standing.seconds)},
            )
        return standing

    async def _give_back(self, item: RateLimitItem, policy: Policy, keys: Iterable[str]) -> None:
        for key in keys:
            await self._counter.give_back(item, policy, key)


def _describe(item: RateLimitItem, policy: Policy, standing: Standing, headers: dict[str, str]) -> None:
    headers["RateLimit-Policy"] = f'"{policy}";q={item.amount};w={item.get_expiry()}'
    headers["RateLimit"] = f'"{policy}";r={standing.remaining};t={standing.seconds}'


def address_of(scope: Any) -> str:
    """Return the client's address (`TRUSTED_PROXIES` decides what the boundary believes of it)."""
    client = scope.get("client")
    return client[0] if client else "unknown"


def address_key(scope: Any) -> str:
    """Return by what an address is counted: in IPv6 its network of 64 bits, which is what one subscriber has."""
    address = address_of(scope)
    if ":" in address:
        network = ipaddress.ip_network((address.partition("%")[0], _IPV6_NETWORK), strict=False)
        return f"address:{network.network_address}"
    return f"address:{address}"


def name_key(name: str) -> str:
    """Return by what a name is counted that somebody has typed, which may be anything: not by the text itself."""
    return f"name:{hashlib.sha256(name.casefold().encode()).hexdigest()[:32]}"
