"""iCalendar (RFC 5545): a VTODO for each todo, as calendar programs read and write them.

What a VTODO has no property for (steps, list, place in the manual order), and what its properties cannot hold exactly
(milliseconds, control characters, the parts of a rule in their order), stands in a property of our own as JSON, so that
what is written reads back equal. Where another program has changed a property, the property counts.

A todo that recurs is given in the account's time zone, so that its rule means the same there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import icalendar
import msgspec
from icalendar.parser import Contentline, Parameters, split_on_unescaped_comma, unescape_backslash
from icalendar.prop import vCategory, vDDDTypes, vDuration, vRecur, vText
from msgspec import UNSET, UnsetType

from todo_service.decoding import convert, decode_json
from todo_service.errors import Fault, Invalid, Malformed
from todo_service.timestamps import text_of as time_text
from todo_service.todos import dto
from todo_service.todos.formats.base import Draft, Format, Rejected, Writer, line_of, text_of

PRODUCT: Final = "-//todo_service//todo_service//EN"
OWN: Final = "X-TODO-SERVICE"
_PRIORITIES: Final = {"urgent": 1, "high": 3, "medium": 5, "low": 9}
_READ_PRIORITIES: Final = ("none", "urgent", "high", "high", "high", "medium", "low", "low", "low", "low")
_STATUSES: Final = {"NEEDS-ACTION": False, "IN-PROCESS": False, "COMPLETED": True, "CANCELLED": True}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_UNTIL_DAY: Final = re.compile(r"UNTIL=(\d{4})(\d{2})(\d{2})(?=;|$)")
_LAST_SECOND: Final = time(23, 59, 59)
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


class _Own(msgspec.Struct, omit_defaults=True):
    """What our own property holds."""

    position: float | UnsetType = UNSET
    list_id: str | None = None
    list_name: str | None = None
    steps: list[dto.Step] = []
    title: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    due_at: str | None = None
    completed_at: str | None = None
    created_at: str | None = None
    recurrence: str | None = None


class _CalendarWriter(Writer):
    def __init__(self, lists: Sequence[dto.List], zone: ZoneInfo) -> None:
        self._names = {each.id: each.name for each in lists}
        self._zone = zone

    def opening(self) -> bytes:
        calendar = icalendar.Calendar()
        calendar.add("version", "2.0")
        calendar.add("prodid", PRODUCT)
        if self._zone.key != "UTC":
            calendar.add_component(icalendar.Timezone.from_tzinfo(self._zone, self._zone.key))
        return bytes(calendar.to_ical(sorted=False)).removesuffix(self.closing())

    def todos(self, todos: Iterable[dto.Todo]) -> bytes:
        return b"".join(self._component(todo).to_ical(sorted=False) for todo in todos)

    def closing(self) -> bytes:
        return b"END:VCALENDAR\r\n"

    def _component(self, todo: dto.Todo) -> icalendar.Todo:
        component = icalendar.Todo()
        component.add("uid", f"{todo.id}@todo_service")
        component.add("dtstamp", _moment(todo.updated_at))
        component.add("created", _moment(todo.created_at))
        component.add("last-modified", _moment(todo.updated_at))
        component.add("summary", _printable(todo.title))
        if todo.description:
            component.add("description", _printable(todo.description))
        if todo.priority != "none":
            component.add("priority", _PRIORITIES[todo.priority])
        if todo.tags:
            component.add("categories", [_printable(tag) for tag in todo.tags])
        component.add("status", "COMPLETED" if todo.completed else "NEEDS-ACTION")
        if todo.completed_at is not None:
            component.add("completed", _moment(todo.completed_at))
            component.add("percent-complete", 100)
        if todo.due_at is not None:
            self._add_due(component, _moment(todo.due_at), todo.recurrence)
        component.add(OWN, vText(self._own(todo)))
        return component

    def _add_due(self, component: icalendar.Todo, due_at: datetime, recurrence: str | None) -> None:
        if recurrence is None:
            component.add("due", due_at)
            return
        local = due_at.astimezone(self._zone)
        # a start is needed, before the due date and on its day, which the rule is applied to; midnight has none before
        component.add("dtstart", local.replace(hour=0, minute=0, second=0))
        component.add("due", local)
        component.add("rrule", vRecur.from_ical(_shown_rule(recurrence, self._zone)))

    def _own(self, todo: dto.Todo) -> str:
        own = _Own(
            position=todo.position,
            list_id=todo.list_id,
            list_name=self._names.get(todo.list_id or ""),
            steps=todo.steps,
            title=todo.title if _read_back(todo.title) != todo.title else None,
            description=todo.description if _read_back(todo.description) != todo.description else None,
            tags=todo.tags if _tags_read_back(todo.tags) != todo.tags else None,
            due_at=todo.due_at,
            completed_at=todo.completed_at,
            created_at=todo.created_at,
            recurrence=todo.recurrence,
        )
        # the library takes a backslash before an N for the end of a line
        return msgspec.json.encode(own).decode().replace("\\N", "\\\\u004e").replace("\x7f", "\\u007f")


class CalendarFormat(Format):
    """iCalendar; of what other programs write, events and the like are told as rejected."""

    media_type = "text/calendar"
    content_type = "text/calendar; charset=utf-8; component=VTODO"

    def writer(self, lists: Sequence[dto.List], zone: ZoneInfo) -> Writer:
        """See `Format.writer`."""
        return _CalendarWriter(lists, zone)

    def read(self, body: bytes, zone: ZoneInfo) -> Iterator[Draft | Rejected]:
        """See `Format.read`."""
        lines = _unfolded(text_of(body))
        _, first = next(lines, (1, ""))
        if first.strip().upper() != "BEGIN:VCALENDAR":
            raise Invalid([Fault("", "Expected an iCalendar object: the first line to be BEGIN:VCALENDAR")])
        return _Reading(zone).records(lines)


class _Property(NamedTuple):
    """A content line: where it stands, its parameters, and its value as it is written."""

    line: int
    parameters: Parameters
    value: str

    @property
    def text(self) -> str:
        return str(unescape_backslash(self.value))


class _Component:
    """A VTODO while it is read; after the first broken line nothing more is read of it."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.properties: dict[str, list[_Property]] = {}
        self.rejected: Rejected | None = None

    def reject(self, line: int, detail: str) -> None:
        self.rejected = self.rejected or Rejected(line, [Fault("", detail)])

    def one(self, name: str) -> _Property | None:
        found = self.properties.get(name, ())
        if len(found) > 1:
            raise _BrokenError(found[1].line, f"Expected {name} once")
        return found[0] if found else None


