"""What other programs write in a VTODO, as a todo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from todo_service.bounds.exchange import IMPORT_RECORD_BYTES
from todo_service.exchange.formats.base import Draft, RejectedRecord
from todo_service.exchange.formats.calendar import CalendarFormat
from todo_service.exchange.formats.source import Source
from todo_service.timestamps import format_timestamp
from todo_service.todos import dto

Record = Draft | RejectedRecord
DEFAULTS = msgspec.to_builtins(dto.TodoImport("x"), enc_hook=format_timestamp)


def calendar(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", *lines, "END:VCALENDAR", ""])


def vtodo(*lines: str) -> list[str]:
    return ["BEGIN:VTODO", *lines, "END:VTODO"]


def read(body: str | bytes, zone: str = "Europe/Berlin") -> list[Record]:
    """Return the records of a calendar."""
    data = body.encode() if isinstance(body, str) else body
    return list(CalendarFormat().read(Source(data), ZoneInfo(zone)))


def read_drafts(*lines: str, zone: str = "Europe/Berlin") -> list[Draft]:
    """Return the drafts of a calendar with these lines. No record is rejected."""
    drafts: list[Draft] = []
    for record in read(calendar(*lines), zone):
        assert isinstance(record, Draft), record
        drafts.append(record)
    return drafts


def read_todo(*lines: str, zone: str = "Europe/Berlin") -> Draft:
    """Return the draft of a VTODO with these lines."""
    (draft,) = read_drafts(*vtodo(*lines), zone=zone)
    return draft


def fields(draft: Draft) -> dict[str, Any]:
    """Return the fields of a todo that do not have their default, as JSON, without the title."""
    shown = msgspec.to_builtins(draft.todo, enc_hook=format_timestamp)
    return {name: value for name, value in shown.items() if value != DEFAULTS.get(name) and name != "title"}


def names(warnings: Sequence[str]) -> list[str]:
    """Return the first word of each warning."""
    return [warning.split()[0].rstrip(":") for warning in warnings]


@pytest.mark.parametrize(
    ("lines", "title", "description", "warnings"),
    [
        (["SUMMARY:Buy milk"], "Buy milk", "", []),
        (["DESCRIPTION:\\n Buy milk \\nand bread"], "Buy milk", "\n Buy milk \nand bread", ["SUMMARY"]),
        (["SUMMARY:", "DESCRIPTION:Buy milk"], "Buy milk", "Buy milk", ["SUMMARY"]),
        (["SUMMARY:\u200b"], "Untitled", "", ["SUMMARY"]),
        ([], "Untitled", "", ["SUMMARY"]),
        ([f"DESCRIPTION:{'x' * 250}"], "x" * 200, "x" * 250, ["SUMMARY"]),
        (["SUMMARY:two\\nlines"], "two lines", "", []),
        (["SUMMARY:a\x00b", "DESCRIPTION:a\x0bb"], "ab", "ab", ["SUMMARY", "DESCRIPTION"]),
        (["SUMMARY:first", "SUMMARY:second"], "first", "", ["SUMMARY"]),
        ([f"SUMMARY:{'x' * 300}"], "x" * 300, "", []),
        (["SUMMARY:a", "the rest of a line"], "a", "", ["A"]),
    ],
)
def test_title_and_description(lines: list[str], title: str, description: str, warnings: list[str]) -> None:
    draft = read_todo(*lines)

    assert (draft.todo.title, draft.todo.description) == (title, description)
    assert names(draft.warnings) == warnings


@pytest.mark.parametrize(
    ("line", "uid"),
    [
        ("UID:040000008200E00074C5B7101A82E008", "040000008200E00074C5B7101A82E008"),
        ("UID: a\\,b ", "a,b"),
        ("UID:", None),
        ("SEQUENCE:1", None),
    ],
)
def test_the_uid_is_kept(line: str, uid: str | None) -> None:
    assert read_todo("SUMMARY:x", line).uid == uid


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("fold", [b" ", b"\t"])
def test_a_fold_may_split_a_character(end: bytes, fold: bytes) -> None:
    line = "SUMMARY:Gärten gießen 🌱".encode()
    folded = (end + fold).join(line[start : start + 1] for start in range(len(line)))
    body = end.join([b"BEGIN:VCALENDAR", b"BEGIN:VTODO", folded, b"END:VTODO", b"END:VCALENDAR", b""])

    (record,) = read(body)

    assert isinstance(record, Draft)
    assert record.todo.title == "Gärten gießen 🌱"


@pytest.mark.parametrize("name", ["SUMMARY", "DESCRIPTION", "CATEGORIES", "UID", "DUE", "RELATED-TO"])
def test_a_byte_that_is_not_utf_8_rejects_its_record_alone(name: str) -> None:
    text = calendar(*vtodo("SUMMARY:one"), *vtodo("SUMMARY:x", f"{name}:Straße"), *vtodo("SUMMARY:two"))

    first, rejected, last = read(text.encode("cp1252"))

    assert isinstance(rejected, RejectedRecord)
    assert isinstance(first, Draft)
    assert isinstance(last, Draft)
    assert (first.todo.title, last.todo.title) == ("one", "two")
    assert (rejected.line, rejected.issues[0].detail) == (7, "Expected UTF-8")


def test_a_byte_that_is_not_utf_8_outside_of_todos_rejects_none() -> None:
    text = calendar(
        "X-WR-CALNAME:Straße",
        *["BEGIN:VEVENT", "SUMMARY:Straße", "END:VEVENT", "BEGIN:VTIMEZONE", "COMMENT:Straße", "END:VTIMEZONE"],
        *vtodo("SUMMARY:x", "X-NOTE:Straße"),
    )

    (record,) = read(text.encode("cp1252"))

    assert isinstance(record, Draft)
    assert record.list is None
    assert names(record.warnings) == ["X-WR-CALNAME"]


@pytest.mark.parametrize(
    ("lines", "completed", "completed_at", "warnings"),
    [
        (["STATUS:NEEDS-ACTION"], False, None, []),
        (["STATUS:Needs Action"], False, None, []),
        (["STATUS:needs_action"], False, None, []),
        (["STATUS:IN-PROCESS"], False, None, []),
        (["STATUS:"], False, None, []),
        (["STATUS:LATER"], False, None, ["STATUS"]),
        (["STATUS:COMPLETED", "COMPLETED:20250130T120000Z"], True, "2025-01-30T12:00:00.000Z", []),
        (["STATUS:Completed"], True, None, []),
        (["STATUS:COMPLETED", "LAST-MODIFIED:20250102T030405Z"], True, "2025-01-02T03:04:05.000Z", []),
        (["COMPLETED:20250130T120000Z"], True, "2025-01-30T12:00:00.000Z", []),
        (["COMPLETED;VALUE=DATE:20250130"], True, "2025-01-30T22:59:59.000Z", []),
        (["PERCENT-COMPLETE:100"], True, None, []),
        (["PERCENT-COMPLETE:100", "LAST-MODIFIED:20250102T030405Z"], True, "2025-01-02T03:04:05.000Z", []),
        (["PERCENT-COMPLETE:100", "STATUS:NEEDS-ACTION"], False, None, ["PERCENT-COMPLETE"]),
        (["PERCENT-COMPLETE:50", "STATUS:IN-PROCESS"], False, None, ["PERCENT-COMPLETE"]),
        (["PERCENT-COMPLETE:0"], False, None, []),
        (["STATUS:NEEDS-ACTION", "COMPLETED:20250130T120000Z"], False, None, ["COMPLETED"]),
        (["PERCENT-COMPLETE:half"], False, None, ["PERCENT-COMPLETE"]),
        (["STATUS:CANCELLED", "LAST-MODIFIED:20250102T030405Z"], True, "2025-01-02T03:04:05.000Z", ["STATUS"]),
        (["STATUS:COMPLETED", "COMPLETED:yesterday"], True, None, ["COMPLETED"]),
    ],
)
def test_completion(lines: list[str], completed: bool, completed_at: str | None, warnings: list[str]) -> None:
    draft = read_todo("SUMMARY:x", *lines)

    assert draft.todo.completed is completed
    assert fields(draft).get("completed_at") == completed_at
    assert names(draft.warnings) == warnings


@pytest.mark.parametrize(
    ("value", "priority", "warnings"),
    [
        *[("", "none", []), ("0", "none", []), ("1", "urgent", []), (" 5 ", "medium", []), ("9", "low", [])],
        *[("10", "none", ["PRIORITY"]), ("high", "none", ["PRIORITY"]), ("-1", "none", ["PRIORITY"])],
    ],
)
def test_priority(value: str, priority: str, warnings: list[str]) -> None:
    draft = read_todo("SUMMARY:x", f"PRIORITY:{value}")

    assert draft.todo.priority == priority
    assert names(draft.warnings) == warnings


def test_tags_are_passed_on_whatever_their_number_and_length() -> None:
    tags = [f"tag {number}" for number in range(25)] + ["x" * 60]

    draft = read_todo("SUMMARY:x", f"CATEGORIES:{','.join(tags)}", "CATEGORIES: ,tag 1,a\\,b")

    assert draft.todo.tags == [*tags, "a,b"]


def test_components_that_are_not_todos_are_passed_over() -> None:
    drafts = read_drafts(
        *["BEGIN:VEVENT", "SUMMARY:party", "BEGIN:VALARM", "TRIGGER:-PT5M", "END:VALARM", "END:VEVENT"],
        *["BEGIN:VJOURNAL", "SUMMARY:diary", "END:VJOURNAL", "BEGIN:VFREEBUSY", "END:VFREEBUSY"],
        "a line that is not a property",
        *vtodo("SUMMARY:x", "BEGIN:X-OTHER", "SUMMARY:y", "END:X-OTHER"),
        *["BEGIN:X-OTHER", "SUMMARY:y", "END:X-OTHER"],
    )

    assert [draft.todo.title for draft in drafts] == ["x"]
    assert drafts[0].warnings == ()


def test_a_property_that_has_no_place_is_named_once() -> None:
    lost = [
        "LOCATION:Berlin",
        "URL:https://example.com",
        "GEO:1;2",
        "COMMENT:a:",
        "COMMENT:b",
        "ATTACH:x",
        "ORGANIZER:x",
    ]

    draft = read_todo("SUMMARY:x", *lost, "X-COLOR:1", "CLASS:PUBLIC", "SEQUENCE:2", "DTSTAMP:x", "CONTACT: ")

    assert names(draft.warnings) == ["LOCATION", "URL", "GEO", "COMMENT", "ATTACH", "ORGANIZER"]


def test_a_large_attachment_is_left_out() -> None:
    draft = read_todo("SUMMARY:x", f"ATTACH;ENCODING=BASE64:{'x' * IMPORT_RECORD_BYTES}", "DUE;VALUE=DATE:20270131")

    assert names(draft.warnings) == ["ATTACH"]
    assert fields(draft) == {"due_on": "2027-01-31"}


def test_a_todo_that_is_too_large_is_rejected_alone() -> None:
    lines = [*vtodo("SUMMARY:x", f"DESCRIPTION:{'x' * IMPORT_RECORD_BYTES}"), *vtodo("SUMMARY:y")]

    rejected, draft = read(calendar(*lines))

    assert isinstance(rejected, RejectedRecord)
    assert isinstance(draft, Draft)
    assert rejected.line == 4
    assert draft.todo.title == "y"


@pytest.mark.parametrize(
    "line",
    [
        *["DUE:tomorrow", "DUE:00010101T000000Z", "DUE;TZID=Asia/Tokyo:00010101T000000", "DTSTART:20271301"],
        *["RRULE:FREQ=DAILY", "CREATED:now", "X-TODO-SERVICE:{\"steps\": 1}", "EXDATE:x", "DUE;=:20270131"],
    ],
)  # fmt: skip
def test_a_property_that_is_wrong_is_left_out(line: str) -> None:
    draft = read_todo("SUMMARY:x", line)

    assert fields(draft) == {}
    assert names(draft.warnings) in ([line.partition(":")[0].partition(";")[0]], [])


@pytest.mark.parametrize(
    ("lines", "title", "description"),
    [
        (["SUMMARY;ENCODING=QUOTED-PRINTABLE:Caf=C3=A9"], "Café", ""),
        (["SUMMARY;CHARSET=ISO-8859-1;ENCODING=quoted-printable:Caf=E9"], "Café", ""),
        (["SUMMARY:a", "DESCRIPTION;ENCODING=QUOTED-PRINTABLE:one=0D=0Atwo: =", "three; =", "four"], "a",
         "one\ntwo: three; four"),
        (["SUMMARY:a", "DESCRIPTION;ENCODING=QUOTED-PRINTABLE:one="], "a", "one"),
        (["SUMMARY:1+1="], "1+1=", ""),
    ],
)  # fmt: skip
def test_quoted_printable_text_of_vcalendar(lines: list[str], title: str, description: str) -> None:
    first, second = read_drafts(*vtodo(*lines), *vtodo("SUMMARY:next"))

    assert (first.todo.title, first.todo.description, first.warnings) == (title, description, ())
    assert second.todo.title == "next"


@pytest.mark.parametrize("charset", ["UTF-7", "zlib_codec", "ISO-8859-7"])
def test_quoted_printable_text_in_an_unknown_charset_is_left_out(charset: str) -> None:
    draft = read_todo("SUMMARY:a", f"DESCRIPTION;ENCODING=QUOTED-PRINTABLE;CHARSET={charset}:=E9")

    assert draft.todo.description == ""
    assert names(draft.warnings) == ["DESCRIPTION"]


def test_quoted_printable_text_is_bounded() -> None:
    part = "x" * 1000 + "="
    lines = ["DESCRIPTION;ENCODING=QUOTED-PRINTABLE:" + part, *[part] * (IMPORT_RECORD_BYTES // 1000 + 1), "end"]

    rejected, draft = read(calendar(*vtodo("SUMMARY:x", *lines), *vtodo("SUMMARY:y")))

    assert isinstance(rejected, RejectedRecord)
    assert isinstance(draft, Draft)
    assert draft.todo.title == "y"
