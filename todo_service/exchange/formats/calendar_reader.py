"""Reads todos from a calendar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from icalendar.parser import split_on_unescaped_comma
from icalendar.prop import vDDDTypes, vDuration
from msgspec import UNSET

from todo_service.bounds.exchange import IMPORT_NESTING, IMPORT_PROPERTIES, IMPORT_RECORD_BYTES, ZONE_BYTES
from todo_service.decoding import convert, decode_json
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.base import Draft, Rejected, line_of, read_record
from todo_service.exchange.formats.calendar_values import (
    LAST_SECOND,
    OWN,
    OwnProperty,
    choose_exact,
    is_same_rule,
    read_back,
    read_back_tags,
)
from todo_service.exchange.formats.lines import ContentLine, parse_line, read_lines
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.timezones import FileZones
from todo_service.lists.dto import ListCreate
from todo_service.todos import dto

_READ_PRIORITIES: Final = ("none", "urgent", "high", "high", "high", "medium", "low", "low", "low", "low")
_STATUSES: Final = {"NEEDS-ACTION": False, "IN-PROCESS": False, "COMPLETED": True, "CANCELLED": True}
_NOT_A_LINE: Final = "Expected a name, a colon and a value"
_TOO_LONG: Final = f"Expected {IMPORT_RECORD_BYTES} bytes at most"
_NAME: Final = re.compile(r"[\w. \t-]{1,100}")
_FIELDS: Final = {
    "title": "SUMMARY",
    "description": "DESCRIPTION",
    "completed": "STATUS",
    "completed_at": "COMPLETED",
    "priority": "PRIORITY",
    "due_at": "DUE",
    "tags": "CATEGORIES",
    "recurrence": "RRULE",
    "created_at": "CREATED",
}
"""Which property holds which field."""
_READ_PROPERTIES: Final = frozenset({*_FIELDS.values(), OWN, "RECURRENCE-ID", "DTSTART", "DURATION"})
"""Which properties are read; any other is passed over, however it is written."""


class _BrokenError(Exception):
    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line


class _Component:
    """A VTODO while it is read; after the first broken line nothing more is read of it."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.properties: dict[str, list[ContentLine]] = {}
        self.rejected: Rejected | None = None
        self._count = self._bytes = 0

    def reject(self, line: int, detail: str) -> None:
        self.rejected = self.rejected or Rejected(line, [ValidationIssue("", detail)])
        self.properties.clear()

    def add(self, line: ContentLine) -> None:
        self._count += 1
        self._bytes += len(line.value)
        if self._count > IMPORT_PROPERTIES or self._bytes > IMPORT_RECORD_BYTES:
            self.reject(line.number, f"Expected {IMPORT_PROPERTIES} properties and {IMPORT_RECORD_BYTES} bytes at most")
        elif self.rejected is None:
            self.properties.setdefault(line.name, []).append(line)

    def one(self, name: str) -> ContentLine | None:
        found = self.properties.get(name, ())
        if len(found) > 1:
            raise _BrokenError(found[1].number, f"Expected {name} once")
        return found[0] if found else None


