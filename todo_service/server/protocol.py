"""The HTTP protocol of uvicorn, within limits: sizes, times, rates, memory, and the number of connections.

A connection serves one request at a time. What a client pipelines stays unparsed, and reading is paused, until the
response before it has been read. A request ends when its client disconnects. A request that is refused here is answered
with a problem, as every other is.
"""

from __future__ import annotations

import asyncio
import resource
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from todo_service.bounds.connections import (
    BODY_BYTES_PER_SECOND,
    BODY_MEMORY_BYTES,
    BODY_SECONDS,
    BODY_WINDOW_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_BYTES,
    LINGER_SECONDS,
    MAX_CONNECTIONS,
    PIPELINED_BYTES,
    REFUSAL_LOG_SECONDS,
    RESPONSE_BYTES_PER_SECOND,
    RESPONSE_WINDOW_SECONDS,
    SPARE_BODY_MEMORY_BYTES,
    UNSENT_BYTES,
)
from todo_service.bounds.requests import HEADERS, TARGET_BYTES
from todo_service.observability.summary_log import SummaryLog
from todo_service.server.flow import (
    MemoryBudget,
    MinimumRate,
    ReadingFlow,
    Reservation,
    ResponseWriter,
    UnsentResponses,
)
from todo_service.server.framing import Refusal, RequestFraming, check_head
from todo_service.web.client_address import UNKNOWN, to_network
from todo_service.web.error_fallback import render_problem

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHECK_SECONDS: Final = 5.0
_OTHER_FILES: Final = 256
_SHED_SHARE: Final = 10
_SHED_SECONDS: Final = 1.0
_FREE_BODY_BYTES: Final = 16 * 1024
_SMALL_BODY_BYTES: Final = 1024 * 1024
_TOO_MANY_HEADERS: Final = "the request has more headers than this service accepts"


@cache
def max_connections() -> int:
    """Return how many connections this process may have at once: what its limit of open files leaves, or 20 000."""
    return max(64, min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES))


