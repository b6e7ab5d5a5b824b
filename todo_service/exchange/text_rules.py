"""Texts of imported todos that the service cannot keep as they are.

Readers yield texts unchanged. This module shortens texts that are too long, so that the todo can be imported, and adds
a warning that describes the loss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from todo_service.bounds.todos import DESCRIPTION_LENGTH, TAG_LENGTH, TAGS, TITLE_LENGTH
from todo_service.exchange.formats.base import Draft
from todo_service.text import compose, trim
from todo_service.todos.dto import StepCreate

_SHORTEST_TITLE: Final = TITLE_LENGTH * 3 // 4
"""Where a long title may be divided, at the earliest."""


def fit_texts(draft: Draft) -> Draft:
    """Return a draft whose title, description, tags and steps are no longer than the service allows."""
    todo, warnings = draft.todo, list(draft.warnings)
    title, rest = _divide(_fold(todo.title))
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
    }
    return draft._replace(todo=msgspec.structs.replace(todo, **fitted), warnings=tuple(warnings))


def _fold(text: str) -> str:
    """Return a text in one line, trimmed and in NFC."""
    lines = map(trim, re.split(r"[\r\n]", text.replace("\t", " ")))
    return compose(trim(" ".join(line for line in lines if line)))


def _divide(title: str) -> tuple[str, str]:
    """Return a title up to the maximum length, and the rest. They are divided between two words if possible."""
    if len(title) <= TITLE_LENGTH:
        return title, ""
    end = title.rfind(" ", _SHORTEST_TITLE, TITLE_LENGTH + 1)
    end = TITLE_LENGTH if end < 0 else end
    return trim(title[:end]), trim(title[end:])


def _fit_tags(tags: Sequence[str], warnings: list[str]) -> list[str]:
    fitted: dict[str, None] = {}
    long = []
    for tag in map(_fold, tags):
        if len(tag) > TAG_LENGTH:
            long.append(tag)
        if tag:
            fitted[trim(tag[:TAG_LENGTH])] = None
    if long:
        warnings.append(f"Tags were cut to {TAG_LENGTH} characters: {', '.join(long)}")
    distinct = list(fitted)
    if len(distinct) > TAGS:
        warnings.append(f"Tags beyond the first {TAGS} were left out: {', '.join(distinct[TAGS:])}")
    return distinct[:TAGS]


def _fit_steps(steps: Sequence[StepCreate], warnings: list[str]) -> list[StepCreate]:
    fitted = [msgspec.structs.replace(step, title=_fold(step.title)) for step in steps]
    if any(len(step.title) > TITLE_LENGTH for step in fitted):
        warnings.append(f"Steps have titles of more than {TITLE_LENGTH} characters: the rest was left out")
    return [msgspec.structs.replace(step, title=trim(step.title[:TITLE_LENGTH])) for step in fitted]
