"""Limits of import and export."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Import and export")

IMPORTS_OF_ACCOUNT: Final = section.declare(
    2,
    "Concurrent imports of an account, for each process",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
)
IMPORTS: Final = section.declare(
    4,
    "Concurrent imports of a process; others wait",
    enforced_in="exchange.service",
    response="After the wait, 429 with `Retry-After`",
)
IMPORT_WAIT_SECONDS: Final = section.declare(
    60,
    "Time that an import waits",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
    unit="s",
)
IMPORT_PART_SECONDS: Final = section.declare(
    120.0,
    "Time to scan the body of an import before its first batch, and to parse each batch, without pauses for other "
    "requests",
    enforced_in="exchange.service",
    response="503 with `Retry-After`; previous batches are imported",
    unit="s",
)
IMPORT_PART_RECORDS: Final = section.declare(
    100,
    "Records in a batch of an import",
    enforced_in="exchange.service",
    response="They are split into several batches.",
)
IMPORT_PART_BYTES: Final = section.declare(
    512 * 1024,
    "Size of a batch of an import, without its last record",
    enforced_in="exchange.service",
    response="It is split into several batches.",
    unit="bytes",
)
IMPORT_RECORDS: Final = section.declare(
    1_000_000,
    "Records of an import, and rows of a table",
    enforced_in="exchange.service",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the rest is rejected as one record",
)
IMPORT_RECORD_BYTES: Final = section.declare(
    2**20,
    "Size of a record of an import, and of an unfolded iCalendar line",
    enforced_in="exchange.formats.lines",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the record is rejected",
    unit="bytes",
)
IMPORT_LISTS: Final = section.declare(
    1000,
    "Distinct list names in an import",
    enforced_in="exchange.list_resolver",
    response="Records with further names are rejected.",
)
IMPORT_LISTS_BYTES: Final = section.declare(
    2 * 2**20,
    "Size of `lists` in a JSON import",
    enforced_in="exchange.formats.json_format",
    response="422",
    unit="bytes",
)
IMPORT_PROPERTIES: Final = section.declare(
    1000,
    "Properties of a VTODO",
    enforced_in="exchange.formats.calendar_components",
    response="The record is rejected.",
)
IMPORT_RELATED: Final = section.declare(
    50_000,
    "VTODO components of an import with RELATED-TO or RECURRENCE-ID",
    enforced_in="exchange.formats.calendar_relations",
    response="Further ones are imported as todos of their own.",
)
IMPORT_EXCEPTIONS: Final = section.declare(
    5000,
    "Dates in EXDATE of a VTODO",
    enforced_in="exchange.formats.calendar_schedule",
    response="Further ones are ignored, with a warning.",
)
IMPORT_NESTING: Final = section.declare(
    32,
    "Nesting depth of iCalendar components",
    enforced_in="exchange.formats.calendar_components",
    response="The record is rejected.",
)
IMPORT_ZONES: Final = section.declare(
    100,
    "VTIMEZONE components of an import",
    enforced_in="exchange.formats.timezones",
    response="Times that need further ones are read as if they had no time zone, with a warning.",
)
IMPORT_CALENDARS: Final = section.declare(
    1000,
    "VCALENDAR components of an import whose name or time zone differs from that of the previous one",
    enforced_in="exchange.formats.calendar_header",
    response="Further ones have the name and the time zone of the last.",
)
IMPORT_CALENDAR_LINES: Final = section.declare(
    500_000,
    "Lines of an import with the name, the color or the time zone of a VCALENDAR",
    enforced_in="exchange.formats.calendar_index",
    response="Further ones are ignored.",
)
ZONE_BYTES: Final = section.declare(
    64 * 1024,
    "Size of a VTIMEZONE component",
    enforced_in="exchange.formats.calendar_search",
    response="It is ignored; times that need it are read as if they had no time zone, with a warning.",
    unit="bytes",
)
ZONE_OBSERVANCES: Final = section.declare(
    200,
    "STANDARD and DAYLIGHT components of a VTIMEZONE",
    enforced_in="exchange.formats.timezones",
    response="It is ignored; times that need it are read as if they had no time zone, with a warning.",
)
ZONE_TRANSITIONS: Final = section.declare(
    2000,
    "Transitions of a VTIMEZONE from 1970 to 2100",
    enforced_in="exchange.formats.timezones",
    response="It is ignored; times that need it are read as if they had no time zone, with a warning.",
)
IMPORT_SUBTASK_BYTES: Final = section.declare(
    16 * 2**20,
    "Ids of tasks and titles of subtasks in files of other programs",
    enforced_in="exchange.formats.subtasks",
    response="Further subtasks are imported as todos.",
    unit="bytes",
)
REPORTED_RECORDS: Final = section.declare(
    1000,
    "Rejected records in the response to an import",
    enforced_in="exchange.report",
    response="`rejected_count` counts all of them.",
)
REPORTED_WARNINGS: Final = section.declare(
    1000,
    "Warnings in the response to an import",
    enforced_in="exchange.report",
    response="`warnings_count` counts all of them.",
)
REPORTED_ERRORS: Final = section.declare(
    20, "Errors of a rejected record", enforced_in="exchange.report", response="Further errors are omitted."
)
REPORTED_LENGTH: Final = section.declare(
    200,
    "Length of an error message or a warning of a record, and of its pointer",
    enforced_in="exchange.report",
    response="They are truncated.",
    unit="characters",
)
REPORTED_BYTES: Final = section.declare(
    2**20,
    "Total size of the errors and warnings in the response to an import",
    enforced_in="exchange.report",
    response="`rejected_count` and `warnings_count` count all of them.",
    unit="bytes",
)
EXPORTS_OF_ACCOUNT: Final = section.declare(
    2,
    "Concurrent exports of an account, for each process",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
)
IMPORT_THREADS: Final = section.declare(
    1,
    "Threads of a process that parse imports",
    enforced_in="exchange.service",
    response="The import waits.",
)
EXPORT_THREADS: Final = section.declare(
    1,
    "Threads of a process that write exports",
    enforced_in="exchange.service",
    response="The export waits.",
)
EXPORT_QUEUE: Final = section.declare(
    128,
    "Waiting batches of exports, for each process",
    enforced_in="exchange.service",
    response="503 with `Retry-After`, or the response is cut off",
)
EXPORT_PART_SECONDS: Final = section.declare(
    30.0,
    "Time to write a batch of an export",
    enforced_in="exchange.service",
    response="503 with `Retry-After`, or the response is cut off",
    unit="s",
)
