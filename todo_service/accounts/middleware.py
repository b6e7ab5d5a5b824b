"""Authentication with bearer tokens (RFC 6750), and the rate limits of each route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from litestar.enums import HttpMethod, ScopeType
from litestar.routes import HTTPRoute

from todo_service.accounts.credentials import Credentials
from todo_service.accounts.tickets import Tickets
from todo_service.errors import Unauthenticated
from todo_service.rate_limits.concurrency import ConcurrencyLimiter
from todo_service.rate_limits.policies import RateLimitReservation, RateLimits, address_key, response_headers
from todo_service.security.caller import Caller
from todo_service.web.bearer import create_scope_problem, read_bearer_token, read_ticket
from todo_service.web.body_memory import charge_body
from todo_service.web.client_address import get_client_network
from todo_service.web.problems import build_allow_header
from todo_service.web.requests import ACCEPT_PATCH
from todo_service.web.route_options import BUCKET, LIMIT, LONG_LIVED, PUBLIC, SESSION_ONLY, TICKET

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send


class AuthenticationMiddleware:
    """Authenticates requests and applies the rate limits of their route.

    A request whose token is recognized without the store counts against the token's account. If its session or API key
    turns out to have ended, that count is refunded, and the request counts against its address instead. A request with
    an API key that is not cached, or with an event ticket, counts against its address before the store is called. If
    the key or the ticket is valid, that count is refunded, and the request counts against the account. All other
    requests count against their address, unless their route has no limit.

    Args:
        app: The next ASGI application.
        credentials: Verifies the tokens.
        tickets: Redeems event tickets.
        limits: The rate limits.
        concurrency: The limit on the concurrent requests of each client.
    """

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        tickets: Tickets,
        limits: RateLimits,
        concurrency: ConcurrencyLimiter,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._tickets = tickets
        self._limits = limits
        self._concurrency = concurrency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
        elif scope["method"] == HttpMethod.OPTIONS:
            await _send_allowed_methods(scope, send)
        elif scope["route_handler"].opt.get(PUBLIC):
            await self._serve_public(scope, receive, send)
        else:
            await self._serve_authenticated(scope, receive, send)

    async def _serve_public(self, scope: Scope, receive: Receive, send: Send) -> None:
        options = scope["route_handler"].opt
        policy = options.get(LIMIT, "api")
        if policy is None:
            await self._app(scope, receive, send)
            return
        key = address_key(scope, options.get(BUCKET, "address"))
        charge_body(scope, get_client_network(scope))
        await self._limits.hit(policy, key, response_headers(scope))
        await self._concurrency.acquire(key)
        try:
            await self._app(scope, receive, send)
        finally:
            self._concurrency.release(key)

    async def _serve_authenticated(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        options = scope["route_handler"].opt
        headers = response_headers(scope)
        ticket = read_ticket(scope) if options.get(TICKET) else None
        if ticket is None:
            token, caller = await self._identify(scope, headers)
        else:
            token, caller = "", await self._redeem(ticket, scope, headers)
        key = f"user:{caller.user_id}"
        charge_body(scope, key)
        reservation = RateLimitReservation(self._limits, headers)
        await reservation.take(options.get(LIMIT, "api"), key)
        if options.get(LONG_LIVED):
            await self._serve_alive(scope, receive, send, token, caller, reservation)
            return
        await self._concurrency.acquire(key)
        try:
            await self._serve_alive(scope, receive, send, token, caller, reservation)
        finally:
            self._concurrency.release(key)

    async def _serve_alive(
        self,
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        token: str,
        caller: Caller,
        reservation: RateLimitReservation,
    ) -> None:
        """Serve a request unless the session or API key of its caller has ended."""
        try:
            await self._credentials.require_alive(caller, token)
        except Unauthenticated:
            # the token of an ended session must not use up the rate limit of its account
            await reservation.refund()
            await self._limits.hit("api", address_key(scope), response_headers(scope))
            raise
        scope["user"], scope["auth"] = caller, token
        _require_scope(caller, scope["method"], scope["route_handler"].opt)
        await self._app(scope, receive, send)

    async def _redeem(self, ticket: str, scope: Scope, headers: dict[str, str]) -> Caller:
        """Return the caller that a ticket was issued to. An invalid one counts against the address.

        Raises:
            Unauthenticated: The ticket is invalid.
            ProblemError: 429, the address sent too many invalid ones.
        """
        async with self._limits.reserve(headers, Unauthenticated) as reservation:
            await reservation.take("api", address_key(scope))
            return await self._tickets.redeem(ticket)

    async def _identify(self, scope: Scope, headers: dict[str, str]) -> tuple[str, Caller]:
        """Return the token of a request, and the caller it was issued to. An invalid one counts against the address.

        Raises:
            Unauthenticated: The token is missing or invalid.
            ProblemError: 429, the address sent too many invalid tokens.
        """
        try:
            token = read_bearer_token(scope)
            caller = self._credentials.identify(token)
        except Unauthenticated:
            await self._limits.hit("api", address_key(scope), headers)
            raise
        if caller is None:
            async with self._limits.reserve(headers, Unauthenticated) as reservation:
                await reservation.take("api", address_key(scope))
                caller = await self._credentials.authenticate(token)
        return token, caller


def _require_scope(caller: Caller, method: str, options: Mapping[str, Any]) -> None:
    """Check that the credential may be used for a request.

    Raises:
        ProblemError: 403, the API key is read-only, or the route requires a session.
    """
    if caller.key_scope == "read" and method != HttpMethod.GET:
        raise create_scope_problem("this API key is read-only")
    if options.get(SESSION_ONLY):
        require_session(caller, "this operation")


def require_session(caller: Caller, action: str) -> None:
    """Check that the caller uses a session.

    Args:
        caller: The caller.
        action: The action that requires a session, as the subject of a sentence.

    Raises:
        ProblemError: 403, the caller is an API key.
    """
    if caller.key_scope is not None:
        raise create_scope_problem(f"{action} requires a session: sign in with a password instead of an API key")


async def _send_allowed_methods(scope: Scope, send: Send) -> None:
    """Respond to OPTIONS with the methods of the path. Litestar itself includes those of one handler only."""
    path = scope["path_template"]
    methods = {
        method
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and path in (route.path, route.path_format)
        for method in route.methods
    }
    headers = [(b"allow", build_allow_header(methods).encode())]
    if HttpMethod.PATCH in methods:
        headers.append((b"accept-patch", ACCEPT_PATCH.encode()))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
