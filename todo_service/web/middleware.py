"""The outermost middleware: one pure ASGI pass that applies the rules of every request.

Each rule has a module of its own: `request_id`, `prefixes`, `proxies`, `hosts`, `in_flight`, `access_log`,
`response_headers`, `response_sender` and `error_fallback`. They share one pass to save a coroutine per rule and
request.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from litestar.enums import HttpMethod, ScopeType

from todo_service.web.error_fallback import unwrap_problem
from todo_service.web.problems import ClientDisconnected
from todo_service.web.request_id import resolve_request_id
from todo_service.web.response_sender import ResponseSender

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

    from todo_service.web.access_log import AccessLog
    from todo_service.web.hosts import AllowedHosts
    from todo_service.web.in_flight import InFlightRequests
    from todo_service.web.prefixes import Prefixes
    from todo_service.web.proxies import Proxies
    from todo_service.web.response_headers import ResponseHeaders


class OutermostMiddleware:
    """Applies the rules of every request, and serves HEAD on every GET route.

    Args:
        app: The next ASGI application.
        in_flight: Counts the requests in flight.
        access_log: Records every request.
        hosts: The allowed hosts.
        headers: The headers of every response.
        prefixes: Resolves the prefix of the service's URLs.
        proxies: The trusted proxies, if any.
    """

    def __init__(
        self,
        app: ASGIApp,
        in_flight: InFlightRequests,
        access_log: AccessLog,
        hosts: AllowedHosts,
        headers: ResponseHeaders,
        prefixes: Prefixes,
        proxies: Proxies | None,
    ) -> None:
        self._app = app
        self._in_flight = in_flight
        self._access_log = access_log
        self._hosts = hosts
        self._headers = headers
        self._prefixes = prefixes
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method: str = scope["method"]
        request_id = resolve_request_id(scope)
        scope.setdefault("state", {}).update(request_id=request_id, headers={})
        self._prefixes.apply(scope)
        if self._proxies is not None and (client := self._proxies.resolve_client(scope)) is not None:
            scope["client"] = (client, 0)
        sender = ResponseSender(scope, send, self._headers, without_body=method == "HEAD")
        if method == "HEAD":
            # a copy: the server reads its own scope to know that the response has no body
            scope = {**scope, "method": HttpMethod.GET}
            scope["state"]["is_head"] = True
        self._in_flight.add()
        span = self._access_log.begin(scope, request_id)
        try:
            if self._hosts.allows(scope):
                await self._app(scope, _detect_disconnect(receive), sender)
            else:
                await sender.send_problem("malformed-request", "this service does not serve this host")
        except Exception as error:
            problem = unwrap_problem(error)
            if sender.status:
                raise  # the response has begun: the server closes the connection, so that the client sees the failure
            headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
            await sender.send_problem(problem.name, problem.detail, headers)
        finally:
            self._in_flight.remove()
            self._access_log.end(scope, method, sender.status, time.perf_counter() - started, span)


def _detect_disconnect(receive: Receive) -> Receive:
    """Return a `receive` that raises `ClientDisconnected` if the client disconnects before its body is complete."""
    more = True

    async def receive_or_raise() -> Any:
        nonlocal more
        message = await receive()
        if message["type"] == "http.request":
            more = message.get("more_body", False)
        elif more:
            raise ClientDisconnected
        return message

    return receive_or_raise
