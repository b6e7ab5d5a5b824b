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

from todo_service.bounds.requests import REQUEST_BYTES
from todo_service.exchange.dto import Archive, ArchiveImport, ExportQuery, ImportQuery
from todo_service.exchange.formats.registry import FORMATS, IMPORT_FORMATS, MEDIA_TYPES
from todo_service.exchange.report import Report
from todo_service.exchange.service import Transfer
from todo_service.idempotency.derivation import derive_idempotent_id
from todo_service.todos.bulk_import import ImportMode
from todo_service.web.accept import choose_media_type
from todo_service.web.openapi.config import declare_headers, declare_problems
from todo_service.web.problems import FieldError
from todo_service.web.requests import ApiRequest, QueryRequest
from todo_service.web.route_options import BODIES, IDEMPOTENT, NO_TIMEOUT, RESPONSE_BODIES

_TABLE: Final = "title,due_at,tags\r\nWater the plants,2027-01-31T09:00:00.000Z,home\r\n"
_CALENDAR: Final = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\nBEGIN:VTODO\r\nUID:1\r\nDTSTAMP:20270101T090000Z\r\n"
    "SUMMARY:Water the plants\r\nDUE:20270131T090000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
)


class Rejection(msgspec.Struct, frozen=True):
    """A record that was not imported."""

    line: Annotated[
        int,
        Meta(
            ge=1, description="The line of the first error, or else the line on which the record starts.", examples=[3]
        ),
    ]
    errors: Annotated[list[FieldError], Meta(description="The errors, in the order of the record.")]


class RecordWarning(msgspec.Struct, frozen=True):
    """What was lost or changed when a record was imported."""

    line: Annotated[int, Meta(ge=1, description="The line on which the record starts.", examples=[3])]
    detail: Annotated[
        str,
        Meta(
            description="One sentence.",
            examples=["Title is longer than 200 characters: the rest is in the description"],
        ),
    ]


class ImportResult(msgspec.Struct, frozen=True):
    """The result of an import."""

    imported: Annotated[int, Meta(ge=0, description="The number of todos that were created.", examples=[41])]
    updated: Annotated[int, Meta(ge=0, description="The number of existing todos that were changed.", examples=[0])]
    unchanged: Annotated[
        int,
        Meta(
            ge=0, description="The number of records whose todo already existed and was left unchanged.", examples=[2]
        ),
    ]
    lists_created: Annotated[int, Meta(ge=0, description="The number of lists that were created.", examples=[1])]
    rejected: Annotated[
        list[Rejection], Meta(description="The first 1 000 rejected records, or fewer if the report is large, by line.")
    ]
    rejected_count: Annotated[int, Meta(ge=0, description="The number of all rejected records.", examples=[1])]
    warnings: Annotated[
        list[RecordWarning], Meta(description="The first 1 000 warnings, or fewer if the report is large, by line.")
    ]
    warnings_count: Annotated[int, Meta(ge=0, description="The number of all warnings.", examples=[1])]

    @classmethod
    def from_report(cls, report: Report) -> ImportResult:
        """Return the response for a report."""
        rejected = [
            Rejection(line, [FieldError(issue.detail, issue.pointer or None) for issue in issues])
            for line, issues in report.rejected
        ]
        warnings = [RecordWarning(line, detail) for line, detail in report.warnings]
        return cls(
            imported=report.imported,
            updated=report.updated,
            unchanged=report.unchanged,
            lists_created=report.lists_created,
            rejected=rejected,
            rejected_count=report.rejected_count,
            warnings=warnings,
            warnings_count=report.warnings_count,
        )


class ExchangeController(Controller):
    """Export and import of an account's todos and lists."""

    path = "/v1/todos"
    tags = ["Todos"]

    @get(
        "/export",
        operation_id="exportTodos",
        summary="Export everything",
        opt={
            # clients with one type for all media types take the first: a file
            RESPONSE_BODIES: {"text/csv": _TABLE, "text/calendar": _CALENDAR, "application/json": Archive},
        },
        responses=declare_problems(401, 422, 429, 503),
        response_headers=declare_headers("Content-Disposition"),
    )
    async def export_todos(self, request: QueryRequest[ExportQuery], transfer: NamedDependency[Transfer]) -> Stream:
        """Return a file with all todos. A JSON file also has all lists."""
        chosen = request.parameters().format
        if chosen is UNSET:
            name = _negotiate_format(request)
            # not a header of the response itself, where CORS would replace it
            request.scope["state"]["headers"]["Vary"] = "Accept"
        else:
            name = chosen
        file_format = FORMATS[name]
        chunks = transfer.export(file_format, request.require_live_caller)
        # an error before the first chunk still becomes a problem response
        first = await anext(chunks)
        return Stream(
            _chain(first, chunks),
            media_type=file_format.content_type,
            headers={"Content-Disposition": f'attachment; filename="todos.{name}"'},
        )

    @post(
        "/import",
        operation_id="importTodos",
        opt={
            IDEMPOTENT: True,
            NO_TIMEOUT: True,
            BODIES: {"text/csv": _TABLE, "text/calendar": _CALENDAR, "application/json": ArchiveImport},
        },
        summary="Import todos",
        status_code=200,
        request_max_body_size=REQUEST_BYTES,
        responses=declare_problems(400, 401, 409, 410, 413, 415, 422, 429, 503),
    )
    async def import_todos(
        self, request: QueryRequest[ImportQuery], transfer: NamedDependency[Transfer]
    ) -> ImportResult:
        """Import todos from a file of this service or of another program.

        A record creates a todo. If the account already has a todo with its uid, `existing` decides what happens; by
        default that todo is left unchanged. Invalid records are rejected and listed with their lines; all others are
        imported. Warnings describe what was lost or changed.
        """
        query = request.parameters()
        if query.format is UNSET:
            file_format = MEDIA_TYPES[request.require_media_type(frozenset(MEDIA_TYPES))]
        else:
            file_format = IMPORT_FORMATS[query.format]
        report = await transfer.import_file(
            file_format,
            partial(_read_large_body, request),
            partial(derive_idempotent_id, request),
            request.require_live_caller,
            ImportMode(query.existing, query.dry_run),
        )
        return ImportResult.from_report(report)


def _negotiate_format(request: ApiRequest) -> str:
    """Return the name of the format that `Accept` prefers (RFC 9110, section 12.5.1), or JSON if it accepts none."""
    names = {file_format.media_type: name for name, file_format in FORMATS.items()}
    chosen = choose_media_type(request.headers.get("accept", ""), [*names])
    return names[chosen] if chosen is not None else "json"


async def _chain(first: bytes, chunks: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    # close the export as soon as the client disconnects, to free its slot
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


async def _read_large_body(request: ApiRequest) -> memoryview:
    """Read a body into anonymous memory, which returns to the system as soon as the body is released.

    This reserves address space for the largest body that the route allows, and uses memory as the body arrives.

    Raises:
        RequestEntityTooLarge: The body is too large.
        Unauthenticated: The caller's session or API key has ended meanwhile.
    """
    if derive_idempotent_id(request) is not None:
        return memoryview(await request.body())  # the idempotency middleware has read it
    limit = request.route_handler.resolve_request_max_body_size()
    assert limit is not None  # every route has a limit
    buffer = mmap.mmap(-1, limit, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    size = 0
    async for chunk in request.stream():
        buffer[size : size + len(chunk)] = chunk
        size += len(chunk)
    await request.require_live_caller()
    return memoryview(buffer)[:size]
