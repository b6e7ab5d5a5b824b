"""Every bound on what a client can make the service do, declared once.

A bound is a module-level constant that other modules import, and a row of the table in `docs/limits.md`. Declaring both
in one place keeps the page true: a number cannot change in the code without changing on the page.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

NumberT = TypeVar("NumberT", int, float)


class Bound(NamedTuple):
    """One row of the table.

    Attributes:
        subject: What is bounded.
        value: The number.
        unit: The unit of the number, such as `bytes`; empty for a plain count.
        enforced_in: The module that enforces the bound, relative to the package, such as `accounts.passwords`.
        response: What a client that exceeds the bound gets.
        setting: The environment variable that changes the number, or None where it is fixed.
    """

    subject: str
    value: int | float
    unit: str
    enforced_in: str
    response: str
    setting: str | None


class Section:
    """A group of bounds that share a heading in the table.

    Args:
        title: The heading.

    Attributes:
        bounds: The bounds declared so far, in order.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bounds: list[Bound] = []

    def declare(
        self,
        value: NumberT,
        subject: str,
        *,
        enforced_in: str,
        response: str,
        unit: str = "",
        setting: str | None = None,
    ) -> NumberT:
        """Add a row, and return its number to be bound to a constant. See `Bound` for the arguments."""
        self.bounds.append(Bound(subject, value, unit, enforced_in, response, setting))
        return value


_connections = Section("Connections")

_requests = Section("Requests")

_text = Section("Text")

_accounts = Section("Accounts and sessions")

PASSWORD_THREADS: Final = _accounts.declare(
    2,
    "Passwords hashed at a time, in each process",
    enforced_in="accounts.passwords",
    response="The request waits for its turn.",
)
PASSWORD_QUEUE: Final = _accounts.declare(
    64,
    "Requests that wait for a password to be hashed, in each process",
    enforced_in="accounts.passwords",
    response="503 with `Retry-After`",
)

_todos = Section("Todos and lists")

RECURRENCE_LENGTH: Final = _todos.declare(
    500, "Length of a recurrence rule", enforced_in="todos.recurrence", response="422", unit="characters"
)
RECURRENCE_INTERVAL: Final = _todos.declare(
    999, "`INTERVAL` of a recurrence rule", enforced_in="todos.recurrence", response="422"
)
RECURRENCE_COUNT: Final = _todos.declare(
    9999, "`COUNT` of a recurrence rule", enforced_in="todos.recurrence", response="422"
)
# every pairing of weekdays and leap days comes again within 40 years, but for the turn of three centuries in four
RECURRENCE_YEARS: Final = _todos.declare(
    40,
    "Time that is searched for the next occurrence of a rule, or 40 times its interval where that is longer",
    enforced_in="todos.recurrence",
    response="422; a todo that is completed stays completed",
    unit="years",
)
RULE_THREADS: Final = _todos.declare(
    1,
    "Recurrence rules worked out at a time, in each process",
    enforced_in="app",
    response="The request waits for its turn.",
)
RULE_QUEUE: Final = _todos.declare(
    64,
    "Requests that wait for a recurrence rule to be worked out, in each process",
    enforced_in="app",
    response="503 with `Retry-After`",
)
RULE_QUEUE_OF_ACCOUNT: Final = _todos.declare(
    16,
    "Requests of an account that wait for a recurrence rule to be worked out, in each process",
    enforced_in="app",
    response="503 with `Retry-After`",
)
RULE_SECONDS: Final = _todos.declare(
    2.0, "Time for a recurrence rule", enforced_in="app", response="503 with `Retry-After`", unit="seconds"
)

_imports = Section("Import and export")

