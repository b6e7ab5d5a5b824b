"""Shortens and cleans the text of imported todos.

The readers of the formats do not change text. This module shortens it to the limits of a todo, removes control
characters, and adds a warning for each loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET

from todo_service.bounds.exchange import REPORTED_LENGTH
from todo_service.bounds.texts import UNTRIMMED_FACTOR
from todo_service.bounds.todos import (
    DESCRIPTION_LENGTH,
    LIST_NAME_LENGTH,
    RECURRENCE_EXCEPTIONS,
    REMINDERS,
    STEPS,
    TAG_LENGTH,
    TAGS,
    TITLE_LENGTH,
)
from todo_service.errors import ValidationIssue
from todo_service.exchange.formats.base import Draft, FileLists
from todo_service.exchange.record_uids import hash_list_name
from todo_service.lists.dto import TodoListCreate
from todo_service.text import compose, drop_controls, trim
from todo_service.todos.dto import StepImport, TodoImport

ItemT = TypeVar("ItemT")

_SHORTEST_TITLE: Final = TITLE_LENGTH * 3 // 4
"""Where a long title may be divided, at the earliest."""
_LINE_BREAKS: Final = re.compile(r"\r\n|[\r\v\f]")


def fit_texts(draft: Draft) -> Draft:
    """Return a draft whose strings are no longer than the service allows, and without control characters.

    A strict draft keeps its control characters and the name of its list.
    """
    warnings = list(draft.warnings)
    todo = draft.todo if draft.strict else _clean_todo(draft.todo, warnings)
    title, rest = _divide(_compose_beginning(_join_lines(todo.title), TITLE_LENGTH + DESCRIPTION_LENGTH))
    description = todo.description
    if rest:
        warnings.append(f"Title is longer than {TITLE_LENGTH} characters: the rest is in the description")
        description = f"{rest}\n\n{description}".rstrip()
    if len(description) > DESCRIPTION_LENGTH:
        description = description.replace("\r\n", "\n")
        if len(description) > DESCRIPTION_LENGTH:
            description = description[:DESCRIPTION_LENGTH]
            warnings.append(f"Description is longer than {DESCRIPTION_LENGTH} characters: the rest was left out")
    fitted = {
        "title": title,
        "description": description,
        "tags": _fit_tags(todo.tags, warnings),
        "steps": _fit_steps(todo.steps, warnings),
        "reminders": _limit("Reminders", todo.reminders, REMINDERS, warnings),
        "recurrence_except": _limit("Exceptions", todo.recurrence_except, RECURRENCE_EXCEPTIONS, warnings),
    }
    named = draft.list if draft.list is None or draft.strict else _fit_list(draft.list, warnings)
    return draft._replace(todo=msgspec.structs.replace(todo, **fitted), list=named, warnings=tuple(warnings))


def fit_lists(found: FileLists) -> FileLists:
    """Return the lists of a file with valid names, as `fit_texts` does."""
    if found.strict:
        return found
    fitted = [each._replace(list=_fit_list(each.list, [])) for each in found.lists]
    return found._replace(lists=[each for each in fitted if each.list.name])


def add_warnings(draft: Draft, issues: Sequence[ValidationIssue], replaced: Iterable[str]) -> Draft:
    """Return a draft with a warning for each field that was left out or replaced.

    Args:
        draft: The draft.
        issues: Why fields, or items of fields, were left out.
        replaced: The times that were in the future.
    """
    warnings = [f"{name} was replaced: it is in the future" for name in sorted(replaced)]
    for pointer, detail in issues:
        name, *path = pointer.removeprefix("/").split("/")
        if path and path[0].isdecimal():
            subject = f"{name.removesuffix('s')} {int(path[0]) + 1} was"
        else:
            subject = f"{name} were" if name.endswith("s") else f"{name} was"
        warnings.append(f"{subject} left out: {detail[:1].lower()}{detail[1:]}")
    return draft._replace(warnings=(*draft.warnings, *warnings)) if warnings else draft


def _clean_todo(todo: TodoImport, warnings: list[str]) -> TodoImport:
    """Return a todo without control characters. Line breaks of every kind become line feeds."""
    texts = [todo.title, todo.description, *todo.tags, *(step.title for step in todo.steps)]
    lines = [_LINE_BREAKS.sub("\n", text) for text in texts]
    cleaned = [drop_controls(text, multiline=True) for text in lines]
    if cleaned == texts:
        return todo
    if cleaned != lines:
        warnings.append("Control characters were left out")
    title, description, *others = cleaned
    tags, titles = others[: len(todo.tags)], others[len(todo.tags) :]
    steps = [msgspec.structs.replace(step, title=text) for step, text in zip(todo.steps, titles, strict=True)]
    return msgspec.structs.replace(todo, title=title, description=description, tags=tags, steps=steps)


def _fit_list(named: TodoListCreate, warnings: list[str]) -> TodoListCreate:
    """Return a list with a valid name. Lists whose names differ only in the part that is cut stay separate."""
    name = drop_controls(compose(_join_lines(_LINE_BREAKS.sub("\n", named.name))))
    if len(name) <= LIST_NAME_LENGTH:
        return msgspec.structs.replace(named, name=name)
    warnings += _name_all(f"List name was cut to {LIST_NAME_LENGTH} characters", [name])
    uid = hash_list_name(name) if named.uid is UNSET else named.uid
    return msgspec.structs.replace(named, name=trim(name[:LIST_NAME_LENGTH]), uid=uid)


def _join_lines(text: str) -> str:
    """Return a text in one line, trimmed."""
    lines = map(trim, re.split(r"[\r\n]", text.replace("\t", " ")))
    return trim(" ".join(line for line in lines if line))


def _compose_beginning(text: str, max_length: int) -> str:
    """Return the beginning of a text in NFC. It is longer than `max_length` if the whole text is.

    Normalizing the whole text would take too long. NFC replaces at most four characters by one, and a run of combining
    marks has at most 30.
    """
    return compose(text[: max_length * UNTRIMMED_FACTOR])


def _divide(title: str) -> tuple[str, str]:
    """Return a title up to the maximum length, and the rest. They are divided between two words if possible."""
    if len(title) <= TITLE_LENGTH:
        return title, ""
    end = title.rfind(" ", _SHORTEST_TITLE, TITLE_LENGTH + 1)
    end = TITLE_LENGTH if end < 0 else end
    return trim(title[:end]), trim(title[end:])


def _limit(name: str, items: list[ItemT], maximum: int, warnings: list[str]) -> list[ItemT]:
    if len(items) > maximum:
        warnings.append(f"{name} beyond the first {maximum} were left out")
    return items[:maximum]


def _name_all(subject: str, names: Iterable[str]) -> Iterator[str]:
    """Yield warnings that together contain all names, each short enough that the report does not cut it.

    Args:
        subject: What the warnings begin with.
        names: The names.
    """
    room = REPORTED_LENGTH - len(subject) - 2
    text = ""
    for name in names:
        for start in range(0, len(name), room):
            part = name[start : start + room]
            if text and len(text) + 2 + len(part) > room:
                yield f"{subject}: {text}"
                text = ""
            text += f", {part}" if text else part
    if text:
        yield f"{subject}: {text}"


def _fit_tags(tags: Sequence[str], warnings: list[str]) -> list[str]:
    fitted: dict[str, None] = {}
    long = []
    for text in map(_join_lines, tags):
        tag = _compose_beginning(text, TAG_LENGTH)
        if len(tag) > TAG_LENGTH:
            long.append(text)
        if tag:
            fitted[trim(tag[:TAG_LENGTH])] = None
    if long:
        warnings += _name_all(f"Tags were cut to {TAG_LENGTH} characters", long)
    distinct = list(fitted)
    if len(distinct) > TAGS:
        warnings += _name_all(f"Tags beyond the first {TAGS} were left out", distinct[TAGS:])
    return distinct[:TAGS]


def _fit_steps(steps: Sequence[StepImport], warnings: list[str]) -> list[StepImport]:
    if len(steps) > STEPS:
        titles = [_join_lines(step.title) for step in steps[STEPS:]]
        warnings += _name_all(f"Steps beyond the first {STEPS} were left out", titles)
    kept = steps[:STEPS]
    titles = [_compose_beginning(_join_lines(step.title), TITLE_LENGTH) for step in kept]
    if any(len(title) > TITLE_LENGTH for title in titles):
        warnings.append(f"Steps have titles of more than {TITLE_LENGTH} characters: the rest was left out")
    return [
        msgspec.structs.replace(step, title=trim(title[:TITLE_LENGTH]))
        for step, title in zip(kept, titles, strict=True)
    ]