class CalendarReader:
    """Goes through the lines of a calendar.

    Args:
        source: The body.
        zone: The account's time zone, for times that say none.
    """

    def __init__(self, source: Source, zone: ZoneInfo) -> None:
        self._lines = read_lines(source)
        self._zone = zone
        self._zones = FileZones()
        self._todo: _Component | None = None
        self._inner: list[str] = []

    def read_beginning(self) -> None:
        """Read the first line.

        Raises:
            Invalid: it does not begin a calendar.
        """
        _, first = next(self._lines, (1, ""))
        if first is None or first.strip().upper() != "BEGIN:VCALENDAR":
            raise Invalid([ValidationIssue("", "Expected an iCalendar object: the first line to be BEGIN:VCALENDAR")])

    def records(self) -> Iterator[Draft | Rejected]:
        """Return the todos, and what else there is as rejected."""
        number, ended = 1, False
        for number, text in self._lines:
            name = _read_name(text)
            if name not in ("BEGIN", "END"):
                yield from self._property(number, name, text)
                continue
            assert text is not None  # it has a name
            kind = text.partition(":")[2].strip().upper()
            ended = (name, kind) == ("END", "VCALENDAR")
            if name == "BEGIN":
                yield from self._begin(number, kind)
            else:
                yield from self._end(kind)
        if self._todo is not None:
            yield Rejected(self._todo.line, [ValidationIssue("", "Expected END:VTODO")])
        elif not ended:
            yield Rejected(number, [ValidationIssue("", "Expected END:VCALENDAR: the text may have been cut short")])

    def _property(self, number: int, name: str, text: str | None) -> Iterator[Rejected]:
        """Keep a property of a todo, where it is one that is read."""
        if self._inner or (self._todo is not None and name and name not in _READ_PROPERTIES):
            return
        try:
            if text is None or not name:
                raise ValueError(_TOO_LONG if text is None else _NOT_A_LINE)
            if self._todo is not None:
                self._todo.add(parse_line(number, text))
        except ValueError as error:
            detail = _TOO_LONG if str(error) == _TOO_LONG else _NOT_A_LINE
            if self._todo is not None:
                self._todo.reject(number, detail)
            else:
                yield Rejected(number, [ValidationIssue("", detail)])

    def _begin(self, number: int, kind: str) -> Iterator[Rejected]:
        if kind == "VTODO":
            if self._todo is not None:
                yield Rejected(self._todo.line, [ValidationIssue("", "Expected END:VTODO")])
            self._todo, self._inner = _Component(number), []
        elif self._todo is not None or self._inner:
            if len(self._inner) < IMPORT_NESTING:
                self._inner.append(kind[:50])
            elif self._todo is not None:
                self._todo.reject(number, f"Expected {IMPORT_NESTING} levels of components at most")
        elif kind == "VTIMEZONE":
            self._define()
        elif kind != "VCALENDAR":
            self._inner.append(kind[:50])
            yield Rejected(number, [ValidationIssue("", f"Expected VTODO: {kind[:50]} is no todo")])

    def _end(self, kind: str) -> Iterator[Draft | Rejected]:
        if self._inner:
            if kind[:50] in self._inner:
                del self._inner[self._inner.index(kind[:50]) :]
        elif kind == "VTODO" and self._todo is not None:
            todo, self._todo = self._todo, None
            yield todo.rejected or read_record(todo.line, lambda: self._draft(todo))

    def _define(self) -> None:
        """Read the definition of a time zone to its end."""
        found: list[ContentLine] = []
        size = 0
        for number, text in self._lines:
            if text is None:
                size += ZONE_BYTES + 1
                continue
            if text.strip().upper() == "END:VTIMEZONE":
                if size <= ZONE_BYTES:
                    self._zones.define(found)
                return
            size += len(text)
            if size <= ZONE_BYTES:
                try:
                    found.append(parse_line(number, text))
                except ValueError:
                    continue  # it defines nothing

    def _draft(self, todo: _Component) -> Draft | Rejected:
        lines = {
            field: found[0].number
            for field, name in _FIELDS.items()
            if (found := todo.properties.get(name)) is not None
        }
        try:
            if (instance := todo.one("RECURRENCE-ID")) is not None:
                raise _BrokenError(instance.number, "Expected no RECURRENCE-ID: a todo that recurs is one todo")
            own = _read_own(todo.one(OWN))
            fields = self._fields(todo, own)
            named = convert({"name": own.list_name}, ListCreate) if own.list_name is not None else None
            return Draft(todo.line, convert(fields, dto.TodoImport), named, lines)
        except _BrokenError as error:
            return Rejected(error.line, [ValidationIssue("", str(error))])
        except Invalid as error:
            return Rejected(line_of(error.issues, lines, todo.line), error.issues)

    def _fields(self, todo: _Component, own: OwnProperty) -> dict[str, Any]:
        fields: dict[str, Any] = {"list_id": own.list_id, "steps": msgspec.to_builtins(own.steps)}
        if own.position is not UNSET:
            fields["position"] = own.position
        for field in ("title", "description"):
            if (found := todo.one(_FIELDS[field])) is not None:
                exact: str | None = getattr(own, field)
                fields[field] = exact if exact is not None and read_back(exact) == found.text else found.text
        tags = [tag for found in todo.properties.get("CATEGORIES", ()) for tag in split_on_unescaped_comma(found.value)]
        exact_tags = own.tags is not None and read_back_tags(own.tags) == tags
        fields["tags"] = own.tags if exact_tags else [tag for tag in tags if tag.strip()]
        if (priority := todo.one("PRIORITY")) is not None:
            if not re.fullmatch(r"\d", priority.value.strip(), re.ASCII):
                raise _BrokenError(priority.number, "Expected PRIORITY from 0 to 9")
            fields["priority"] = _READ_PRIORITIES[int(priority.value)]
        completed = self._time(todo, "COMPLETED")
        if (status := todo.one("STATUS")) is not None:
            if status.value.strip().upper() not in _STATUSES:
                raise _BrokenError(status.number, f"Expected STATUS to be {', '.join(_STATUSES)}")
            fields["completed"] = _STATUSES[status.value.strip().upper()]
        elif completed is not None:
            fields["completed"] = True
        if completed is not None and fields.get("completed"):
            fields["completed_at"] = choose_exact(completed, own.completed_at)
        if (created := self._time(todo, "CREATED")) is not None:
            fields["created_at"] = choose_exact(created, own.created_at)
        if (due_at := self._due(todo)) is not None:
            fields["due_at"] = choose_exact(due_at, own.due_at)
        if (rule := todo.one("RRULE")) is not None:
            zone = due_at.tzinfo if due_at is not None else self._zone
            same = own.recurrence is not None and is_same_rule(own.recurrence, rule.value, zone)
            fields["recurrence"] = own.recurrence if same else rule.value
        return fields

    def _due(self, todo: _Component) -> datetime | None:
        """Return when a todo is due: DUE, or the start with the duration, or the start of what recurs."""
        due_at, start = self._time(todo, "DUE"), self._time(todo, "DTSTART")
        if due_at is not None or start is None:
            return due_at
        if (duration := todo.one("DURATION")) is not None:
            try:
                length: timedelta = vDuration.from_ical(duration.value.strip())  # type: ignore[no-untyped-call]  # as above
                return start + length
            except (ValueError, OverflowError):
                raise _BrokenError(duration.number, "Expected DURATION such as P1D or PT1H30M") from None
        return start if "RRULE" in todo.properties else None

    def _time(self, todo: _Component, name: str) -> datetime | None:
        """Return a property's time; a day ends with its last second, and a time without a zone is the account's."""
        found = todo.one(name)
        if found is None:
            return None
        try:
            value = vDDDTypes.from_ical(found.value.strip())  # type: ignore[no-untyped-call]  # as above
        except ValueError:
            value = None
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime.combine(value, LAST_SECOND)
        else:
            raise _BrokenError(found.number, f"Expected {name} as 20270131T090000Z or 20270131")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone_named(found))
        try:
            moment.astimezone(UTC)
        except OverflowError:
            raise _BrokenError(found.number, f"Expected {name} in the years 1 to 9999") from None
        return moment

    def _zone_named(self, found: ContentLine) -> Any:
        name = found.parameters.get("TZID")
        if name is None:
            return self._zone
        zone = self._zones.get(name)
        if zone is None:
            raise _BrokenError(found.number, "Expected a TZID that is known, or was defined by yearly rules or dates")
        return zone


def _read_own(found: ContentLine | None) -> OwnProperty:
    if found is None:
        return OwnProperty()
    try:
        own: OwnProperty = decode_json(found.text.encode(), OwnProperty)
    except (Invalid, Malformed):
        raise _BrokenError(found.number, f"Expected {OWN} as this service writes it") from None
    return own


def _read_name(text: str | None) -> str:
    """Return the name of a content line in upper case, or an empty text where it has none."""
    match = _NAME.match(text or "")
    if text is None or match is None or text[match.end() : match.end() + 1] not in (":", ";") or ":" not in text:
        return ""
    return re.sub(r"[ \t]", "", match[0]).upper()
