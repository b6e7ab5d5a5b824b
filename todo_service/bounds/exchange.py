"""Bounds: import and export."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Import and export")

IMPORTS_OF_ACCOUNT: Final = section.declare(
    2,
    "Imports of an account under way, in each process",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
)
IMPORTS: Final = section.declare(
    4,
    "Imports that are read and stored at a time, in each process; the others wait for their turn",
    enforced_in="exchange.service",
    response="After the wait, 429 with `Retry-After`",
)
IMPORT_WAIT_SECONDS: Final = section.declare(
    60,
    "How long an import waits for its turn",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
    unit="seconds",
)
IMPORT_PART_SECONDS: Final = section.declare(
    30.0,
    "Time to read a part of an import",
    enforced_in="exchange.service",
    response="503 with `Retry-After`; the parts before it were imported",
    unit="seconds",
)
IMPORT_PART_RECORDS: Final = section.declare(
    100, "Records of an import that are stored at once", enforced_in="exchange.service", response="They are split."
)
IMPORT_PART_BYTES: Final = section.declare(
    512 * 1024,
    "Bytes of an import that are stored at once, and one record more",
    enforced_in="exchange.service",
    response="They are split.",
    unit="bytes",
)
IMPORT_RECORDS: Final = section.declare(
    1_000_000,
    "Records of an import",
    enforced_in="exchange.service",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the rest is rejected as one record",
)
IMPORT_RECORD_BYTES: Final = section.declare(
    2**20,
    "A record of an import, or a line of iCalendar when it is unfolded",
    enforced_in="exchange.formats.lines",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the record is rejected",
    unit="bytes",
)
IMPORT_LISTS: Final = section.declare(
    1000,
    "Different names of lists in an import",
    enforced_in="exchange.service",
    response="The records with further names are rejected.",
)
IMPORT_LISTS_BYTES: Final = section.declare(
    2 * 2**20, "`lists` of a JSON import", enforced_in="exchange.formats.json_format", response="422", unit="bytes"
)
IMPORT_PROPERTIES: Final = section.declare(
    1000,
    "Properties of a VTODO that are read",
    enforced_in="exchange.formats.calendar_reader",
    response="The record is rejected.",
)
IMPORT_NESTING: Final = section.declare(
    32,
    "Levels of iCalendar components inside of each other",
    enforced_in="exchange.formats.calendar_reader",
    response="The record is rejected.",
)
IMPORT_ZONES: Final = section.declare(
    100,
    "VTIMEZONE components of an import that are used",
    enforced_in="exchange.formats.timezones",
    response="A record that needs another one is rejected.",
)
ZONE_BYTES: Final = section.declare(
    64 * 1024,
    "A VTIMEZONE component",
    enforced_in="exchange.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
    unit="bytes",
)
ZONE_OBSERVANCES: Final = section.declare(
    200,
    "STANDARD and DAYLIGHT components of a VTIMEZONE",
    enforced_in="exchange.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
)
ZONE_TRANSITIONS: Final = section.declare(
    2000,
    "Transitions that a VTIMEZONE defines for the years 1970 to 2100",
    enforced_in="exchange.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
)
REPORTED_RECORDS: Final = section.declare(
    1000,
    "Rejected records that the answer to an import lists",
    enforced_in="exchange.service",
    response="`rejected_count` counts them all.",
)
REPORTED_ERRORS: Final = section.declare(
    20, "Errors of a rejected record", enforced_in="exchange.service", response="The rest is left out."
)
REPORTED_LENGTH: Final = section.declare(
    200,
    "An error of a rejected record, and the pointer to its place",
    enforced_in="exchange.service",
    response="They are cut.",
    unit="characters",
)
REPORTED_BYTES: Final = section.declare(
    2**20,
    "Errors that the answer to an import lists, in all",
    enforced_in="exchange.service",
    response="`rejected_count` counts them all.",
    unit="bytes",
)
EXPORTS_OF_ACCOUNT: Final = section.declare(
    2,
    "Exports of an account under way, in each process",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
)
IMPORT_THREADS: Final = section.declare(
    1,
    "Imports whose records are read at a time, in each process",
    enforced_in="exchange.service",
    response="The import waits for its turn.",
)
EXPORT_THREADS: Final = section.declare(
    1,
    "Parts of exports written at a time, in each process",
    enforced_in="exchange.service",
    response="The export waits for its turn.",
)
EXPORT_QUEUE: Final = section.declare(
    128,
    "Parts of exports that wait to be written, in each process",
    enforced_in="exchange.service",
    response="503 with `Retry-After`, or the answer breaks off",
)
EXPORT_PART_SECONDS: Final = section.declare(
    30.0,
    "Time to write a part of an export",
    enforced_in="exchange.service",
    response="503 with `Retry-After`, or the answer breaks off",
    unit="seconds",
)
