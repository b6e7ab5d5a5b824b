"""Reads todos from iCalendar."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from icalendar.parser import split_on_unescaped_comma
from icalendar.prop import vDDDTypes, vDuration

from todo_service.bounds.exchange import IMPORT_NESTING, IMPORT_PROPERTIES, IMPORT_RECORD_BYTES, ZONE_BYTES
from todo_service.decoding import convert
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.exchange.formats.base import Draft, RejectedRecord, find_line, read_record
from todo_service.exchange.formats.calendar_values import (
    EXACT_FIELDS,
    EXTENSION_NAME,
    LAST_SECOND,
    LIST_NAME,
    TEXT_PROPERTIES,
    choose_exact,
    decode_exact_values,
    get_implied_start,
    is_same_rule,
    round_trip,
    round_trip_tags,
)
from todo_service.exchange.formats.lines import ContentLine, parse_line, read_lines
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.timezones import FileZones
from todo_service.field_table import Origin
from todo_service.lists.dto import ListCreate
from todo_service.text import trim
from todo_service.todos import dto
from todo_service.todos.fields import FIELDS

_PRIORITIES: Final = ("none", "urgent", "high", "high", "high", "medium", "low", "low", "low", "low")
_STATUSES: Final = {"NEEDS-ACTION": False, "IN-PROCESS": False, "COMPLETED": True, "CANCELLED": True}
_NOT_A_LINE: Final = "Expected a name, a colon and a value"
_TOO_LONG: Final = f"Expected at most {IMPORT_RECORD_BYTES} bytes"
_NAME: Final = re.compile(r"[\w. \t-]{1,100}")
_PROPERTIES: Final = {
    field.name: field.calendar_property
    for field in FIELDS
    if field.calendar_property is not None and field.origin is not Origin.SERVICE
}
"""The property of each field."""
_EXTENSION_FIELDS: Final = [field.name for field in EXACT_FIELDS if field.name not in _PROPERTIES]
"""The fields that only the non-standard property represents."""
_READ_PROPERTIES: Final = frozenset({*_PROPERTIES.values(), EXTENSION_NAME, "RECURRENCE-ID", "DTSTART", "DURATION"})
"""The properties that are read. Others are ignored, even if malformed."""


class _PropertyError(Exception):
    """A property is invalid. The message is meant for the client."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line


