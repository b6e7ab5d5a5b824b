"""Bounds: text."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Text")

COMBINING_MARKS: Final = section.declare(
    30, "Combining marks in a row (UAX 15, Stream-Safe Text Format)", enforced_in="text", response="422"
)
UNTRIMMED_FACTOR: Final = section.declare(
    5,
    "How many times its limit a text may be long before white space at its ends is cut off",
    enforced_in="fields",
    response="422",
    unit="times",
)
TIMESTAMP_LENGTH: Final = section.declare(
    64, "Length of a time", enforced_in="timestamps", response="422", unit="characters"
)
TIME_ZONE_LENGTH: Final = section.declare(
    64, "Length of the name of a time zone", enforced_in="fields", response="422", unit="characters"
)
SEARCHED_WORDS: Final = section.declare(
    1_000,
    "Different words of a todo that `q` searches: of the title, the description and the steps, in this order",
    enforced_in="todos.words",
    response="The words beyond it are stored, and not found by `q`.",
    unit="words",
)
SEARCHED_WORD_LENGTH: Final = section.declare(
    64,
    "Length to which `q` compares a word",
    enforced_in="todos.words",
    response="The rest of the word is not compared.",
    unit="characters",
)
FOLDED_FACTOR: Final = section.declare(
    3,
    "Times its own length to which a text may grow for searching and sorting, with its ligatures written out",
    enforced_in="todos.words",
    response="The rest is not searched.",
    unit="times",
)
FOLDED_EXTRA: Final = section.declare(
    64,
    "Characters by which it may grow further",
    enforced_in="todos.words",
    response="The rest is not searched.",
    unit="characters",
)
QUERY_LENGTH: Final = section.declare(200, "Length of `q`", enforced_in="todos.dto", response="422", unit="characters")
