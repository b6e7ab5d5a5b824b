"""Bounds: todos and lists."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Todos and lists")

TITLE_LENGTH: Final = section.declare(
    200, "Length of the title of a todo or a step", enforced_in="todos.validation", response="422", unit="characters"
)
DESCRIPTION_LENGTH: Final = section.declare(
    10_000, "Length of a description", enforced_in="todos.dto", response="422", unit="characters"
)
TAGS: Final = section.declare(20, "Different tags of a todo", enforced_in="todos.validation", response="422")
GIVEN_TAGS: Final = section.declare(
    100, "Tags given for a todo, doubles included", enforced_in="todos.dto", response="422"
)
TAG_LENGTH: Final = section.declare(
    50, "Length of a tag", enforced_in="todos.validation", response="422", unit="characters"
)
STEPS: Final = section.declare(100, "Steps of a todo", enforced_in="todos.dto", response="422")
RECURRENCE_LENGTH: Final = section.declare(
    500, "Length of a recurrence rule", enforced_in="todos.dto", response="422", unit="characters"
)
LIST_NAME_LENGTH: Final = section.declare(
    100, "Length of the name of a list", enforced_in="lists.service", response="422", unit="characters"
)
BATCH_OPERATIONS: Final = section.declare(100, "Operations of a batch", enforced_in="todos.dto", response="422")
RECURRENCE_INTERVAL: Final = section.declare(
    999, "`INTERVAL` of a recurrence rule", enforced_in="todos.recurrence", response="422"
)
RECURRENCE_COUNT: Final = section.declare(
    9999, "`COUNT` of a recurrence rule", enforced_in="todos.recurrence", response="422"
)
RECURRENCE_YEARS: Final = section.declare(
    40,
    "Time that is searched for the next occurrence of a rule, or 40 times its interval where that is longer",
    enforced_in="todos.recurrence",
    response="422; a todo that is completed stays completed",
    unit="years",
)
RULE_THREADS: Final = section.declare(
    1,
    "Recurrence rules worked out at a time, in each process",
    enforced_in="services",
    response="The request waits for its turn.",
)
RULE_QUEUE: Final = section.declare(
    64,
    "Requests that wait for a recurrence rule to be worked out, in each process",
    enforced_in="services",
    response="503 with `Retry-After`",
)
RULE_QUEUE_OF_ACCOUNT: Final = section.declare(
    16,
    "Requests of an account that wait for a recurrence rule to be worked out, in each process",
    enforced_in="services",
    response="503 with `Retry-After`",
)
RULE_SECONDS: Final = section.declare(
    2.0, "Time for a recurrence rule", enforced_in="services", response="503 with `Retry-After`", unit="seconds"
)
MAX_TODOS: Final = section.declare(
    100_000,
    "Todos of an account, deleted ones that are remembered included",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_TODOS",
)
MAX_TAGS: Final = section.declare(
    1000,
    "Different tags that the todos of an account have",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_TAGS",
)
MAX_LISTS: Final = section.declare(
    500,
    "Lists of an account",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_LISTS",
)
PAGE_BYTES: Final = section.declare(
    2**20,
    "Todos of a page, of `changes` too, as they are stored",
    unit="bytes",
    enforced_in="todos.listing",
    response="The page ends early; `next_cursor` or `has_more` leads to the rest.",
)
BATCH_BYTES: Final = section.declare(
    2 * 2**20,
    "Todos in the answer of a batch",
    unit="bytes of JSON",
    enforced_in="todos.controllers",
    response="The operation is carried out; its result has no `todo`.",
)
QUERY_WORDS: Final = section.declare(
    40,
    "Different words of `q`; one that begins another counts as that one",
    enforced_in="todos.query",
    response="422",
)
SORTED_TODOS: Final = section.declare(
    1000,
    "Todos that a list or a search puts in order in memory",
    enforced_in="todos.listing",
    response="They are read in order and filtered one by one.",
)
SORTED_BYTES: Final = section.declare(
    4 * 2**20,
    "Their size, as they are stored",
    unit="bytes",
    enforced_in="todos.listing",
    response="They are read in order and filtered one by one.",
)
DOCUMENT_WAITERS: Final = section.declare(
    1000,
    "Changes of one todo or list that wait for their turn, in each process",
    enforced_in="todos.shared",
    response="503 with `Retry-After`",
)
WRITE_ATTEMPTS: Final = section.declare(
    30,
    "Attempts at a change of a todo, a list or an account that other processes change at the same time",
    enforced_in="store.optimistic",
    response="503 with `Retry-After`",
)
APPLIED_CHANGES: Final = section.declare(
    200,
    "Changes with an `Idempotency-Key` that a todo remembers, for a day: two of the largest batches",
    enforced_in="todos.writes",
    response="A repeat of an older change that had no answer is carried out again.",
)
COUNTED_AT_ONCE: Final = section.declare(
    1000,
    "Changed todos that a summary reads itself; more are counted in the background",
    enforced_in="sync.counting",
    response="The request waits for the result.",
)
COUNTING_SECONDS: Final = section.declare(
    3.0,
    "How long a summary waits for counts that are made in the background",
    unit="s",
    enforced_in="sync.counting",
    response="503 with `Retry-After`; the counting goes on.",
)
COUNTINGS: Final = section.declare(
    100,
    "Accounts that are counted in the background or wait for it (two at a time), in each process",
    enforced_in="sync.counting",
    response="503 with `Retry-After`",
)
FILTERED_TAGS: Final = section.declare(
    20, "Tags, and priorities, that a list is filtered by", enforced_in="todos.dto", response="422"
)