IMPORTS_OF_ACCOUNT: Final = _imports.declare(
    2,
    "Imports of an account under way, in each process",
    enforced_in="todos.transfer",
    response="429 with `Retry-After`",
)
IMPORTS: Final = _imports.declare(
    4,
    "Imports that are read and stored at a time, in each process; the others wait for their turn",
    enforced_in="todos.transfer",
    response="After the wait, 429 with `Retry-After`",
)
IMPORT_WAIT_SECONDS: Final = _imports.declare(
    60,
    "How long an import waits for its turn",
    enforced_in="todos.transfer",
    response="429 with `Retry-After`",
    unit="seconds",
)
IMPORT_PART_SECONDS: Final = _imports.declare(
    30.0,
    "Time to read a part of an import",
    enforced_in="todos.transfer",
    response="503 with `Retry-After`; the parts before it were imported",
    unit="seconds",
)
IMPORT_PART_RECORDS: Final = _imports.declare(
    100, "Records of an import that are stored at once", enforced_in="todos.transfer", response="They are split."
)
IMPORT_PART_BYTES: Final = _imports.declare(
    512 * 1024,
    "Bytes of an import that are stored at once, and one record more",
    enforced_in="todos.transfer",
    response="They are split.",
    unit="bytes",
)
IMPORT_RECORDS: Final = _imports.declare(
    1_000_000,
    "Records of an import",
    enforced_in="todos.transfer",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the rest is rejected as one record",
)
IMPORT_RECORD_BYTES: Final = _imports.declare(
    2**20,
    "A record of an import, or a line of iCalendar when it is unfolded",
    enforced_in="todos.formats.lines",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the record is rejected",
    unit="bytes",
)
IMPORT_LISTS: Final = _imports.declare(
    1000,
    "Different names of lists in an import",
    enforced_in="todos.transfer",
    response="The records with further names are rejected.",
)
IMPORT_LISTS_BYTES: Final = _imports.declare(
    2 * 2**20, "`lists` of a JSON import", enforced_in="todos.formats.archive", response="422", unit="bytes"
)
IMPORT_PROPERTIES: Final = _imports.declare(
    1000,
    "Properties of a VTODO that are read",
    enforced_in="todos.formats.calendar_reader",
    response="The record is rejected.",
)
IMPORT_NESTING: Final = _imports.declare(
    32,
    "Levels of iCalendar components inside of each other",
    enforced_in="todos.formats.calendar_reader",
    response="The record is rejected.",
)
IMPORT_ZONES: Final = _imports.declare(
    100,
    "VTIMEZONE components of an import that are used",
    enforced_in="todos.formats.timezones",
    response="A record that needs another one is rejected.",
)
ZONE_BYTES: Final = _imports.declare(
    64 * 1024,
    "A VTIMEZONE component",
    enforced_in="todos.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
    unit="bytes",
)
ZONE_OBSERVANCES: Final = _imports.declare(
    200,
    "STANDARD and DAYLIGHT components of a VTIMEZONE",
    enforced_in="todos.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
)
ZONE_TRANSITIONS: Final = _imports.declare(
    2000,
    "Transitions that a VTIMEZONE defines for the years 1970 to 2100",
    enforced_in="todos.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
)
REPORTED_RECORDS: Final = _imports.declare(
    1000,
    "Rejected records that the answer to an import lists",
    enforced_in="todos.transfer",
    response="`rejected_count` counts them all.",
)
REPORTED_ERRORS: Final = _imports.declare(
    20, "Errors of a rejected record", enforced_in="todos.transfer", response="The rest is left out."
)
REPORTED_LENGTH: Final = _imports.declare(
    200,
    "An error of a rejected record, and the pointer to its place",
    enforced_in="todos.transfer",
    response="They are cut.",
    unit="characters",
)
REPORTED_BYTES: Final = _imports.declare(
    2**20,
    "Errors that the answer to an import lists, in all",
    enforced_in="todos.transfer",
    response="`rejected_count` counts them all.",
    unit="bytes",
)
EXPORTS_OF_ACCOUNT: Final = _imports.declare(
    2,
    "Exports of an account under way, in each process",
    enforced_in="todos.transfer",
    response="429 with `Retry-After`",
)
EXPORT_THREADS: Final = _imports.declare(
    1,
    "Parts of exports written at a time, in each process",
    enforced_in="todos.transfer",
    response="The export waits for its turn.",
)
EXPORT_QUEUE: Final = _imports.declare(
    128,
    "Parts of exports that wait to be written, in each process",
    enforced_in="todos.transfer",
    response="503 with `Retry-After`, or the answer breaks off",
)
EXPORT_PART_SECONDS: Final = _imports.declare(
    30.0,
    "Time to write a part of an export",
    enforced_in="todos.transfer",
    response="503 with `Retry-After`, or the answer breaks off",
    unit="seconds",
)

_store = Section("Document store")

SECTIONS: Final = (_connections, _requests, _text, _accounts, _todos, _imports, _store)
"""Every section, in the order of the page."""


def limits_table() -> str:
    """Return the table of `docs/limits.md`, in Markdown."""
    lines: list[str] = []
    for section in SECTIONS:
        if not section.bounds:
            continue
        lines += [
            f"### {section.title}",
            "",
            "| what | limit | setting | enforced in | beyond it |",
            "|---|---|---|---|---|",
        ]
        for bound in section.bounds:
            number = f"{bound.value:,} {bound.unit}".replace(",", " ").strip()
            setting = f"`{bound.setting}`" if bound.setting else ""
            lines.append(f"| {bound.subject} | {number} | {setting} | `{bound.enforced_in}` | {bound.response} |")
        lines.append("")
    return "\n".join(lines).strip()