class _BrokenError(Exception):
    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line


class _Reading:
    """Goes through the lines of a calendar."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._zones: dict[str, Any] = {}
        self._todo: _Component | None = None
        self._inner: list[str] = []
        self._definition: list[str] = []

    def records(self, lines: Iterator[tuple[int, str]]) -> Iterator[Draft | Rejected]:
        number, ended = 1, False
        for number, text in lines:
            if self._definition:
                self._define(text)
                continue
            try:
                name, parameters, value = Contentline(text).raw_parts()  # type: ignore[no-untyped-call]  # the library's own
            except ValueError:
                if self._todo is not None:
                    self._todo.reject(number, "Expected a name, a colon and a value")
                elif not self._inner:
                    yield Rejected(number, [Fault("", "Expected a name, a colon and a value")])
                continue
            name, kind = name.upper(), value.strip().upper()
            ended = (name, kind) == ("END", "VCALENDAR")
            if name == "BEGIN":
                yield from self._begin(number, kind, text)
            elif name == "END":
                yield from self._end(kind)
            elif self._todo is not None and not self._inner:
                self._todo.properties.setdefault(name, []).append(_Property(number, parameters, value))
        if self._todo is not None:
            yield Rejected(self._todo.line, [Fault("", "Expected END:VTODO")])
        elif not ended:
            yield Rejected(number, [Fault("", "Expected END:VCALENDAR: the text may have been cut short")])

    def _begin(self, number: int, kind: str, text: str) -> Iterator[Rejected]:
        if kind == "VTODO":
            if self._todo is not None:
                yield Rejected(self._todo.line, [Fault("", "Expected END:VTODO")])
            self._todo, self._inner = _Component(number), []
        elif self._todo is not None or self._inner:
            self._inner.append(kind)
        elif kind == "VTIMEZONE":
            self._definition = [text]
        elif kind != "VCALENDAR":
            self._inner.append(kind)
            yield Rejected(number, [Fault("", f"Expected VTODO: {kind[:50]} is no todo")])

    def _end(self, kind: str) -> Iterator[Draft | Rejected]:
        if self._inner:
            if kind in self._inner:
                del self._inner[self._inner.index(kind) :]
        elif kind == "VTODO" and self._todo is not None:
            todo, self._todo = self._todo, None
            yield todo.rejected or self._draft(todo)

    def _define(self, text: str) -> None:
        """Read on in the definition of a time zone, which is known by its name from its end on."""
        self._definition.append(text)
        if text.strip().upper() == "END:VTIMEZONE":
            definition, self._definition = "\r\n".join(self._definition) + "\r\n", []
            try:
                zone = icalendar.Timezone.from_ical(definition)
                self._zones[str(zone["TZID"])] = zone.to_tz()  # type: ignore[attr-defined]  # it is a Timezone
            except (ValueError, KeyError, TypeError, IndexError):
                return  # what needs it says so

    def _draft(self, todo: _Component) -> Draft | Rejected:
        lines = {
            field: found[0].line for field, name in _FIELDS.items() if (found := todo.properties.get(name)) is not None
        }
        try:
            if (instance := todo.one("RECURRENCE-ID")) is not None:
                raise _BrokenError(instance.line, "Expected no RECURRENCE-ID: a todo that recurs is one todo")
            own = _own_of(todo.one(OWN))
            fields = self._fields(todo, own)
            named = convert({"name": own.list_name}, dto.ListCreate) if own.list_name is not None else None
            return Draft(todo.line, convert(fields, dto.TodoImport), named, lines)
        except _BrokenError as error:
            return Rejected(error.line, [Fault("", str(error))])
        except Invalid as error:
            return Rejected(line_of(error.faults, lines, todo.line), error.faults)

    def _fields(self, todo: _Component, own: _Own) -> dict[str, Any]:
        fields: dict[str, Any] = {"list_id": own.list_id, "steps": msgspec.to_builtins(own.steps)}
        if own.position is not UNSET:
            fields["position"] = own.position
        for field in ("title", "description"):
            if (found := todo.one(_FIELDS[field])) is not None:
                exact: str | None = getattr(own, field)
                fields[field] = exact if exact is not None and _read_back(exact) == found.text else found.text
        tags = [tag for found in todo.properties.get("CATEGORIES", ()) for tag in split_on_unescaped_comma(found.value)]
        exact_tags = own.tags is not None and _tags_read_back(own.tags) == tags
        fields["tags"] = own.tags if exact_tags else [tag for tag in tags if tag.strip()]
        if (priority := todo.one("PRIORITY")) is not None:
            if not re.fullmatch(r"\d", priority.value.strip(), re.ASCII):
                raise _BrokenError(priority.line, "Expected PRIORITY from 0 to 9")
            fields["priority"] = _READ_PRIORITIES[int(priority.value)]
        completed = self._time(todo, "COMPLETED")
        if (status := todo.one("STATUS")) is not None:
            if status.value.strip().upper() not in _STATUSES:
                raise _BrokenError(status.line, f"Expected STATUS to be {', '.join(_STATUSES)}")
            fields["completed"] = _STATUSES[status.value.strip().upper()]
        elif completed is not None:
            fields["completed"] = True
        if completed is not None and fields.get("completed"):
            fields["completed_at"] = _exactly(completed, own.completed_at)
        if (created := self._time(todo, "CREATED")) is not None:
            fields["created_at"] = _exactly(created, own.created_at)
        if (due_at := self._due(todo)) is not None:
            fields["due_at"] = _exactly(due_at, own.due_at)
        if (rule := todo.one("RRULE")) is not None:
            zone = due_at.tzinfo if due_at is not None else self._zone
            same = own.recurrence is not None and _same_rule(own.recurrence, rule.value, zone)
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
                raise _BrokenError(duration.line, "Expected DURATION such as P1D or PT1H30M") from None
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
            moment = datetime.combine(value, _LAST_SECOND)
        else:
            raise _BrokenError(found.line, f"Expected {name} as 20270131T090000Z or 20270131")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone_named(found))
        try:
            moment.astimezone(UTC)
        except OverflowError:
            raise _BrokenError(found.line, f"Expected {name} in the years 1 to 9999") from None
        return moment

    def _zone_named(self, found: _Property) -> Any:
        name = found.parameters.get("TZID")
        if name is None:
            return self._zone
        if name in self._zones:
            return self._zones[name]
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
            raise _BrokenError(found.line, "Expected a TZID that is known or was defined") from None


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Return each content line that is not blank, unfolded (RFC 5545, section 3.1), with the number of its first."""
    begun, parts = 1, [""]
    for number, physical in enumerate(text.split("\n"), 1):
        physical = physical.removesuffix("\r")
        if physical[:1] in (" ", "\t"):
            parts.append(physical[1:])
            continue
        if whole := "".join(parts):
            yield begun, whole
        begun, parts = number, [physical]
    if whole := "".join(parts):
        yield begun, whole