class _Component:
    """A partially read VTODO. After the first invalid line, the rest of it is ignored."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.properties: dict[str, list[ContentLine]] = {}
        self.rejected: RejectedRecord | None = None
        self._count = self._bytes = 0

    def reject(self, line: int, detail: str) -> None:
        self.rejected = self.rejected or RejectedRecord(line, [ValidationIssue("", detail)])
        self.properties.clear()

    def add(self, line: ContentLine) -> None:
        self._count += 1
        self._bytes += len(line.value)
        if self._count > IMPORT_PROPERTIES or self._bytes > IMPORT_RECORD_BYTES:
            self.reject(line.number, f"Expected at most {IMPORT_PROPERTIES} properties and {IMPORT_RECORD_BYTES} bytes")
        elif self.rejected is None:
            self.properties.setdefault(line.name, []).append(line)

    def get_single(self, name: str) -> ContentLine | None:
        found = self.properties.get(name, ())
        if len(found) > 1:
            raise _PropertyError(found[1].number, f"Expected {name} once")
        return found[0] if found else None


class CalendarReader:
    """Reads a calendar line by line. Call `read_header`, then `read_records`.

    Args:
        source: The body.
        zone: The account's time zone, for times without one.
    """

    def __init__(self, source: Source, zone: ZoneInfo) -> None:
        self._lines = read_lines(source)
        self._zone = zone
        self._zones = FileZones()
        self._todo: _Component | None = None
        self._open_components: list[str] = []

    def read_header(self) -> None:
        """Read the first line.

        Raises:
            Invalid: It does not start a calendar.
        """
        _, first = next(self._lines, (1, ""))
        if first is None or first.strip().upper() != "BEGIN:VCALENDAR":
            raise Invalid([ValidationIssue("", "Expected an iCalendar object: the first line to be BEGIN:VCALENDAR")])

    def read_records(self) -> Iterator[Draft | RejectedRecord]:
        """Yield the todos, and other components as rejected records."""
        number, ended = 1, False
        for number, text in self._lines:
            name = _read_name(text)
            if name not in ("BEGIN", "END"):
                yield from self._read_property(number, name, text)
                continue
            assert text is not None  # the line has a name
            kind = text.partition(":")[2].strip().upper()
            ended = (name, kind) == ("END", "VCALENDAR")
            if name == "BEGIN":
                yield from self._begin_component(number, kind)
            else:
                yield from self._end_component(kind)
        if self._todo is not None:
            yield RejectedRecord(self._todo.line, [ValidationIssue("", "Expected END:VTODO")])
        elif not ended:
            yield RejectedRecord(number, [ValidationIssue("", "Expected END:VCALENDAR: the file may be truncated")])

    def _read_property(self, number: int, name: str, text: str | None) -> Iterator[RejectedRecord]:
        """Add a property to the current todo, unless it is ignored."""
        if self._open_components or (self._todo is not None and name and name not in _READ_PROPERTIES):
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
                yield RejectedRecord(number, [ValidationIssue("", detail)])

    def _begin_component(self, number: int, kind: str) -> Iterator[RejectedRecord]:
        if kind == "VTODO":
            if self._todo is not None:
                yield RejectedRecord(self._todo.line, [ValidationIssue("", "Expected END:VTODO")])
            self._todo, self._open_components = _Component(number), []
        elif self._todo is not None or self._open_components:
            if len(self._open_components) < IMPORT_NESTING:
                self._open_components.append(kind[:50])
            elif self._todo is not None:
                self._todo.reject(number, f"Expected at most {IMPORT_NESTING} levels of components")
        elif kind == "VTIMEZONE":
            self._read_time_zone()
        elif kind != "VCALENDAR":
            self._open_components.append(kind[:50])
            yield RejectedRecord(number, [ValidationIssue("", f"Expected VTODO: {kind[:50]} is not a todo")])

    def _end_component(self, kind: str) -> Iterator[Draft | RejectedRecord]:
        if self._open_components:
            if kind[:50] in self._open_components:
                del self._open_components[self._open_components.index(kind[:50]) :]
        elif kind == "VTODO" and self._todo is not None:
            todo, self._todo = self._todo, None
            yield todo.rejected or read_record(todo.line, lambda: self._build_draft(todo))

    def _read_time_zone(self) -> None:
        """Read a VTIMEZONE component up to its end."""
        found: list[ContentLine] = []
        size = 0
        for number, text in self._lines:
            if text is None:
                size += ZONE_BYTES + 1
                continue
            if text.strip().upper() == "END:VTIMEZONE":
                if size <= ZONE_BYTES:
                    self._zones.add_definition(found)
                return
            size += len(text)
            if size <= ZONE_BYTES:
                try:
                    found.append(parse_line(number, text))
                except ValueError:
                    continue  # ignore the invalid line

    def _build_draft(self, todo: _Component) -> Draft | RejectedRecord:
        lines = {
            field: found[0].number
            for field, name in _PROPERTIES.items()
            if (found := todo.properties.get(name)) is not None
        }
        try:
            if (instance := todo.get_single("RECURRENCE-ID")) is not None:
                raise _PropertyError(instance.number, "Expected no RECURRENCE-ID: a recurring todo is one record")
            exact = _decode_exact_values(todo.get_single(EXTENSION_NAME))
            fields = self._read_fields(todo, exact)
            named = convert({"name": exact[LIST_NAME]}, ListCreate) if LIST_NAME in exact else None
            return Draft(todo.line, convert(fields, dto.TodoImport), named, lines)
        except _PropertyError as error:
            return RejectedRecord(error.line, [ValidationIssue("", str(error))])
        except Invalid as error:
            return RejectedRecord(find_line(error.issues, lines, todo.line), error.issues)

    def _read_fields(self, todo: _Component, exact: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a todo.

        Args:
            todo: The properties.
            exact: The exact values of fields. A property that has another value wins.
        """
        fields: dict[str, Any] = {name: exact[name] for name in _EXTENSION_FIELDS if name in exact}
        for name, property_name in TEXT_PROPERTIES.items():
            if (found := todo.get_single(property_name)) is not None:
                fields[name] = exact[name] if name in exact and round_trip(exact[name]) == found.text else found.text
        tags = [tag for found in todo.properties.get("CATEGORIES", ()) for tag in split_on_unescaped_comma(found.value)]
        exact_tags = "tags" in exact and round_trip_tags(exact["tags"]) == tags
        fields["tags"] = exact["tags"] if exact_tags else [tag for tag in tags if trim(tag)]
        if (priority := todo.get_single("PRIORITY")) is not None:
            if not re.fullmatch(r"\d", priority.value.strip(), re.ASCII):
                raise _PropertyError(priority.number, "Expected PRIORITY from 0 to 9")
            fields["priority"] = _PRIORITIES[int(priority.value)]
        completed = self._read_time(todo, "COMPLETED")
        if (status := todo.get_single("STATUS")) is not None:
            if status.value.strip().upper() not in _STATUSES:
                raise _PropertyError(status.number, f"Expected STATUS to be {', '.join(_STATUSES)}")
            fields["completed"] = _STATUSES[status.value.strip().upper()]
        elif completed is not None:
            fields["completed"] = True
        if completed is not None and fields.get("completed"):
            fields["completed_at"] = choose_exact(completed, exact.get("completed_at"))
        if (created := self._read_time(todo, "CREATED")) is not None:
            fields["created_at"] = choose_exact(created, exact.get("created_at"))
        return fields | self._read_schedule(todo, exact)

    def _read_schedule(self, todo: _Component, exact: Mapping[str, Any]) -> dict[str, Any]:
        """Return the due date, the start and the rule. Arguments are those of `_read_fields`."""
        fields: dict[str, Any] = {}
        due, start = self._read_due(todo), self._read_value(todo, "DTSTART")
        if due is not None:
            name, value = _to_field("due", due, exact)
            fields[name] = value
        if start is not None and _is_start(start, due, todo, exact):
            name, value = _to_field("start", start, exact)
            fields[name] = value
        if (rule := todo.get_single("RRULE")) is not None:
            zone = due.tzinfo if isinstance(due, datetime) else self._zone if due is None else None
            same = "recurrence" in exact and is_same_rule(exact["recurrence"], rule.value, zone)
            fields["recurrence"] = exact["recurrence"] if same else rule.value
        return fields

    def _read_due(self, todo: _Component) -> datetime | date | None:
        """Return DUE, or else DTSTART plus DURATION, or else DTSTART of a recurring todo."""
        due, start = self._read_value(todo, "DUE"), self._read_value(todo, "DTSTART")
        if due is not None or start is None:
            return due
        if (duration := todo.get_single("DURATION")) is not None:
            try:
                length: timedelta = vDuration.from_ical(duration.value.strip())  # type: ignore[no-untyped-call]  # icalendar is untyped
                return start + length
            except (ValueError, OverflowError):
                raise _PropertyError(duration.number, "Expected DURATION such as P1D or PT1H30M") from None
        return start if "RRULE" in todo.properties else None

    def _read_time(self, todo: _Component, name: str) -> datetime | None:
        """Return the time of a property. A date means its last second in the account's time zone."""
        found = self._read_value(todo, name)
        if found is None or isinstance(found, datetime):
            return found
        return datetime.combine(found, LAST_SECOND, self._zone)

    def _read_value(self, todo: _Component, name: str) -> datetime | date | None:
        """Return the time or the date of a property. A time without a zone is in the account's."""
        found = todo.get_single(name)
        if found is None:
            return None
        try:
            value = vDDDTypes.from_ical(found.value.strip())  # type: ignore[no-untyped-call]  # icalendar is untyped
        except ValueError:
            value = None
        if not isinstance(value, date):
            raise _PropertyError(found.number, f"Expected {name} as 20270131T090000Z or 20270131")
        if not isinstance(value, datetime):
            return value
        moment = value
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._find_zone(found))
        try:
            moment.astimezone(UTC)
        except OverflowError:
            raise _PropertyError(found.number, f"Expected {name} in the years 1 to 9999") from None
        return moment

    def _find_zone(self, found: ContentLine) -> Any:
        name = found.parameters.get("TZID")
        if name is None:
            return self._zone
        zone = self._zones.get(name)
        if zone is None:
            raise _PropertyError(
                found.number, "Expected a TZID that is known, or that the file defines by yearly rules or dates"
            )
        return zone


