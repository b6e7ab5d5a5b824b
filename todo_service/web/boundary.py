"""What holds for every request and every response, whichever part answers: the outermost layer.

It gives the request its id, believes trusted proxies, adds the headers that every response carries, answers HEAD where
there is GET, writes the request's line in the log, counts and times it, counts what is in flight for a graceful stop,
and is the last to catch what nobody caught.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import LitestarException

from todo_service.observability.log_limit import LogLimit
from todo_service.web.client_address import client_network
from todo_service.web.problems import MEDIA_TYPE, ClientGone, problem_named, problem_of, problem_of_status

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from todo_service.observability.metrics import Metrics
    from todo_service.observability.tracing import Tracing
    from todo_service.web.proxies import Proxies

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
API_POLICY: Final = b"default-src 'none'; frame-ancestors 'none'"
_EVERYWHERE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_PROBLEM_TYPE: Final = MEDIA_TYPE.encode()
_UNMETERED: Final = frozenset({"-", "/health/live", "/health/ready"})
"""Routes that no rate limit bounds in the log."""
access_log = structlog.get_logger("todo_service.requests")


class Boundary:
    """The outermost ASGI layer.

    Args:
        app: What comes next.
        metrics: Counts every request.
        allowed_hosts: The `Host` names that are served, `*.` for any below a domain; none named: any.
        proxies: The proxies that are believed, if there are any.
        tracing: Makes a span of every request, if there is any.
        headers: Further headers of every response.

    Attributes:
        headers: As given.
        draining: Whether the service is stopping: readiness says so, and connections are no longer kept alive.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        allowed_hosts: Sequence[str] = (),
        proxies: Proxies | None = None,
        tracing: Tracing | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.headers = headers
        self._log_limit = LogLimit()
        self._app = app
        self._metrics = metrics
        self._proxies = proxies
        self._tracing = tracing
        self._allowed_hosts = [name.lower() for name in allowed_hosts]
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = False

    async def drain(self, seconds: float) -> bool:
        """Begin to stop: readiness fails from now on. Wait for the requests in flight.

        Args:
            seconds: How long to wait at most.

        Returns:
            Whether every request was answered in that time.
        """
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method: str = scope["method"]
        scope.setdefault("state", {}).update(request_id=_request_id(scope), headers={})
        response = _Response(scope, send, self, without_body=method == "HEAD")
        if method == "HEAD":
            # a copy, for the server looks into its own to know that no body follows
            scope = {**scope, "method": HttpMethod.GET}
        if self._proxies is not None and (client := self._proxies.client_of(scope)) is not None:
            scope["client"] = (client, 0)
        self._in_flight += 1
        self._idle.clear()
        structlog.contextvars.bind_contextvars(request_id=scope["state"]["request_id"])
        span = self._tracing.begin(scope) if self._tracing is not None else None
        if span is not None:
            structlog.contextvars.bind_contextvars(trace_id=span.trace_id)
        try:
            if self._allowed_hosts and not self._is_allowed_host(scope):
                await response.problem("malformed-request", "this service does not answer for this host")
            else:
                await self._app(scope, _whole(receive), response)
        except Exception as error:
            # what fails once an answer is ready but held back, Litestar hands on as an error of its own
            cause = error.__cause__ if type(error) is LitestarException else None
            problem = problem_of(cause if isinstance(cause, Exception) else error)
            if response.status:
                raise  # the response has begun: the server cuts the connection, so that nobody takes it for whole
            headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
            await response.problem(problem.name, problem.detail, headers)
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()
            caller = scope.get("user")
            # the template, never the path itself or the query: they may hold what belongs to somebody
            route = scope.get("path_template") or "-"
            seconds = time.perf_counter() - started
            self._metrics.answered(method, route, response.status, seconds)
            limited = response.status == 429 or route in _UNMETERED
            if not limited or self._log_limit.allows(client_network(scope)):
                access_log.info(
                    "request",
                    method=method,
                    route=route,
                    status=response.status or None,
                    milliseconds=round(seconds * 1000, 2),
                    user=str(caller.user_id) if caller is not None else None,
                )
            if span is not None:
                span.end(method, route, response.status)
            structlog.contextvars.unbind_contextvars("request_id", "trace_id")

    def _is_allowed_host(self, scope: Scope) -> bool:
        if scope["path"].startswith("/health/"):
            return True  # monitors ask by the machine's address, not by the service's name
        header = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
        host = header if header.endswith("]") else header.rpartition(":")[0] or header
        return any(
            name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in self._allowed_hosts
        )


class _Response:
    """The response to one request, on its way out.

    Attributes:
        status: The status code, or 0 as long as the response has not begun.
    """

    def __init__(self, scope: Scope, send: Send, boundary: Boundary, *, without_body: bool) -> None:
        self._scope = scope
        self._send = send
        self._without_body = without_body
        self._boundary = boundary
        self._replaced = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if message["status"] >= 400 and dict(headers).get(b"content-type") != _PROBLEM_TYPE:
                # a part of Litestar that answers by itself, as its CORS does: no error leaves by another door
                self._replaced = True
                kept = [pair for pair in headers if pair[0] not in (b"content-type", b"content-length")]
                await self.problem(problem_of_status(message["status"]), "the request cannot be answered", kept)
                return
            self.status = message["status"]
            message["headers"] = headers + self._further(headers)
        elif message["type"] == "http.response.body":
            if self._replaced:
                return
            if self._without_body:
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
        await self._send(message)

    async def problem(self, name: str, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Answer a problem that comes from no handler."""
        problem = problem_named(name, detail, self._scope["path"], self._scope["state"]["request_id"])
        body = msgspec.json.encode(problem)
        self.status = problem.status
        own = [*headers, (b"content-type", _PROBLEM_TYPE), (b"content-length", str(len(body)).encode())]
        own += self._further(own)
        await self._send({"type": "http.response.start", "status": problem.status, "headers": own})
        sent = b"" if self._without_body else body
        await self._send({"type": "http.response.body", "body": sent, "more_body": False})

    def _further(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers that every response has, beside those that it has already."""
        state = self._scope["state"]
        names = {name.lower() for name, _ in headers}
        further = [(b"x-request-id", state["request_id"].encode()), *_EVERYWHERE]
        further += [(name.lower().encode(), text.encode()) for name, text in state["headers"].items()]
        further += [pair for pair in self._boundary.headers if pair not in headers]
        if b"content-security-policy" not in names:
            further.append((b"content-security-policy", API_POLICY))
        if b"cache-control" not in names and self._scope["path"].startswith("/v1"):
            # what belongs to an account is not kept by anyone, unless an entity tag governs it
            further.append((b"cache-control", b"private, no-cache" if b"etag" in names else b"no-store"))
        if self._boundary.draining:
            further.append((b"connection", b"close"))
        return further


def _whole(receive: Receive) -> Receive:
    """Return a `receive` that tells a client that hung up from a failure of the service."""
    more = True

    async def received() -> Any:
        nonlocal more
        message = await receive()
        if message["type"] == "http.request":
            more = message.get("more_body", False)
        elif more:
            raise ClientGone
        return message

    return received


def bare_problem(name: str, detail: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, the headers and the body of the answer to what does not become a request; the last one."""
    request_id = token_hex(16)
    problem = problem_named(name, detail, "", request_id)
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", _PROBLEM_TYPE),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"content-security-policy", API_POLICY),
        *_EVERYWHERE,
        (b"connection", b"close"),
    ]
    return problem.status, headers, body


def _request_id(scope: Scope) -> str:
    sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return sent.decode() if _REQUEST_ID.fullmatch(sent) else token_hex(16)
