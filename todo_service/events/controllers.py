"""The endpoints of event streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, UnsetType

from todo_service.accounts.tickets import Tickets
from todo_service.bounds.events import TICKET_SECONDS
from todo_service.events.hub import EventHub
from todo_service.events.reminders import ReminderReader
from todo_service.events.stream import EventStream, StreamContext
from todo_service.observability.metrics import Metrics
from todo_service.sync.changes import ChangeFeed, SyncToken
from todo_service.timestamps import now
from todo_service.web.openapi.config import declare_problems
from todo_service.web.requests import ApiRequest, QueryRequest
from todo_service.web.route_options import LAST_EVENT_ID, LONG_LIVED, RESPONSE_BODIES, SESSION_ONLY, TICKET

if TYPE_CHECKING:
    from litestar.types import Receive, Send

MEDIA_TYPE: Final = "text/event-stream"
# Litestar would add a charset to the media type; nginx must not buffer the stream
_HEADERS: Final = {"Content-Type": MEDIA_TYPE, "X-Accel-Buffering": "no"}
_EXAMPLE: Final = (
    'id: 3q2-7wAAAAE\nevent: todo-deleted\ndata: {"id":"6569e3f0a1b2c3d4e5f60718"}\n\n'
    "id: 3q2-7wAAAAI\nevent: ready\ndata: {}\n\n"
)


class EventsQuery(msgspec.Struct, frozen=True):
    """Where an event stream begins, and the ticket of a client that cannot send headers."""

    since: Annotated[
        Annotated[str, Meta(max_length=4096, extra_json_schema={"format": "cursor"})] | UnsetType,
        Meta(
            description=(
                "The `id` of the last event, or `next` of a list of changes; omit it to begin now. `Last-Event-ID` "
                "takes precedence."
            )
        ),
    ] = UNSET
    ticket: Annotated[
        Annotated[str, Meta(max_length=512)] | UnsetType,
        Meta(description="A ticket, in place of the `Authorization` header."),
    ] = UNSET


class EventTicket(msgspec.Struct, frozen=True):
    """A ticket for one event stream."""

    ticket: Annotated[
        str,
        Meta(
            description="The ticket. Send it as the `ticket` parameter of one call of `GET /v1/events`.",
            examples=["piA-MGSKhfoEMtIREObtpZTEDGsJ5o95IfOHz6R-BMQMawnmi3kh84fPpH4AxAxrCeaLeSHzh8-kfgHLQdrCebLo-1g"],
        ),
    ]
    expires_in: Annotated[int, Meta(description="How long the ticket is valid, in seconds.", examples=[TICKET_SECONDS])]


class EventStreamResponse(ASGIResponse):
    """Sends the parts of an event stream.

    Unlike Litestar's `Stream`, it has no second task that waits for the client to disconnect: the server cancels the
    request then (`server.protocol`).

    Args:
        first: The first part.
        rest: The other parts.
        metrics: Counts the open streams.
    """

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes], metrics: Metrics) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._first = first
        self._rest = rest
        self._metrics = metrics

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send all parts. Close the stream if the client disconnects."""
        with self._metrics.count_stream():
            async with aclosing(self._rest):
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
                async for part in self._rest:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventsController(Controller):
    """The events of the caller's account."""

    path = "/v1/events"
    tags = ["Events"]

    @get(
        "/",
        operation_id="streamEvents",
        summary="Stream events",
        opt={RESPONSE_BODIES: {MEDIA_TYPE: _EXAMPLE}, LONG_LIVED: True, TICKET: True, LAST_EVENT_ID: True},
        responses=declare_problems(401, 410, 422, 429, 503),
    )
    async def stream_events(
        self, request: QueryRequest[EventsQuery], hub: NamedDependency[EventHub], metrics: NamedDependency[Metrics]
    ) -> EventStreamResponse:
        """Stream the changes of todos and lists as server-sent events.

        The data of `todo` and `list` is the document; that of `todo-deleted` and `list-deleted` is its id. `ready`
        follows the events that the client had missed. A stream that resumes after the `id` of an event misses no
        change, but may send a document twice. `reminder` has the todo, the reminder and the moment for which it fired;
        a reminder that fires while no stream is open is not sent later. The stream ends when the token expires, and
        when the session ends.
        """
        context = b"changes" + request.user.user_id.binary
        since = _find_start(request, context)
        stream = EventStream(
            ChangeFeed(request.app.state.store, request.user.user_id),
            ReminderReader(request.app.state.store, request.user.user_id),
            hub,
            StreamContext(
                request.user,
                partial(request.cursors.seal, context=context),
                metrics.record_event,
                metrics.record_event_lag,
            ),
        )
        events = stream.run(since)
        # an error before the first event still becomes a problem response
        first = await anext(events)
        if request.is_head:
            await events.aclose()
        return EventStreamResponse(first, events, metrics)

    @post(
        "/ticket",
        operation_id="createEventTicket",
        summary="Create an event ticket",
        opt={SESSION_ONLY: True},
        responses=declare_problems(401, 403, 429, 503),
    )
    async def create_ticket(self, request: ApiRequest, tickets: NamedDependency[Tickets]) -> EventTicket:
        """Create a ticket for one call of `GET /v1/events` by a client that cannot send headers, such as `EventSource`.

        It is valid for a minute. The stream ends when the session of the caller ends.
        """
        return EventTicket(tickets.issue(request.user, now()), TICKET_SECONDS)


def _find_start(request: QueryRequest[EventsQuery], context: bytes) -> SyncToken | None:
    """Return the token at which a stream begins, or None for the present.

    Raises:
        ProblemError: 422, the token is not valid.
    """
    query = request.parameters()
    name, text = "Last-Event-ID", request.headers.get("last-event-id", "")
    if not text and query.since is not UNSET:
        name, text = "since", query.since
    elif not text:
        return None
    return request.cursors.open(text, SyncToken, context, name)