def _to_field(name: str, value: datetime | date, exact: Mapping[str, Any]) -> tuple[str, str]:
    """Return the field of a due date or a start (`due_at`, `due_on`), and its value."""
    if isinstance(value, datetime):
        return f"{name}_at", choose_exact(value, exact.get(f"{name}_at"))
    return f"{name}_on", value.isoformat()


def _is_start(start: datetime | date, due: datetime | date | None, todo: _Component, exact: Mapping[str, Any]) -> bool:
    """Return whether DTSTART is the start of a todo.

    It is ignored if it cannot be, and if it takes the place of DUE or is only there because RRULE needs one.
    """
    if due is None:
        return True
    if isinstance(start, datetime) is not isinstance(due, datetime) or start > due:
        return False
    if "RRULE" not in todo.properties or exact.keys() & {"start_at", "start_on"}:
        return True
    if EXTENSION_NAME in todo.properties:
        return start != get_implied_start(due)
    return "DUE" in todo.properties or "DURATION" in todo.properties


def _decode_exact_values(found: ContentLine | None) -> dict[str, Any]:
    if found is None:
        return {}
    try:
        return decode_exact_values(found.text)
    except (Invalid, Malformed):
        raise _PropertyError(found.number, f"Expected {EXTENSION_NAME} as written by this service") from None


def _read_name(text: str | None) -> str:
    """Return the name of a content line in upper case, or an empty string if it has none."""
    match = _NAME.match(text or "")
    if text is None or match is None or text[match.end() : match.end() + 1] not in (":", ";") or ":" not in text:
        return ""
    return re.sub(r"[ \t]", "", match[0]).upper()
