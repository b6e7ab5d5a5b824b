"""Export and import over HTTP."""

from __future__ import annotations

import mmap
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Final

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.response import Stream
from msgspec import UNSET, Meta

from todo_service.exchange.dto import Archive, ArchiveImport, ExportQuery, ImportQuery
from todo_service.exchange.service import FORMATS, Transfer
from todo_service.idempotency.middleware import identity_of
from todo_service.settings import IMPORT_MAX_BODY_BYTES
from todo_service.web.openapi.config import declare_headers, declare_problems
from todo_service.web.problems import FieldError
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import BODIES, CONTENTS, IDEMPOTENT, NO_TIMEOUT, QUERY

_TABLE: Final = "title,due_at,tags\r\nWater the plants,2027-01-31T09:00:00.000Z,home\r\n"
_CALENDAR: Final = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\nBEGIN:VTODO\r\nUID:1\r\nDTSTAMP:20270101T090000Z\r\n"
    "SUMMARY:Water the plants\r\nDUE:20270131T090000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
)


class Rejection(msgspec.Struct):
    """A record that was not imported."""

    line: Annotated[
        int, Meta(ge=1, description="The line of the body where it is wrong, or else begins.", examples=[3])
    ]
    errors: Annotated[list[FieldError], Meta(description="What is wrong with it, in order.")]


class ImportResult(msgspec.Struct):
    """What became of an import."""

    imported: Annotated[int, Meta(ge=0, description="How many todos were made.", examples=[41])]
    rejected: Annotated[list[Rejection], Meta(description="The records that were not, by line: the first 1 000.")]
    rejected_count: Annotated[int, Meta(ge=0, description="How many records were not imported.", examples=[1])]


class ExchangeController(Controller):
    """Exports and imports of an account's todos and lists."""

    path = "/v1/todos"
    tags = ["Todos"]

    @get(
        "/export",
        operation_id="exportTodos",
        summary="Export everything",
        opt={
            QUERY: ExportQuery,
            CONTENTS: {"application/json": Archive, "text/csv": _TABLE, "text/calendar": _CALENDAR},
        },
        responses=declare_problems(401, 422, 429, 503),
        response_headers=declare_headers("Content-Disposition"),
    )
    async def export_todos(self, request: ApiRequest, transfer: NamedDependency[Transfer]) -> Stream:
        """Write out all todos, and in JSON the lists too, however many there are."""
        name = request.parameters(ExportQuery).format
        form = FORMATS[name]
        parts = transfer.export(form)
        # what fails before the first part is still answered with a problem
        first = await anext(parts)
        return Stream(
            _followed(first, parts),
            media_type=form.content_type,
            headers={"Content-Disposition": f'attachment; filename="todos.{name}"'},
        )

    @post(
        "/import",
        operation_id="importTodos",
        opt={
            IDEMPOTENT: True,
            NO_TIMEOUT: True,
            QUERY: ImportQuery,
            BODIES: {"application/json": ArchiveImport, "text/csv": _TABLE, "text/calendar": _CALENDAR},
        },
        summary="Import todos",
        status_code=200,
        request_max_body_size=IMPORT_MAX_BODY_BYTES,
        responses=declare_problems(400, 401, 409, 410, 413, 415, 422, 429, 503),
    )
    async def import_todos(self, request: ApiRequest, transfer: NamedDependency[Transfer]) -> ImportResult:
        """Make a new todo of each record of an export, or of what other programs write in these forms.

        A record that is not valid is told with its line and stops no other.
        """
        query = request.parameters(ImportQuery)
        names = FORMATS if query.format is UNSET else (query.format,)
        forms = {FORMATS[name].media_type: FORMATS[name] for name in names}
        media_type = request.require_media_type(frozenset(forms))
        report = await transfer.read_in(
            forms[media_type],
            partial(_read_large_body, request),
            partial(identity_of, request),
            request.require_live_caller,
        )
        rejected = [
            Rejection(line, [FieldError(issue.detail, issue.pointer or None) for issue in issues])
            for line, issues in report.rejected
        ]
        return ImportResult(report.imported, rejected, report.rejected_count)


async def _followed(first: bytes, parts: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    # closed at once when the client has gone, which gives the account's share back
    async with aclosing(parts):
        yield first
        async for part in parts:
            yield part


async def _read_large_body(request: ApiRequest) -> memoryview:
    """Read a body into memory that is given back to the system as soon as the body is dropped.

    Address space is reserved for the largest body that the route allows; memory is used for what arrives.

    Raises:
        RequestEntityTooLarge: the body is larger.
        Unauthenticated: the caller's session or API key has ended meanwhile.
    """
    if identity_of(request) is not None:
        return memoryview(await request.body())  # it was read for the Idempotency-Key
    limit = request.route_handler.resolve_request_max_body_size()
    assert limit is not None  # every route has one
    room = mmap.mmap(-1, limit, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    size = 0
    async for chunk in request.stream():
        room[size : size + len(chunk)] = chunk
        size += len(chunk)
    await request.require_live_caller()
    return memoryview(room)[:size]
