"""Rate limit policies, and the headers that describe them (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import limits
from limits import RateLimitItem
from litestar.enums import HttpMethod, ScopeType

from todo_service.bounds.accounts import ACCOUNT_FACTOR, ADDRESS_FACTOR, ATTACKED_ATTEMPTS
from todo_service.rate_limits.counters import Counter, RateLimitDecision
from todo_service.web.client_address import get_client_network
from todo_service.web.problems import ProblemError

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

Policy = Literal["api", "auth", "auth-address", "auth-account", "auth-attacked"]
ATTACKED_PERIODS: Final = 15
_EXACT: Final = frozenset({"auth", "auth-address", "auth-account", "auth-attacked"})
"""The policies that are enforced exactly; see `rate_limits.counters`."""


def parse_policies(api: str, auth: str) -> dict[Policy, RateLimitItem]:
    """Return the limit of each policy.

    Args:
        api: `RATE_LIMIT_API`, for example `600/minute`.
        auth: `RATE_LIMIT_AUTH`, from which the policies of `rate_limits.password_attempts` are derived.
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
    """Counts requests, and rejects those that exceed a policy's limit.

    Args:
        policies: The limit of each policy. A policy without a limit allows everything.
        counter: Counts the requests.
        on_rejected: Called with the policy of each rejected request.
    """

    def __init__(
        self, policies: Mapping[Policy, RateLimitItem], counter: Counter, on_rejected: Callable[[str], None]
    ) -> None:
        self._policies = policies
        self._counter = counter
        self._on_rejected = on_rejected

    async def hit(self, policy: Policy, key: str, headers: dict[str, str]) -> None:
        """Count one request.

        Args:
            policy: The policy to apply.
            key: The client, for example `user:…` or `address:…`.
            headers: Receives the `RateLimit` response headers.

        Raises:
            ProblemError: 429, the limit is exceeded. `Retry-After` says how long to wait.
        """
        item = self._policies.get(policy)
        if item is not None:
            decision = await self._count(item, policy, key)
            _describe(policy, item, decision, headers)
            if not decision.allowed:
                self._reject(policy, item, decision)

    @asynccontextmanager
    async def reserve(self, headers: dict[str, str], *failures: type[Exception]) -> AsyncIterator[RateLimitReservation]:
        """Limit how often a block may fail. Only attempts that raise one of the failures remain counted.

        An attempt is counted in advance and refunded unless it fails, so that concurrent attempts cannot exceed the
        limit. A cancelled attempt remains counted.

        Args:
            headers: Receives the `RateLimit` response headers.
            *failures: The exceptions that count as failures.
        """
        reservation = RateLimitReservation(self, headers)
        try:
            yield reservation
        except failures:
            raise
        except Exception:
            await reservation.refund()
            raise
        await reservation.refund()

    def _reject(self, policy: Policy, item: RateLimitItem, decision: RateLimitDecision) -> NoReturn:
        self._on_rejected(policy)
        raise ProblemError(
            "rate-limited",
            f"more than {item.amount} requests in {item.get_expiry()} s; retry after {decision.reset_after} s",
            headers={"Retry-After": str(decision.reset_after)},
        )

    async def _count(self, item: RateLimitItem, policy: Policy, key: str) -> RateLimitDecision:
        return await self._counter.take(item, policy, key, exact=policy in _EXACT)


class RateLimitReservation:
    """The counts of one attempt, which can be refunded.

    Args:
        rate_limits: The rate limits.
        headers: Receives the `RateLimit` response headers.
    """

    def __init__(self, rate_limits: RateLimits, headers: dict[str, str]) -> None:
        self._rate_limits = rate_limits
        self._headers = headers
        self._taken: list[tuple[Policy, str, RateLimitDecision]] = []
        self._described: tuple[Policy, RateLimitItem, RateLimitDecision] | None = None

    async def take(self, policy: Policy, key: str, *, describe: bool = True) -> None:
        """Count the attempt against a limit.

        Args:
            policy: The policy to apply.
            key: The client or account to count.
            describe: Whether the response headers describe this limit. They always do when it is exceeded.

        Raises:
            ProblemError: 429, the limit is exceeded. `Retry-After` says how long to wait.
        """
        item = self._rate_limits._policies.get(policy)
        if item is None:
            return
        decision = await self._rate_limits._count(item, policy, key)
        if describe or not decision.allowed:
            _describe(policy, item, decision, self._headers)
        if not decision.allowed:
            self._described = None
            self._rate_limits._reject(policy, item, decision)
        self._taken.append((policy, key, decision))
        if describe:
            self._described = policy, item, decision

    async def try_take(self, policy: Policy, key: str) -> bool:
        """Count the attempt against a limit unless that exceeds it, and return whether it was counted."""
        item = self._rate_limits._policies.get(policy)
        if item is None:
            return True
        decision = await self._rate_limits._count(item, policy, key)
        if decision.allowed:
            self._taken.append((policy, key, decision))
        return decision.allowed

    async def refund(self) -> None:
        """Refund all counts."""
        for policy, key, decision in self._taken:
            item = self._rate_limits._policies[policy]
            await self._rate_limits._counter.refund(item, policy, key, decision)
        if self._described is not None:
            policy, item, decision = self._described
            _describe(policy, item, decision._replace(remaining=decision.remaining + 1), self._headers)


def _describe(policy: Policy, item: RateLimitItem, decision: RateLimitDecision, headers: dict[str, str]) -> None:
    headers["RateLimit-Policy"] = f'"{policy}";q={item.amount};w={item.get_expiry()}'
    headers["RateLimit"] = f'"{policy}";r={decision.remaining};t={decision.reset_after}'


def address_key(scope: Scope, bucket: str = "address") -> str:
    """Return the rate limit key of a client without an account.

    Args:
        scope: The ASGI scope of the request.
        bucket: The kind of request. Each kind is counted separately.
    """
    return f"{bucket}:{get_client_network(scope)}"


def response_headers(scope: Scope) -> dict[str, str]:
    """Return the additional response headers, as a dictionary to update."""
    headers: dict[str, str] = scope["state"].setdefault("headers", {})
    return headers


async def count_unrouted(rate_limits: RateLimits, scope: Scope) -> None:
    """Count a request that matched no handler (404, 405), by its address.

    Raises:
        ProblemError: 429, the limit is exceeded. `Retry-After` says how long to wait.
    """
    if scope.get("route_handler") is None:
        await rate_limits.hit("api", address_key(scope), response_headers(scope))


class OptionsRateLimitMiddleware:
    """Counts `OPTIONS` requests by address, separately from other requests.

    It runs outside of Litestar, because the CORS middleware responds to most of them before routing.

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
