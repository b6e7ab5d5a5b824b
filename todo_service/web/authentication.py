"""Who is asking, and how often: the bearer token of a request (RFC 6750) and the rate limit of its route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from litestar.enums import HttpMethod, ScopeType
from litestar.routes import HTTPRoute

from todo_service.accounts.tokens import Caller
from todo_service.errors import Forbidden, Unauthenticated
from todo_service.web.limits import COUNTED_INSIDE, LIMIT, RateLimits, address_key
from todo_service.web.problems import allow_header

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

SESSION_ONLY: Final = "session_only"
"""The handler option of what an API key may not do."""
PUBLIC: Final = "public"
"""The handler option that lets everyone in: `opt={PUBLIC: True}`."""

Authenticate = Callable[[str], Awaitable[Caller]]


class Admission:
    """Lets a request through to its handler with the caller as its user; a handler may be public, or unlimited.

    Whoever is known is counted as that account; everyone else, and a bad token, as the address it comes from.

    Args:
        app: What comes next.
        authenticate: Returns the caller for an access token, or raises `Unauthenticated`.
        limits: The rate limits.
    """

    def __init__(self, app: ASGIApp, authenticate: Authenticate, limits: RateLimits) -> None:
        self._app = app
        self._authenticate = authenticate
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == HttpMethod.OPTIONS:
            await _tell_methods(scope, send)
            return
        if scope["type"] == ScopeType.HTTP:
            options = scope["route_handler"].opt
            limit = options.get(LIMIT, "api")
            policy = None if limit == COUNTED_INSIDE else limit
            headers = scope["state"].setdefault("headers", {})
            if options.get(PUBLIC):
                key = address_key(scope) if policy is not None else ""
            else:
                try:
                    caller = await self._authenticate(bearer_token(scope))
                except Unauthenticated:
                    await self._limits.hit("api", address_key(scope), headers)
                    raise
                scope["user"] = caller
                _require_scope(caller, scope["method"], options)
                key = f"user:{caller.user_id}"
            if policy is not None:
                await self._limits.hit(policy, key, headers)
        await self._app(scope, receive, send)


def _require_scope(caller: Caller, method: str, options: Mapping[str, Any]) -> None:
    """Refuse what an API key may not do.

    Raises:
        Forbidden: the key may only read, or no key may do this.
    """
    if caller.key_scope == "read" and method != HttpMethod.GET:
        raise Forbidden("this API key may only read")
    if caller.key_scope is not None and options.get(SESSION_ONLY):
        raise Forbidden("this needs a session: sign in with the password, not with an API key")


async def _tell_methods(scope: Scope, send: Send) -> None:
    """Answer OPTIONS with the methods of the path; Litestar would tell those of one handler only."""
    here = scope["path_template"]
    methods = {
        method
        for route in scope["litestar_app"].routes
        if isinstance(route, HTTPRoute) and here in (route.path, route.path_format)
        for method in route.methods
    }
    headers = [(b"allow", allow_header(methods).encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def bearer_token(scope: Scope) -> str:
    """Return the token of the one `Authorization: Bearer` header.

    Raises:
        Unauthenticated: there is none, more than one, or one of another scheme.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        raise Unauthenticated
    scheme, _, token = values[0].partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise Unauthenticated
    return token.decode("ascii")