class Shared:
    """What all connections of this process share."""

    def __init__(self) -> None:
        self.bodies = MemoryBudget(BODY_MEMORY_BYTES)
        self.pipelined = MemoryBudget(PIPELINED_BYTES)
        self.unsent = UnsentResponses(UNSENT_BYTES)
        self.refusals = SummaryLog("connections refused", REFUSAL_LOG_SECONDS)
        self.full_until = 0.0


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. For the arguments, see uvicorn."""

    _shared: Final = Shared()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.flow: ReadingFlow
        self._writer: ResponseWriter
        self._framing = RequestFraming()
        self._unparsed = b""
        self._position = 0
        self._pipelined = self._shared.pipelined.reserve()
        self._body_memory: Reservation | None = None
        self._body_since = 0.0
        self._body_rate = MinimumRate(BODY_BYTES_PER_SECOND, BODY_WINDOW_SECONDS)
        self._response_rate = MinimumRate(RESPONSE_BYTES_PER_SECOND, RESPONSE_WINDOW_SECONDS)
        self._since = self.loop.time()
        self._refusal: Refusal | None = None
        self._lingering_bytes: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        self.flow = ReadingFlow(transport)
        self._writer = ResponseWriter(transport)
        self._response_rate.restart(self._since, 0)
        self._timer = self.loop.call_later(_CHECK_SECONDS, self._check)
        if len(self.connections) > max_connections() and not self._make_room():
            self._shared.refusals.add("unavailable")
            self._write_problem(Refusal("unavailable", "too many connections are open", retry_seconds=1))
            transport.close()  # at once: there is no room to wait for the client

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the request of a client that has disconnected, and let go of all memory."""
        if self._timer is not None:
            self._timer.cancel()
        self._unset_keepalive_if_required()
        self._cancel_request()
        self._drop_unparsed()
        self._shared.unsent.discard(self.transport)
        super().connection_lost(exc)
        self.cycle = None  # type: ignore[assignment]  # as before the first request
        self._task = None

    def pause_writing(self) -> None:
        """Note that the client does not keep up."""
        super().pause_writing()
        self._shared.unsent.add(self.transport, to_network(self.client[0]) if self.client else UNKNOWN)

    def resume_writing(self) -> None:
        """Note that the client has caught up, and go on with what it has pipelined."""
        super().resume_writing()
        self._shared.unsent.discard(self.transport)
        if self._unparsed:
            self.loop.call_soon(self._parse)

    # Reading

    def data_received(self, data: bytes) -> None:
        """Parse what was read, up to the end of one request."""
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
                    if not self._answered or self.flow.write_paused:
                        self._hold()
                        return
                end = framing.part_end(self._unparsed, self._position)
                part, self._position = self._unparsed[self._position : end], end
                framing.begin_part(part)
                self._feed(part)
                framing.end_part(part)
                if framing.in_head and len(self.headers) > HEADERS:
                    raise Refusal("headers-too-large", _TOO_MANY_HEADERS)
        except Refusal as refusal:
            self._refuse(refusal)
        self._drop_unparsed()
        self.flow.release()

    def _feed(self, part: bytes) -> None:
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            pass  # no protocol is upgraded to, and the part ends with the head
        except httptools.HttpParserError:
            # it is not kept: with its traceback it would keep this connection
            refusal, self._refusal = self._refusal, None
            malformed = Refusal("malformed-request", "this is no HTTP request that can be read")
            raise refusal or malformed from None

    def _hold(self) -> None:
        """Keep what is unparsed, and read no more, until the client has read the response before it."""
        self.flow.hold()
        self._pipelined.release()
        if not self._pipelined.grow(len(self._unparsed)):
            self._drop_unparsed()
            if self._answered:
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
        self._framing.begin()
        self._since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            self._fail(Refusal("target-too-long", "the target of the request is longer than this service accepts"))

    def on_headers_complete(self) -> None:
        """Start the request whose head is complete. The trailers, which come after the body, are ignored."""
        if len(self.headers) > HEADERS:
            self._fail(Refusal("headers-too-large", _TOO_MANY_HEADERS))
        try:
            length = check_head(self.parser.get_http_version(), self.headers, upgrades=self.parser.should_upgrade())
        except Refusal as refusal:
            self._fail(refusal)
        super().on_headers_complete()  # raises where the target cannot be read
        self._framing.end_head(length)
        self._body_memory = None
        self._body_since = self.flow.reading_seconds()
        self._body_rate.restart(self._body_since, 0)
        self.headers = []  # the parser adds trailers here

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        try:
            self._framing.receive(len(body))
            if not self.cycle.response_complete:
                self._reserve(len(body))
        except Refusal as refusal:
            self._fail(refusal)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has come in as a whole."""
        self._framing.end()
        super().on_message_complete()
        self.flow.resume_reading()  # else a disconnect would not be seen, where the last piece of the body was large

    def _fail(self, refusal: Refusal) -> NoReturn:
        """Raise through the parser, which replaces the exception by one of its own."""
        self._refusal = refusal
        raise refusal

    def _reserve(self, size: int) -> None:
        """Count a piece of a body against the memory that all bodies share, until the request has ended.

        Raises:
            Refusal: there is no room.
        """
        if self._framing.body_bytes <= _FREE_BODY_BYTES:
            return
        if self._body_memory is None:
            memory = self._body_memory = self._shared.bodies.reserve()
            assert self._task is not None  # it begins with the body
            self._task.add_done_callback(lambda _: memory.release())
        spare = SPARE_BODY_MEMORY_BYTES if self._framing.body_bytes > _SMALL_BODY_BYTES else 0
        if not self._body_memory.grow(size, spare=spare):
            raise Refusal("unavailable", "too many large requests are being received", retry_seconds=10)

    # Requests

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def run_until_disconnect(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                if not cycle.disconnected:
                    raise

        cycle.transport = self._writer  # type: ignore[assignment]  # a cycle writes, closes, and asks whether it is closing
        self._task = self.loop.create_task(cycle.run_asgi(run_until_disconnect))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def on_response_complete(self) -> None:
        """Go on with what the client has pipelined, or wait for its next request."""
        self._writer.flush()
        if self._framing.between_requests:
            self._since = self.loop.time()
        super().on_response_complete()
        if self._unparsed:
            self.loop.call_soon(self._parse)

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits(self) -> bool:
        return self._lingering_bytes is not None or (self._answered and self._framing.between_requests)

    def _cancel_request(self) -> None:
        """Tell the application that its client has gone, and end what it does."""
        if not self._answered:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self._task is not None:
                self._task.cancel()

    # Time

    def _check(self) -> None:
        """Close the connection if its client is too slow, else check again later."""
        now = self.loop.time()
        if not self._writer.unsent:
            self._response_rate.restart(now, self._writer.taken)
        elif self._response_rate.is_missed(now, self._writer.taken):
            self.transport.abort()
            return
        if not self.transport.is_closing():
            self._check_request(now)
        self._timer = self.loop.call_later(_CHECK_SECONDS, self._check)

    def _check_request(self, now: float) -> None:
        if self._waits:
            if now >= self._since + (IDLE_SECONDS if self._lingering_bytes is None else LINGER_SECONDS):
                self.transport.close()
        elif self._framing.in_head:
            if now >= self._since + HEAD_SECONDS:
                self._refuse(Refusal("too-slow", "the head of the request did not come in time"))
        elif self._framing.in_body:
            reading = self.flow.reading_seconds()  # while reading is paused, it is not the client who is slow
            if (
                self._body_rate.is_missed(reading, self._framing.body_bytes)
                or reading >= self._body_since + BODY_SECONDS
            ):
                self._refuse(Refusal("too-slow", "the body of the request did not come in time"))

    # Refusals

    def _make_room(self) -> bool:
        """Close a tenth of the connections, of those without a request to answer: idle ones first, the oldest first."""
        now = self.loop.time()
        if now < self._shared.full_until:
            return False
        others = [other for other in self.connections if isinstance(other, LimitedHttpProtocol) and other is not self]
        waiting = [other for other in others if other._waits or other._answered]
        waiting.sort(key=lambda other: (not other._waits, other._since))
        shed = waiting[: max(1, len(self.connections) // _SHED_SHARE)]
        for other in shed:
            self.connections.discard(other)
            other.transport.close()
        if not shed:
            self._shared.full_until = now + _SHED_SECONDS
        return bool(shed)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with a problem, unless a response has begun, and close the connection."""
        if self.transport.is_closing():
            return
        self._shared.refusals.add(refusal.problem)
        self._writer.flush()
        started = not self._answered and self.cycle.response_started
        rest_of_answered = self._answered and self._framing.in_body
        if not started and not rest_of_answered:
            self._write_problem(refusal)
        self._cancel_request()
        self._drop_unparsed()
        if started:
            self.transport.close()
        else:
            self._linger()

    def _write_problem(self, refusal: Refusal) -> None:
        status, headers, body = render_problem(refusal.problem, refusal.detail)
        if refusal.retry_seconds is not None:
            headers.append((b"retry-after", b"%d" % refusal.retry_seconds))
        self._writer.write(STATUS_LINE[status] + _lines(headers) + b"\r\n" + body)
        self._writer.flush()

    def _linger(self) -> None:
        """Close the connection for writing first: closed with unread data, it may lose the response (RFC 9112, 9.6)."""
        self._lingering_bytes = 0
        self._since = self.loop.time()
        self.flow.release()
        self.flow.resume_reading()
        self.transport.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(LINGER_SECONDS, self._check)


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%s: %s\r\n" % pair for pair in headers)
