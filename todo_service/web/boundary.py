"""What holds for every request and every response, whichever part answers: the outermost layer.

It gives the request its id, adds the headers that every response carries, answers HEAD where there is GET, writes the
request's line in the log, counts what is in flight for a graceful stop, and is the last to catch what nobody caught.
"""

from __future__ import annotations

import asyncio
import re
import time
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from litestar.enums import HttpMethod, ScopeType

from todo_service.web.problems import MEDIA_TYPE, PROBLEMS, Problem

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")
API_POLICY: Final = b"default-src 'none'; frame-ancestors 'none'"
_EVERYWHERE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
access_log = structlog.get_logger("todo_service.requests")


class Boundary:
    """The outermost ASGI layer.

    Attributes:
        draining: Whether the service is stopping: readiness says so, and connections are no longer kept alive.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
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
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        request_id = sent if sent is not None and _REQUEST_ID.fullmatch(sent) else token_hex(16).encode()
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        state["headers"] = {}
        head = scope["method"] == "HEAD"
        method: str = scope["method"]
        if head:
            scope["method"] = HttpMethod.GET
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                names = {name.lower() for name, _ in headers}
                headers.append((b"x-request-id", request_id))
                headers.extend(_EVERYWHERE)
                headers.extend((name.lower().encode(), text.encode()) for name, text in state["headers"].items())
                if b"content-security-policy" not in names:
                    headers.append((b"content-security-policy", API_POLICY))
                if b"cache-control" not in names and scope["path"].startswith("/v1"):
                    # what belongs to an account is not kept by anyone, unless an entity tag governs it
                    headers.append((b"cache-control", b"private, no-cache" if b"etag" in names else b"no-store"))
                if self.draining:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            elif head and message["type"] == "http.response.body":
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
            await send(message)

        self._in_flight += 1
        self._idle.clear()
        structlog.contextvars.bind_contextvars(request_id=state["request_id"])
        try:
            await self._app(scope, receive, respond)
        except Exception as error:
            access_log.error("unexpected error", exc_info=error)
            if status == 0:
                status = 500
                await _answer_crash(scope["path"], state["request_id"], respond)
            else:
                raise  # the response has begun: the server cuts the connection, so that nobody takes it for whole
        finally:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()
            access_log.info(
                "request",
                method=method,
                # the template, never the path itself or the query: they may hold what belongs to somebody
                route=scope.get("path_template") or "-",
                status=status or None,
                milliseconds=round((time.perf_counter() - started) * 1000, 2),
                user=getattr(scope.get("user"), "user_id", None),
            )
            structlog.contextvars.unbind_contextvars("request_id")


async def _answer_crash(path: str, request_id: str, send: Send) -> None:
    kind = PROBLEMS["internal-error"]
    problem = Problem(
        type="urn:todo-service:problem:internal-error",
        title=kind.title,
        status=kind.status,
        detail="the service failed to handle this request; it has been logged",
        instance=path,
        request_id=request_id,
    )
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
