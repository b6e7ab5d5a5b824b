"""Who is asking, and how often: the bearer token of a request (RFC 6750) and the limits of its route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from litestar.enums import HttpMethod, ScopeType
from litestar.routes import HTTPRoute

from todo_service.accounts.credentials import Credentials
from todo_service.errors import Unauthenticated
from todo_service.rate_limits.concurrency import ConcurrentRequestLimit
from todo_service.rate_limits.policies import RateLimits, Reservation, address_key, response_headers
from todo_service.security.caller import Caller
from todo_service.web.bearer import create_scope_problem, read_bearer_token
from todo_service.web.problems import build_allow_header
from todo_service.web.route_options import BUCKET, LIMIT, PUBLIC, SESSION_ONLY

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send


class AuthenticationMiddleware:
    """Lets a request through to its handler with the caller as its user, within the limits of its route.

    A caller who is known is counted as that account, before the store is asked whether the token is still good. Anyone
    else is counted by the address, and so, instead of as the account, is a token that turns out not to be good: one
    that this process has never seen before the store is asked about it.

    Args:
        app: The next ASGI application.
        credentials: Tells who a token speaks for.
        limits: The rate limits.
        concurrency: How many requests of one client are served at a time.
    """

    def __init__(
        self, app: ASGIApp, credentials: Credentials, limits: RateLimits, concurrency: ConcurrentRequestLimit
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._limits = limits
        self._concurrency = concurrency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
        elif scope["method"] == HttpMethod.OPTIONS:
            await _tell_methods(scope, send)
        elif scope["route_handler"].opt.get(PUBLIC):
            await self._serve_anyone(scope, receive, send)
        else:
            await self._serve_caller(scope, receive, send)

    async def _serve_anyone(self, scope: Scope, receive: Receive, send: Send) -> None:
        options = scope["route_handler"].opt
        policy = options.get(LIMIT, "api")
        if policy is None:
            await self._app(scope, receive, send)
            return
        key = address_key(scope, options.get(BUCKET, "address"))
        await self._limits.hit(policy, key, response_headers(scope))
        await self._concurrency.enter(key)
        try:
            await self._app(scope, receive, send)
        finally:
            self._concurrency.leave(key)

    async def _serve_caller(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        options = scope["route_handler"].opt
        headers = response_headers(scope)
        token, caller = await self._identify(scope, headers)
        key = f"user:{caller.user_id}"
        reservation = Reservation(self._limits, headers)
        await reservation.take(options.get(LIMIT, "api"), key)
        await self._concurrency.enter(key)
        try:
            try:
                await self._credentials.require_alive(caller, token)
            except Unauthenticated:
                # whoever holds the token of a session that has ended does not use up the requests of the account
                await reservation.give_back()
                await self._limits.hit("api", address_key(scope), headers)
                raise
            scope["user"], scope["auth"] = caller, token
            _require_scope(caller, scope["method"], options)
            await self._app(scope, receive, send)
        finally:
            self._concurrency.leave(key)

    async def _identify(self, scope: Scope, headers: dict[str, str]) -> tuple[str, Caller]:
        """Return the token of a request, and who it was issued to; a bad one is counted by the address.

        Raises:
            Unauthenticated: there is no token, or it is not good.
            ProblemError: 429, too many bad ones came from the address.
        """
        try:
            token = read_bearer_token(scope)
            caller = self._credentials.identify(token)
        except Unauthenticated:
            await self._limits.hit("api", address_key(scope), headers)
            raise
        if caller is None:
            async with self._limits.reserving(headers, Unauthenticated) as reservation:
                await reservation.take("api", address_key(scope))
                caller = await self._credentials.authenticate(token)
        return token, caller


def _require_scope(caller: Caller, method: str, options: Mapping[str, Any]) -> None:
    """Refuse what an API key may not do.

    Raises:
        ProblemError: 403, the key may only read, or no key may do this.
    """
    if caller.key_scope == "read" and method != HttpMethod.GET:
        raise create_scope_problem("this API key may only read")
    if options.get(SESSION_ONLY):
        require_session(caller, "this")


def require_session(caller: Caller, action: str) -> None:
    """Refuse an API key.

    Args:
        caller: Who is asking.
        action: What needs a session, as the subject of a sentence.

    Raises:
        ProblemError: 403, the caller is an API key.
    """
    if caller.key_scope is not None:
        raise create_scope_problem(f"{action} needs a session: sign in with the password, not with an API key")


async def _tell_methods(scope: Scope, send: Send) -> None:
    """Answer OPTIONS with the methods of the path; Litestar would tell those of one handler only."""
    here = scope["path_template"]
    methods = {
        method
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and here in (route.path, route.path_format)
        for method in route.methods
    }
    headers = [(b"allow", build_allow_header(methods).encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
