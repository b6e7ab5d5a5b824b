"""Builds a todo from a VTODO."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from icalendar.parser import split_on_unescaped_comma

from todo_service.bounds.todos import TITLE_LENGTH
from todo_service.decoding import convert
from todo_service.errors import Invalid, Malformed
from todo_service.exchange.formats.base import Draft, RejectedRecord, find_line
from todo_service.exchange.formats.calendar_alarms import AlarmReader, reminders_match
from todo_service.exchange.formats.calendar_completion import read_completion, read_integer
from todo_service.exchange.formats.calendar_components import Component
from todo_service.exchange.formats.calendar_relations import read_uid
from todo_service.exchange.formats.calendar_schedule import ChangedOccurrence, ScheduleReader
from todo_service.exchange.formats.calendar_times import TimeReader
from todo_service.exchange.formats.calendar_values import (
    EXACT_FIELDS,
    EXTENSION_NAME,
    LIST_NAME,
    TEXT_PROPERTIES,
    choose_exact,
    clean_line,
    decode_exact_values,
    is_visible,
    join_lines,
    round_trip,
    round_trip_step_title,
    round_trip_tags,
)
from todo_service.exchange.formats.values import CALENDAR_PRIORITIES, UNTITLED
from todo_service.executors import Budget
from todo_service.field_table import Origin
from todo_service.lists.dto import TodoListCreate
from todo_service.text import drop_controls
from todo_service.todos import dto
from todo_service.todos.fields import FIELDS
from todo_service.todos.import_records import list_missing

_STEP_UID: Final = re.compile(r"([0-9a-f]{24})\.", re.ASCII)
_PROPERTIES: Final = {
    field.name: field.calendar_property
    for field in FIELDS
    if field.calendar_property is not None and field.origin is not Origin.SERVICE
}
"""The property of each field."""
_EXTENSION_FIELDS: Final = [field.name for field in EXACT_FIELDS if field.name not in _PROPERTIES]
"""The fields that only the non-standard property represents."""
_TEXTS: Final = {name: property_name for name, property_name in TEXT_PROPERTIES.items() if name != "uid"}
"""The property of each free text, except the uid, which has rules of its own."""


class TodoBuilder:
    """Builds the draft of a todo.

    Args:
        todo: The todo.
        times: Reads its times.
        budget: The budget of the task. It is polled.
    """

    def __init__(self, todo: Component, times: TimeReader, budget: Budget) -> None:
        self._todo = todo
        self._times = times
        self._budget = budget
        self._exact = self._decode_exact_values()

    def build(
        self,
        steps: Sequence[dict[str, Any]],
        occurrences: Sequence[ChangedOccurrence],
        order: float | None,
        named: TodoListCreate | None,
    ) -> Draft | RejectedRecord:
        """Return the draft.

        Args:
            steps: The steps, in the format of the API.
            occurrences: The changed occurrences, if it is a series.
            order: Its position in the manual order; None to put it last.
            named: The list of its calendar, if it has one.

        Raises:
            BudgetExceededError: The budget is exceeded.
        """
        todo, exact = self._todo, self._exact
        fields: dict[str, Any] = {name: exact[name] for name in _EXTENSION_FIELDS if name in exact}
        if order is not None:
            fields.setdefault("position", order)
        fields |= self._read_texts()
        fields["tags"] = self._read_tags()
        fields["priority"] = CALENDAR_PRIORITIES[read_integer(todo, "PRIORITY", 9)]
        state = read_completion(todo, self._times)
        fields["completed"] = state.completed
        if state.completed_at is not None:
            fields["completed_at"] = choose_exact(state.completed_at, exact.get("completed_at"))
        if state.cancelled:
            todo.warn("STATUS is CANCELLED, and the todo was completed")
        if (created := self._times.read_time(todo, "CREATED")) is not None:
            fields["created_at"] = choose_exact(created, exact.get("created_at"))
        schedule = ScheduleReader(todo, exact, self._times, self._budget)
        fields |= schedule.read(occurrences)
        reminders = AlarmReader(todo, schedule.due, schedule.start, self._times).read()
        exact_reminders = exact.get("reminders", [])
        fields["reminders"] = exact_reminders if reminders_match(exact_reminders, reminders) else reminders
        fields["steps"] = self._restore_steps(steps)
        uid = self._read_own_uid()
        lines = {
            field: found[0].number
            for field, name in _PROPERTIES.items()
            if (found := todo.properties.get(name)) is not None
        }
        try:
            if LIST_NAME in exact:
                named = convert({"name": exact[LIST_NAME]}, TodoListCreate)
            imported = convert(fields, dto.TodoImport)
        except Invalid as error:
            return RejectedRecord(find_line(error.issues, lines, todo.line), error.issues)
        missing = self._list_missing(fields)
        return Draft(todo.line, imported, named, lines, uid=uid, warnings=todo.warnings, missing=missing)

    def _list_missing(self, fields: Mapping[str, Any]) -> frozenset[str]:
        """Return the fields that the file cannot represent. A file of this service has none: it omits only defaults."""
        if EXTENSION_NAME in self._todo.properties:
            return frozenset()
        return list_missing([*_PROPERTIES, *(name for name, value in fields.items() if value is not None)])

    def _decode_exact_values(self) -> Mapping[str, Any]:
        found = self._todo.get(EXTENSION_NAME)
        if found is None:
            return {}
        try:
            return decode_exact_values(found.text)
        except (Invalid, Malformed):
            self._todo.warn(f"{EXTENSION_NAME} was left out: expected it as written by this service")
            return {}

    def _read_texts(self) -> dict[str, str]:
        """Return the text fields. If SUMMARY is blank, the title is the first line of DESCRIPTION or `UNTITLED`."""
        read = {name: self._read_text(name, property_name) for name, property_name in _TEXTS.items()}
        texts = {name: text for name, text in read.items() if text is not None}
        if not is_visible(texts.get("title", "")):
            lines = (line.strip() for line in texts.get("description", "").splitlines())
            title = next((line for line in lines if is_visible(line)), None)
            self._todo.warn(
                f"SUMMARY has no text, so the title is {'the first line of DESCRIPTION' if title else UNTITLED}"
            )
            texts["title"] = clean_line(title or UNTITLED)[:TITLE_LENGTH]
        return texts

    def _read_text(self, name: str, property_name: str) -> str | None:
        found, exact = self._todo.get(property_name), self._exact.get(name)
        if found is None:
            return str(exact) if exact is not None and not exact.strip() else None
        if exact is not None and round_trip(exact) == found.text:
            return str(exact)
        if name == "title":
            text = join_lines(found.text)
            cleaned = drop_controls(text)
        else:
            text = found.text.replace("\r\n", "\n").replace("\r", "\n")
            cleaned = drop_controls(text, multiline=True)
        if cleaned != text:
            self._todo.warn(f"{property_name} has control characters, which were left out")
        return cleaned

    def _read_tags(self) -> list[str]:
        lines = self._todo.get_all("CATEGORIES")
        tags = [tag for line in lines for tag in split_on_unescaped_comma(line.value)]
        exact, list_name = self._exact.get("tags"), self._exact.get(LIST_NAME)
        if exact is not None and round_trip_tags(exact + ([] if list_name is None else [list_name])) == tags:
            return list(exact)
        if list_name is not None and tags and tags[-1:] == round_trip_tags([list_name]):
            # the export writes the list as the last category
            tags.pop()
        return [tag for tag in map(clean_line, dict.fromkeys(tags)) if is_visible(tag)]

    def _restore_steps(self, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the steps with their exact titles, unless another program has changed them."""
        exact = {step["id"]: step["title"] for step in self._exact.get("steps", [])}
        return [
            step | {"title": title}
            if (title := exact.get(step.get("id"))) is not None and round_trip_step_title(title) == step["title"]
            else step
            for step in steps
        ]

    def _read_own_uid(self) -> str | None:
        uid = read_uid(self._todo)
        exact: str | None = self._exact.get("uid")
        if exact is not None and round_trip(exact).strip() == uid:
            return exact
        if "RECURRENCE-ID" in self._todo.properties:
            # without its series, it is a todo of its own, and the UID is that of the series
            self._todo.warn("RECURRENCE-ID was left out, because the file does not have the series")
            return None
        return uid or None


def build_step(child: Component, parent: str, times: TimeReader) -> dict[str, Any]:
    """Return the step that represents a child, in the format of the API.

    Args:
        child: The child. Its title is not too long.
        parent: The UID of its parent.
        times: Reads its times.
    """
    summary, uid = child.get("SUMMARY"), read_uid(child)
    title = clean_line(summary.text) if summary is not None else ""
    state = read_completion(child, times)
    if state.cancelled:
        child.warn("STATUS is CANCELLED, and the step was completed")
    if not is_visible(title):
        child.warn(f"SUMMARY has no text, so the title is {UNTITLED}")
        title = UNTITLED
    step = {"title": title, "completed": state.completed}
    if (match := _STEP_UID.match(uid)) is not None and uid[match.end() :].strip() == parent:
        step["id"] = match[1]
    return step