def _own_of(found: _Property | None) -> _Own:
    if found is None:
        return _Own()
    try:
        own: _Own = decode_json(found.text.encode(), _Own)
    except (Invalid, Malformed):
        raise _BrokenError(found.line, f"Expected {OWN} as this service writes it") from None
    return own


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _printable(text: str) -> str:
    """Return a text as a property can hold it."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _read_back(text: str) -> str:
    """Return what is read of a text that was written as a property."""
    return str(unescape_backslash(vText(_printable(text)).to_ical().decode()))


def _tags_read_back(tags: list[str]) -> list[str]:
    if not tags:
        return []
    return list(split_on_unescaped_comma(vCategory([_printable(tag) for tag in tags]).to_ical().decode()))


def _exactly(moment: datetime, exact: str | None) -> str:
    """Return a time as text: the exact one where it shows the same on the same clock."""
    if exact is not None:
        try:
            shown = _moment(exact).astimezone(moment.tzinfo)
        except (ValueError, OverflowError):
            raise Invalid([Fault("", f"Expected {OWN} as this service writes it")]) from None
        if shown.replace(microsecond=0, tzinfo=None) == moment.replace(microsecond=0, tzinfo=None):
            return exact
    return time_text(moment)


def _shown_rule(rule: str, zone: tzinfo | None) -> str:
    """Return a rule as RFC 5545 wants it beside a time: UNTIL is a moment in UTC, not a day."""

    def moment(match: re.Match[str]) -> str:
        day = date(int(match[1]), int(match[2]), int(match[3]))
        try:
            end = datetime.combine(day, _LAST_SECOND, zone).astimezone(UTC)
        except OverflowError:
            return match[0]
        return end.strftime("UNTIL=%Y%m%dT%H%M%SZ")

    return _UNTIL_DAY.sub(moment, rule)


def _same_rule(rule: str, shown: str, zone: tzinfo | None) -> bool:
    try:
        return set(vRecur.from_ical(_shown_rule(rule, zone)).to_ical().decode().split(";")) == set(shown.split(";"))
    except ValueError:
        return False
