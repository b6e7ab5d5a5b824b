"""HTTP as uvicorn speaks it, within limits: how large a head may be, how long a request may take to come in, how many
connections may be open. What is refused is answered with a problem, as everything else is.

httptools has no limits of its own, and uvicorn's only time-out is that between two requests of a connection.
"""

from __future__ import annotations

import asyncio
import resource
from functools import cache
from typing import Any, Final

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from todo_service.web.boundary import bare_problem

HEAD_BYTES: Final = 32 * 1024
"""What the request line and the headers may have together."""
TARGET_BYTES: Final = 8 * 1024
HEADERS: Final = 100
IDLE_SECONDS: Final = 15
"""How long a connection may wait for a request to begin."""
HEAD_SECONDS: Final = 10.0
"""How long a head may take to come in."""
BODY_SECONDS: Final = 20.0
BODY_BYTES_A_SECOND: Final = 16 * 1024
"""A body may take `BODY_SECONDS`, and a second more for each of these."""
ANSWER_SECONDS: Final = 30.0
"""How long a client may take nothing of an answer that waits for it."""
_LOOK_SECONDS: Final = 5.0
_MOST: Final = 20_000
_OTHER_FILES: Final = 256
_SHED: Final = 10
_CONTINUE: Final = b"HTTP/1.1 1"


@cache
def most_connections() -> int:
    """Return how many connections this process may have at once: what its limit of open files leaves, or 20 000."""
    return max(64, min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES))


class Joined:
    """Where an answer is written, so that its head goes out with the beginning of its body, in one packet.

    Uvicorn writes them one after the other, which is a system call more.

    Args:
        transport: The connection's.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Write, or keep a head until what follows it."""
        if not self._head and data.startswith(b"HTTP/1.1 ") and not data.startswith(_CONTINUE):
            self._head = data
        else:
            self._transport.write(self._head + data if self._head else data)
            self._head = b""

    def flush(self) -> None:
        """Write a head that nothing has followed."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Write what is left, and hang up."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the connection is being closed."""
        return self._transport.is_closing()


class Exceeded(Exception):
    """The head of a request goes beyond a limit. The message is the name of the problem."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._exceeded: str | None = None
        self._heading = False
        self._head_bytes = 0
        self._receiving = False
        self._body_bytes = 0
        self._since = self.loop.time()
        self._unsent = (0, 0.0)
        self._watch: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        self._joined: Joined

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a connection, if there is room or it can be made."""
        super().connection_made(transport)
        self._joined = Joined(transport)
        self._watch = self.loop.call_later(_LOOK_SECONDS, self._look)
        if len(self.connections) > most_connections() and not self._make_room():
            self._refuse("unavailable", "too many connections are open", (b"retry-after", b"1"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._watch is not None:
            self._watch.cancel()
        if self._running is not None and not self._running.response_complete:
            # uvicorn tells the newest request only, which may wait behind this one
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on. The parser keeps a head that is not whole yet however long it is, so it is measured here."""
        heading = self._heading
        super().data_received(data)
        if heading and self._heading:
            self._head_bytes += len(data)
            too_large = self._head_bytes > HEAD_BYTES or len(self.headers) > HEADERS
            if too_large and not self.transport.is_closing():
                self._exceeded = "headers-too-large"
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._heading, self._head_bytes, self._since = True, 0, self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            self._exceed("target-too-long")

    def on_headers_complete(self) -> None:
        """Start the request whose head is there."""
        if (
            len(self.headers) > HEADERS
            or len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES
        ):
            self._exceed("headers-too-large")
        self._heading, self._receiving, self._body_bytes = False, True, 0
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.transport = self._joined  # type: ignore[assignment]  # a cycle writes, closes, and asks whether it is closing
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is there as a whole."""
        self._receiving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note that an answer is whole, and since when the connection waits."""
        self._joined.flush()
        if not self._heading and not self._receiving:
            self._since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read. Uvicorn's own text says nothing that ours does not."""
        if self._exceeded is None:
            self._refuse("malformed-request", "this is no HTTP request that can be read")
        else:
            self._refuse(self._exceeded, "the head of the request is larger than this service accepts")

    @property
    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _waits(self) -> bool:
        return self._answered and not self._heading and not self._receiving

    def _exceed(self, problem: str) -> None:
        self._exceeded = problem
        raise Exceeded(problem)

    def _look(self) -> None:
        """Close the connection if its client is too slow, else look again later."""
        now = self.loop.time()
        if self._takes_nothing(now):
            self.transport.abort()
            return
        if self.transport.is_closing():
            pass  # what is left of the answer is on its way
        elif self._waits:
            if now >= self._since + IDLE_SECONDS:
                self.transport.close()
        elif self._heading:
            if now >= self._since + HEAD_SECONDS and self._answered:
                self._refuse("too-slow", "the head of the request did not come in time")
        elif (
            self._receiving
            and now >= self._since + BODY_SECONDS + self._body_bytes / BODY_BYTES_A_SECOND
            and not self.flow.read_paused  # else it is not the client who is slow
        ):
            if self._answered:
                self.transport.close()
            else:
                self._refuse("too-slow", "the body of the request did not come in time")
        self._watch = self.loop.call_later(_LOOK_SECONDS, self._look)

    def _takes_nothing(self, now: float) -> bool:
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent != self._unsent[0]:
            self._unsent = unsent, now
        return now >= self._unsent[1] + ANSWER_SECONDS and unsent > 0

    def _make_room(self) -> bool:
        """Close a tenth of the connections, those that have waited for a request the longest; tell if there are any."""
        waiting = [
            other for other in self.connections if isinstance(other, Protocol) and other._waits and other is not self
        ]
        waiting.sort(key=lambda other: other._since)
        shed = waiting[: max(1, len(self.connections) // _SHED)]
        for other in shed:
            self.connections.discard(other)
            other.transport.close()
        return bool(shed)

    def _refuse(self, problem: str, detail: str, *further: tuple[bytes, bytes]) -> None:
        """Answer a problem, unless another answer has begun, and hang up."""
        self._joined.flush()
        if self._answered or not self.cycle.response_started:
            status, headers, body = bare_problem(problem, detail)
            lines = b"".join(b"%s: %s\r\n" % pair for pair in [*headers, *further])
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if not self._answered:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()
