"""How often one may ask: rate limits, with the headers of the IETF draft (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import limits
from limits import RateLimitItem
from litestar.enums import HttpMethod, ScopeType

from todo_service.bounds.accounts import ACCOUNT_FACTOR, ADDRESS_FACTOR, ATTACKED_ATTEMPTS
from todo_service.rate_limits.counters import Counter, Standing
from todo_service.web.client_address import get_client_network
from todo_service.web.problems import ProblemError

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

Policy = Literal["api", "auth", "auth-address", "auth-account", "auth-attacked"]
ATTACKED_PERIODS: Final = 15
_EXACT: Final = frozenset({"auth", "auth-address", "auth-account", "auth-attacked"})
"""The policies of which not one request more is allowed; see `rate_limits.counters`."""


def parse_policies(api: str, auth: str) -> dict[Policy, RateLimitItem]:
    """Return what each policy allows.

    Args:
        api: `RATE_LIMIT_API`, such as `600/minute`.
        auth: `RATE_LIMIT_AUTH`, from which the policies of `rate_limits.password_attempts` follow.
    """
    attempts = limits.parse(auth)

    def derive(amount: int, periods: int = 1) -> RateLimitItem:
        return type(attempts)(amount, attempts.multiples * periods)

    return {
        "api": limits.parse(api),
        "auth": attempts,
        "auth-address": derive(ADDRESS_FACTOR * attempts.amount),
        "auth-account": derive(ACCOUNT_FACTOR * attempts.amount),
        "auth-attacked": derive(ATTACKED_ATTEMPTS, ATTACKED_PERIODS),
    }


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
            standing = await self._count(item, policy, key)
            _describe(policy, item, standing, headers)
            if not standing.allowed:
                self._refuse(policy, item, standing)

    @asynccontextmanager
    async def reserving(self, headers: dict[str, str], *failures: type[Exception]) -> AsyncIterator[Reservation]:
        """Do something that may fail only so often: only the tries that fail in one of these ways stay counted.

        A try is counted beforehand and given back when it has not failed, so that no more can be under way at once
        than may fail. One that is cancelled stays counted.

        Args:
            headers: As in `hit`.
            *failures: What a counted try raises.
        """
        reservation = Reservation(self, headers)
        try:
            yield reservation
        except failures:
            raise
        except Exception:
            await reservation.give_back()
            raise
        await reservation.give_back()

    def _refuse(self, policy: Policy, item: RateLimitItem, standing: Standing) -> NoReturn:
        self._refused(policy)
        raise ProblemError(
            "rate-limited",
            f"more than {item.amount} requests in {item.get_expiry()} s; wait {standing.seconds} s",
            headers={"Retry-After": str(standing.seconds)},
        )

    async def _count(self, item: RateLimitItem, policy: Policy, key: str) -> Standing:
        return await self._counter.take(item, policy, key, exact=policy in _EXACT)


class Reservation:
    """What has been counted of one try, until it is known whether the try stays counted.

    Args:
        rate_limits: The rate limits.
        headers: Takes the response headers that tell the caller where it stands.
    """

    def __init__(self, rate_limits: RateLimits, headers: dict[str, str]) -> None:
        self._rate_limits = rate_limits
        self._headers = headers
        self._taken: list[tuple[Policy, str, Standing]] = []
        self._described: tuple[Policy, RateLimitItem, Standing] | None = None

    async def take(self, policy: Policy, key: str, *, describe: bool = True) -> None:
        """Count the try by one more key.

        Args:
            policy: Which limit applies.
            key: Who is counted.
            describe: Whether the response headers describe this limit; they do where it refuses the try.

        Raises:
            ProblemError: 429, with the seconds to wait.
        """
        item = self._rate_limits._policies.get(policy)
        if item is None:
            return
        standing = await self._rate_limits._count(item, policy, key)
        if describe or not standing.allowed:
            _describe(policy, item, standing, self._headers)
        if not standing.allowed:
            self._described = None
            self._rate_limits._refuse(policy, item, standing)
        self._taken.append((policy, key, standing))
        if describe:
            self._described = policy, item, standing

    async def take_if_allowed(self, policy: Policy, key: str) -> bool:
        """Count the try by one more key if its limit allows it, and return whether it does."""
        item = self._rate_limits._policies.get(policy)
        if item is None:
            return True
        standing = await self._rate_limits._count(item, policy, key)
        if standing.allowed:
            self._taken.append((policy, key, standing))
        return standing.allowed

    async def give_back(self) -> None:
        """Take back whatever was counted."""
        for policy, key, standing in self._taken:
            item = self._rate_limits._policies[policy]
            await self._rate_limits._counter.give_back(item, policy, key, standing)
        if self._described is not None:
            policy, item, standing = self._described
            _describe(policy, item, standing._replace(remaining=standing.remaining + 1), self._headers)


def _describe(policy: Policy, item: RateLimitItem, standing: Standing, headers: dict[str, str]) -> None:
    headers["RateLimit-Policy"] = f'"{policy}";q={item.amount};w={item.get_expiry()}'
    headers["RateLimit"] = f'"{policy}";r={standing.remaining};t={standing.seconds}'


def address_key(scope: Scope, bucket: str = "address") -> str:
    """Return the key by which a client without an account is counted.

    Args:
        scope: The ASGI scope of the request.
        bucket: What is counted; requests of different buckets are counted apart.
    """
    return f"{bucket}:{get_client_network(scope)}"


def response_headers(scope: Scope) -> dict[str, str]:
    """Return the further headers of the response, to be added to."""
    headers: dict[str, str] = scope["state"].setdefault("headers", {})
    return headers


async def count_unrouted(rate_limits: RateLimits, scope: Scope) -> None:
    """Count a request that has reached no handler (404, 405), by its address.

    Raises:
        ProblemError: 429, with the seconds to wait.
    """
    if scope.get("route_handler") is None:
        await rate_limits.hit("api", address_key(scope), response_headers(scope))


class OptionsRateLimitMiddleware:
    """Counts `OPTIONS`, by address and apart from other requests; CORS answers most of them before they are routed.

    Args:
        app: The next ASGI application.
        rate_limits: The rate limits.
    """

    def __init__(self, app: ASGIApp, rate_limits: RateLimits) -> None:
        self._app = app
        self._rate_limits = rate_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == HttpMethod.OPTIONS:
            await self._rate_limits.hit("api", address_key(scope, "options"), response_headers(scope))
        await self._app(scope, receive, send)
