"""Uvicorn's HTTP protocol with limits on sizes, durations, rates, memory and the number of connections.

A connection serves one request at a time. Pipelined requests stay unparsed, and reading is paused, until the client has
read the previous response. A request is cancelled when its client disconnects. Requests that are rejected here get a
problem response like any other.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, NoReturn

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from todo_service.bounds.connections import (
    BODY_BYTES_PER_SECOND,
    BODY_SECONDS,
    BODY_WINDOW_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_BYTES,
    LINGER_SECONDS,
    RESPONSE_BYTES_PER_SECOND,
    RESPONSE_WINDOW_SECONDS,
    SPARE_BODY_MEMORY_BYTES,
)
from todo_service.bounds.requests import HEADERS, TARGET_BYTES
from todo_service.server.capacity import SharedCapacity, max_connections
from todo_service.server.flow import MinimumRate, ReadFlowControl, Reservation, ResponseWriter, Shortage
from todo_service.server.framing import RequestFraming, RequestRejected, build_head_without_upgrade, check_head
from todo_service.timer_wheel import TimerWheel
from todo_service.web.body_memory import BODY_MEMORY
from todo_service.web.client_address import UNKNOWN, to_network
from todo_service.web.request_id import create_request_id, resolve_request_id

_CHECK_SECONDS: Final = 5.0
_SHED_SHARE: Final = 10
_SHED_SECONDS: Final = 1.0
_FREE_BODY_BYTES: Final = 16 * 1024
_SMALL_BODY_BYTES: Final = 1024 * 1024
_TOO_MANY_HEADERS: Final = "the request has too many headers"


class LimitedHttpProtocol(HttpToolsProtocol):
    """A connection with limits. See uvicorn for the arguments.

    It overrides private methods of uvicorn's class, so pyproject.toml pins uvicorn to a minor version.
    """

    _shared: Final = SharedCapacity()
    _checks: Final = TimerWheel["LimitedHttpProtocol"](_CHECK_SECONDS, lambda connection: connection._check())

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self.flow: ReadFlowControl
        self._writer: ResponseWriter
        self._framing = RequestFraming()
        self._head = b""
        self._unparsed, self._position = b"", 0
        self._network = UNKNOWN
        self._pipelined: Reservation
        self._body_memory: Reservation | None = None
        self._body_since = 0.0
        self._body_rate = MinimumRate(BODY_BYTES_PER_SECOND, BODY_WINDOW_SECONDS)
        self._response_rate = MinimumRate(RESPONSE_BYTES_PER_SECOND, RESPONSE_WINDOW_SECONDS)
        self._since = self.loop.time()
        self._rejection: RequestRejected | None = None
        self._lingering_bytes: int | None = None
        self._slot = 0
        self._linger_timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Accept the connection, or reject it if too many are open."""
        super().connection_made(transport)
        self._network = to_network(self.client[0]) if self.client else UNKNOWN
        self._pipelined = self._shared.pipelined.reserve(self._network)
        self.flow = ReadFlowControl(transport)
        self._writer = ResponseWriter(transport)
        self._response_rate.restart(self._since, 0)
        self._slot = self._checks.add(self)
        if len(self.connections) > max_connections() and not self._make_room():
            self._shared.rejections.add("unavailable")
            self._write_problem(RequestRejected("unavailable", "too many connections are open", retry_seconds=1))
            transport.close()  # without lingering, which would keep the connection open

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the current request and release all memory."""
        self._checks.remove(self, self._slot)
        for timer in (self._linger_timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        self._cancel_request()
        self._drop_unparsed()
        self._shared.unsent.discard(self.transport)
        super().connection_lost(exc)
        self.cycle = None  # type: ignore[assignment]  # as before the first request
        self._task = None

    def pause_writing(self) -> None:
        """Track the connection as lagging: its client reads too slowly."""
        super().pause_writing()
        self._shared.unsent.add(self.transport, self._network)

    def resume_writing(self) -> None:
        """Stop tracking the connection as lagging, and parse pipelined requests."""
        super().resume_writing()
        self._shared.unsent.discard(self.transport)
        if self._unparsed:
            self.loop.call_soon(self._parse)

    # Reading

    def data_received(self, data: bytes) -> None:
        """Parse received data, up to the end of the current request."""
        self._unset_keepalive_if_required()
        if self._lingering_bytes is not None:
            self._lingering_bytes += len(data)
            if self._lingering_bytes > LINGER_BYTES:
                self.transport.close()
            return
        if self._unparsed:
            data = self._unparsed[self._position :] + data
        self._unparsed, self._position = data, 0
        self._parse()

    def _parse(self) -> None:
        framing = self._framing
        try:
            while self._position < len(self._unparsed):
                if self.transport.is_closing() or self._lingering_bytes is not None:
                    break
                if framing.between_requests:
                    self._position = framing.skip_blank_lines(self._unparsed, self._position)
                    if self._position == len(self._unparsed):
                        break
                    if not self._response_complete or self.flow.write_paused or self._pause is not None:
                        self._hold()
                        return
                end = framing.find_part_end(self._unparsed, self._position)
                part, self._position = self._unparsed[self._position : end], end
                framing.begin_part(part)
                self._feed(part)
                framing.end_part(part)
                if framing.in_head and len(self.headers) > HEADERS:
                    raise RequestRejected("headers-too-large", _TOO_MANY_HEADERS)
        except RequestRejected as rejection:
            self._reject(rejection)
        self._drop_unparsed()
        self.flow.release()

    def _feed(self, part: bytes) -> None:
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            pass  # no upgrade is supported, and the part ends with the head
        except httptools.HttpParserError:
            if self._head:
                head, self._head = self._head, b""
                self.parser = httptools.HttpRequestParser(self)
                return self._feed(head)
            # clear it: its traceback refers to this connection
            rejection, self._rejection = self._rejection, None
            malformed = RequestRejected("malformed-request", "the request is not valid HTTP")
            raise rejection or malformed from None

    def _hold(self) -> None:
        """Pause reading, and store the unparsed data, until the client has read the previous response."""
        self.flow.hold()
        self._pipelined.release()
        if self._pipelined.grow(len(self._unparsed)) is not None:
            self._drop_unparsed()
            if self._response_complete:
                self.transport.close()
            else:
                self.cycle.keep_alive = False

    def _drop_unparsed(self) -> None:
        self._unparsed, self._position = b"", 0
        self._pipelined.release()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._framing.begin_request()
        self._since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Add a part of the request target."""
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            self._fail(RequestRejected("target-too-long", "the request target is too long"))

    def on_headers_complete(self) -> None:
        """Start the request. Trailers, which follow the body, are ignored."""
        if len(self.headers) > HEADERS:
            self._fail(RequestRejected("headers-too-large", _TOO_MANY_HEADERS))
        try:
            version = self.parser.get_http_version()
            length = check_head(version, self.headers)
            if length != 0 and self.parser.should_upgrade():
                self._head = build_head_without_upgrade(self.parser.get_method(), self.url, version, self.headers)
                raise httptools.HttpParserUpgrade
        except RequestRejected as rejection:
            self._fail(rejection)
        super().on_headers_complete()  # raises if the target is invalid
        self._framing.end_head(length)
        self._body_memory = self._begin_reservation() if length is None or length > _FREE_BODY_BYTES else None
        self._body_since = self.flow.measure_reading()
        self._body_rate.restart(self._body_since, 0)
        self.headers = []  # the parser adds trailers here

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        try:
            self._framing.receive_body(len(body))
            if not self.cycle.response_complete:
                self._reserve(len(body))
        except RequestRejected as rejection:
            self._fail(rejection)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, and resume reading."""
        self._framing.end_request()
        super().on_message_complete()
        self.flow.resume_reading()  # uvicorn pauses it after a large part, which would hide a disconnect

    def _fail(self, rejection: RequestRejected) -> NoReturn:
        """Store a rejection and raise it. The parser replaces the exception with its own."""
        self._rejection = rejection
        raise rejection

    def _begin_reservation(self) -> Reservation:
        """Return a reservation for the body, which the application charges to an account, until the request ends."""
        memory = self.scope["state"][BODY_MEMORY] = self._shared.bodies.reserve(self._network)
        assert self._task is not None  # it starts with the head
        self._task.add_done_callback(lambda _: memory.release())
        return memory

    def _reserve(self, size: int) -> None:
        """Reserve memory for a part of the body.

        Raises:
            RequestRejected: The budget for request bodies, or the client's share of it, is used up.
        """
        if self._framing.body_bytes <= _FREE_BODY_BYTES:
            return
        assert self._body_memory is not None  # the body exceeds what is free
        spare = SPARE_BODY_MEMORY_BYTES if self._framing.body_bytes > _SMALL_BODY_BYTES else 0
        match self._body_memory.grow(size, spare=spare):
            case Shortage.SHARE:
                raise RequestRejected("rate-limited", "too many large requests at the same time", retry_seconds=10)
            case Shortage.BUDGET:
                raise RequestRejected("unavailable", "the server receives too many large requests", retry_seconds=10)

    # Requests

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def run_until_disconnect(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                if not cycle.disconnected:
                    raise

        cycle.transport = self._writer  # type: ignore[assignment]  # a cycle calls write, close and is_closing only
        self._task = self.loop.create_task(cycle.run_asgi(run_until_disconnect))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def on_response_complete(self) -> None:
        """Parse pipelined requests, or wait for the next request."""
        self._writer.flush()
        if self._framing.between_requests:
            self._since = self.loop.time()
        # other clients may share the connection of a proxy, where the application replaces the client
        if (seconds := self._writer.pause_seconds) and self.cycle.scope["client"] == self.client:
            self.flow.hold()
            self._pause = self.loop.call_later(seconds, self._end_pause)
        super().on_response_complete()
        if self._unparsed:
            self.loop.call_soon(self._parse)

    def _end_pause(self) -> None:
        self._pause = None
        self._parse()

    @property
    def _response_complete(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_idle(self) -> bool:
        return self._lingering_bytes is not None or (self._response_complete and self._framing.between_requests)

    def _cancel_request(self) -> None:
        """Send a disconnect to the application and cancel its task."""
        if not self._response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self._task is not None:
                self._task.cancel()

    # Time

    def _check(self) -> None:
        """Close the connection if its client is too slow."""
        now = self.loop.time()
        if not self._writer.unsent:
            self._response_rate.restart(now, self._writer.sent)
        elif self._response_rate.is_missed(now, self._writer.sent):
            self.transport.abort()
            return
        if not self.transport.is_closing():
            self._check_request(now)

    def _check_request(self, now: float) -> None:
        if self._is_idle:
            if now >= self._since + (IDLE_SECONDS if self._lingering_bytes is None else LINGER_SECONDS):
                self.transport.close()
        elif self._framing.in_head:
            if now >= self._since + HEAD_SECONDS:
                self._reject(RequestRejected("too-slow", "the request headers did not arrive in time"))
        elif self._framing.in_body:
            reading = self.flow.measure_reading()  # paused reading is not the client's fault
            is_late = reading >= self._body_since + BODY_SECONDS
            if is_late or self._body_rate.is_missed(reading, self._framing.body_bytes):
                self._reject(RequestRejected("too-slow", "the request body did not arrive in time"))

    # Rejections

    def _make_room(self) -> bool:
        """Close up to a tenth of the connections, and return whether there were any to close.

        Idle connections are closed first, then those with an incomplete request, in each case the oldest first.
        """
        now = self.loop.time()
        if now < self._shared.full_until:
            return False
        others = [other for other in self.connections if isinstance(other, LimitedHttpProtocol) and other is not self]
        waiting = [other for other in others if other._is_idle or other._response_complete]
        waiting.sort(key=lambda other: (not other._is_idle, other._since))
        shed = waiting[: max(1, len(self.connections) // _SHED_SHARE)]
        for other in shed:
            self.connections.discard(other)
            other.transport.close()
        if not shed:
            self._shared.full_until = now + _SHED_SECONDS
        return bool(shed)

    def _reject(self, rejection: RequestRejected) -> None:
        """Reject the current request: send a problem unless a response has started, and close the connection."""
        if self.transport.is_closing():
            return
        self._shared.rejections.add(rejection.problem)
        self._writer.flush()
        started = not self._response_complete and self.cycle.response_started
        discarding_body = self._response_complete and self._framing.in_body
        if not started and not discarding_body:
            self._write_problem(rejection)
        self._cancel_request()
        self._drop_unparsed()
        if started:
            self.transport.close()
        else:
            self._linger()

    def _write_problem(self, rejection: RequestRejected) -> None:
        begun = not self._framing.between_requests
        request_id = resolve_request_id(self.scope) if begun else create_request_id()  # type: ignore[arg-type]  # a dict
        status, headers, body = rejection.render(self.url if begun else b"", request_id)
        self._writer.write(STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % pair for pair in headers) + b"\r\n" + body)
        self._writer.flush()

    def _linger(self) -> None:
        """Half-close the connection. A full close with unread data could lose the response (RFC 9112, 9.6)."""
        self._lingering_bytes = 0
        self._since = self.loop.time()
        self.flow.release()
        self.flow.resume_reading()
        self.transport.write_eof()
        self._linger_timer = self.loop.call_later(LINGER_SECONDS, self._check)
