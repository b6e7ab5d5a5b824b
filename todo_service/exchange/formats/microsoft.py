"""Microsoft Outlook and To Do: the CSV file of tasks that Outlook exports in English, German or French.

Whether the day or the month comes first depends on the regional settings of the computer that wrote the file. The
reader infers it from the dates. If no date settles it, the month comes first in a file with English headers, and the
day in others. Times are in the account's zone. The file is in UTF-8, or in the ANSI code page of Windows, which is
Windows-1252 for these languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, time, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from todo_service.exchange.formats.base import Draft, ImportFormat, RejectedRecord, read_record
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.tables import (
    Record,
    Table,
    detect_day_first,
    has_header,
    open_table,
    warn_about_ignored_cells,
)
from todo_service.exchange.formats.values import (
    DateOrTime,
    build_schedule,
    choose_title,
    combine,
    parse_clock,
    parse_date_or_time,
    parse_flag,
    to_timestamp,
)
from todo_service.lists.dto import TodoListCreate
from todo_service.todos.dto import TodoImport
from todo_service.todos.field_types import Priority
from todo_service.todos.import_records import list_missing
from todo_service.todos.reminder_types import ReminderCreate

_REQUIRED: Final = ("subject", "due_date", "status")
_ENCODING: Final = "cp1252"
_TRANSLATIONS: Final[Mapping[str, str]] = {
    "betreff": "subject",
    "beginnt_am": "start_date",
    "fällig_am": "due_date",
    "fälligkeitsdatum": "due_date",
    "erinnerung_ein/aus": "reminder_on/off",
    "erinnerung_am": "reminder_date",
    "erinnerung_um": "reminder_time",
    "erledigt_am": "date_completed",
    "%_erledigt": "%_complete",
    "kategorien": "categories",
    "notizen": "notes",
    "priorität": "priority",
    "ordner": "folder",
    "objet": "subject",
    "date_de_début": "start_date",
    "début": "start_date",
    "date_d'échéance": "due_date",
    "échéance": "due_date",
    "rappel_actif/inactif": "reminder_on/off",
    "date_de_rappel": "reminder_date",
    "date_du_rappel": "reminder_date",
    "heure_de_rappel": "reminder_time",
    "heure_du_rappel": "reminder_time",
    "date_d'achèvement": "date_completed",
    "%_achevé": "%_complete",
    "catégories": "categories",
    "priorité": "priority",
    "état": "status",
    "statut": "status",
    "dossier": "folder",
}
"""The columns that are read, by their German and French names."""
_DATES: Final = ("start_date", "due_date", "reminder_date", "date_completed")
_PRIORITIES: Final[Mapping[str, Priority]] = {
    "": "none",
    "low": "low",
    "normal": "none",
    "high": "high",
    "0": "low",
    "1": "none",
    "2": "high",
    "niedrig": "low",
    "hoch": "high",
    "faible": "low",
    "basse": "low",
    "normale": "none",
    "élevée": "high",
    "haute": "high",
}
_OPEN: Final = frozenset(
    {"", "not started", "in progress", "nicht begonnen", "in bearbeitung"}
    | {"non commencé", "non commencée", "pas commencé", "pas commencée", "en cours"}
)
_COMPLETED: Final = frozenset({"completed", "erledigt", "terminé", "terminée", "achevé", "achevée"})
_ALL_DONE: Final = ("100%", "100", "1")
_NOT_BEGUN: Final = ("", "0%", "0")
_NO_DATES: Final = frozenset({"", "none", "0/0/00", "keine", "ohne", "aucun", "aucune"})
_NO_VALUE: Final = re.compile(
    r"|0(:00)?( [^\W\d]+)?|none|normale?|false|off|no|falsch|aus|nein|ohne|keine|faux|non|désactivé|aucune?"
)
"""The values of cells without information, in lower case."""
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "notes": ("notes", "body"),
    "priority": ("priority", "importance"),
    "folder": ("folder", "list", "list_name"),
}
"""The columns with several names."""
_READ: Final = frozenset(
    [
        *("subject", "start_date", "due_date", "status", "complete", "%_complete", "date_completed", "categories"),
        *("reminder_on/off", "reminder_date", "reminder_time"),
        *(name for names in _NAMES.values() for name in names),
    ]
)
_MISSING: Final = list_missing(
    ("title", "description", "completed", "completed_at", "priority", "start_on", "due_on", "tags", "reminders")
)


class MicrosoftFormat(ImportFormat):
    """The CSV file of tasks of Microsoft Outlook."""

    media_type = "text/csv"

    def recognizes(self, source: Source) -> bool:
        """See `ImportFormat.recognizes`."""
        return has_header(source, _REQUIRED, encoding=_ENCODING, translations=_TRANSLATIONS)

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord]:
        """See `ImportFormat.read`."""
        table = open_table(source, ["subject"], encoding=_ENCODING, translations=_TRANSLATIONS)
        return _read_records(table, zone)


def _read_records(table: Table, zone: tzinfo) -> Iterator[Draft | RejectedRecord]:
    day_first = detect_day_first(table, _DATES, default=table.is_translated)
    ignored = table.get_ignored_columns(_READ)
    for row in table.read():
        if isinstance(row, RejectedRecord):
            yield row
        else:
            yield read_record(row.line, _TaskParser(row, ignored, zone, day_first).parse)


class _TaskParser:
    """Parses a task, and collects warnings."""

    def __init__(self, row: Record, ignored: Mapping[str, str], zone: tzinfo, day_first: bool) -> None:
        self._row = row
        self._ignored = ignored
        self._zone = zone
        self._day_first = day_first
        self._warnings: list[str] = []
        if not row.is_utf8:
            self._warnings.append("Text is not in UTF-8: it was read as Windows-1252")

    def parse(self) -> Draft:
        priority = _PRIORITIES.get(self._get("priority").lower())
        if priority is None:
            self._warnings.append("Priority was left out: expected Low, Normal or High")
        due = self._parse_date_or_time("due_date")
        fields = build_schedule(self._parse_date_or_time("start_date"), due, self._zone, self._warnings)
        fields |= self._parse_status()
        if (reminder := self._parse_reminder()) is not None:
            fields["reminders"] = [ReminderCreate(at=to_timestamp(reminder))]
        self._warnings += warn_about_ignored_cells(self._row, self._ignored, _NO_VALUE)
        notes = self._get("notes")
        todo = TodoImport(
            title=choose_title(self._get("subject"), notes, self._warnings),
            description=notes,
            priority=priority or "none",
            tags=[tag for tag in map(str.strip, re.split("[;,]", self._get("categories"))) if tag],
            **fields,
        )
        name = self._get("folder")
        named = TodoListCreate(name) if name else None
        return Draft(self._row.line, todo, named, warnings=tuple(self._warnings), missing=_MISSING)

    def _get(self, column: str) -> str:
        """Return the trimmed text of a cell, the first one with a text if the column has several names."""
        cells = (self._row.cells.get(name, "").strip() for name in _NAMES.get(column, (column,)))
        return next(filter(None, cells), "")

    def _parse_status(self) -> dict[str, Any]:
        status = self._get("status")
        completed_at = self._parse_date_or_time("date_completed")
        percentage = self._get("%_complete").replace(" ", "")
        # the status takes precedence over the other columns; a spreadsheet shows 100 % as 1
        is_open = status and status.lower() in _OPEN
        is_done = not is_open and (percentage in _ALL_DONE or self._get("complete").lower() == "true")
        if status.lower() not in _COMPLETED and completed_at is None and not is_done:
            if status.lower() not in _OPEN:
                self._warnings.append(f'Status "{status[:50]}" was left out: the todo is open')
            if percentage not in _NOT_BEGUN:
                self._warnings.append("% Complete was left out: the todo is open")
            return {}
        fields: dict[str, Any] = {"completed": True}
        if completed_at is not None:
            fields["completed_at"] = to_timestamp(self._to_moment(completed_at))
        return fields

    def _parse_reminder(self) -> datetime | None:
        if not parse_flag(self._get("reminder_on/off")):
            return None
        day, clock = self._parse_date_or_time("reminder_date"), parse_clock(self._get("reminder_time"))
        if day is None:
            self._warnings.append("Reminder was left out: it has no date")
            return None
        if clock is None or isinstance(day, datetime):
            return self._to_moment(day)
        return combine(day, clock, self._zone)

    def _parse_date_or_time(self, column: str) -> DateOrTime | None:
        text = self._get(column)
        if text.lower() in _NO_DATES:
            return None
        value = parse_date_or_time(text, self._zone, day_first=self._day_first)
        if value is None:
            self._warnings.append(f"{column.replace('_', ' ').capitalize()} was left out: expected a date")
        elif isinstance(value, datetime) and column in ("start_date", "due_date"):
            return value.astimezone(self._zone).date()  # tasks of Outlook start and end on days
        return value

    def _to_moment(self, value: DateOrTime) -> datetime:
        return value if isinstance(value, datetime) else combine(value, time(), self._zone)
