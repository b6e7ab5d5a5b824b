"""Limits of text."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Text")

COMBINING_MARKS: Final = section.declare(
    30, "Length of a run of combining marks (UAX 15, Stream-Safe Text Format)", enforced_in="text", response="422"
)
UNTRIMMED_FACTOR: Final = section.declare(
    5,
    "Length of a text before it is trimmed and normalized, as a multiple of its limit",
    enforced_in="api_types",
    response="422",
    unit="times",
)
TIMESTAMP_LENGTH: Final = section.declare(
    64, "Length of a timestamp or a date", enforced_in="timestamps", response="422", unit="characters"
)
TIME_ZONE_LENGTH: Final = section.declare(
    64, "Length of a time zone name", enforced_in="api_types", response="422", unit="characters"
)
SEARCHED_WORDS: Final = section.declare(
    1_000,
    "Distinct words of a todo that `q` searches: first of the title, then of the description, then of the steps. In "
    "scripts without spaces, each character begins a word.",
    enforced_in="todos.words",
    response="Further words are stored but not searchable.",
    unit="words",
)
SEARCHED_WORD_LENGTH: Final = section.declare(
    64,
    "Length of the prefix of a word that `q` compares",
    enforced_in="todos.words",
    response="The rest of the word is ignored.",
    unit="characters",
)
UNSPACED_WORD_LENGTH: Final = section.declare(
    8,
    "Length of the piece of a text that `q` compares in scripts without spaces, such as Chinese and Thai",
    enforced_in="todos.words",
    response="A longer `q` is compared piece by piece.",
    unit="characters",
)
FOLDED_FACTOR: Final = section.declare(
    3,
    "Length of a text after case folding and decomposition, as a multiple of its original length",
    enforced_in="todos.words",
    response="The rest is not searchable.",
    unit="times",
)
FOLDED_EXTRA: Final = section.declare(
    64,
    "Additional length of such a text",
    enforced_in="todos.words",
    response="The rest is not searchable.",
    unit="characters",
)
QUERY_LENGTH: Final = section.declare(200, "Length of `q`", enforced_in="todos.dto", response="422", unit="characters")
