"""Limits of todos and lists."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Todos and lists")

TITLE_LENGTH: Final = section.declare(
    200, "Length of the title of a todo or a step", enforced_in="todos.validation", response="422", unit="characters"
)
DESCRIPTION_LENGTH: Final = section.declare(
    10_000, "Length of a description", enforced_in="todos.field_types", response="422", unit="characters"
)
TAGS: Final = section.declare(20, "Distinct tags of a todo", enforced_in="todos.validation", response="422")
GIVEN_TAGS: Final = section.declare(
    100, "Tags in a request for a todo, including duplicates", enforced_in="todos.field_types", response="422"
)
TAG_LENGTH: Final = section.declare(
    50, "Length of a tag", enforced_in="todos.validation", response="422", unit="characters"
)
STEPS: Final = section.declare(100, "Steps of a todo", enforced_in="todos.dto", response="422")
REMINDERS: Final = section.declare(5, "Reminders of a todo", enforced_in="todos.reminders", response="422")
REMINDER_MINUTES: Final = section.declare(
    525_600, "Minutes by which a reminder precedes the due date", enforced_in="todos.reminder_types", response="422"
)
RECURRENCE_LENGTH: Final = section.declare(
    500, "Length of a recurrence rule", enforced_in="todos.field_types", response="422", unit="characters"
)
LIST_NAME_LENGTH: Final = section.declare(
    100, "Length of the name of a list", enforced_in="lists.fields", response="422", unit="characters"
)
UID_LENGTH: Final = section.declare(
    255, "Length of the uid of a todo or a list", enforced_in="todos.uids", response="422", unit="characters"
)
BATCH_OPERATIONS: Final = section.declare(100, "Operations of a batch", enforced_in="todos.batch_dto", response="422")
RECURRENCE_INTERVAL: Final = section.declare(
    999, "`INTERVAL` of a recurrence rule", enforced_in="todos.recurrence_rule", response="422"
)
RECURRENCE_COUNT: Final = section.declare(
    9999, "`COUNT` of a recurrence rule", enforced_in="todos.recurrence_rule", response="422"
)
RECURRENCE_EXCEPTIONS: Final = section.declare(
    100,
    "Dates and times at which a recurring todo does not occur",
    enforced_in="todos.field_types",
    response="422",
)
COMPLETIONS: Final = section.declare(
    100,
    "Completions of a recurring todo that are kept",
    enforced_in="todos.completion",
    response="The oldest is dropped.",
)
RULE_THREADS: Final = section.declare(
    1,
    "Concurrent evaluations of recurrence rules, for each process",
    enforced_in="services",
    response="The request waits.",
)
RULE_QUEUE: Final = section.declare(
    64,
    "Waiting evaluations of recurrence rules, for each process",
    enforced_in="services",
    response="503 with `Retry-After`",
)
RULE_QUEUE_OF_ACCOUNT: Final = section.declare(
    16,
    "Waiting evaluations of recurrence rules of an account, for each process",
    enforced_in="services",
    response="503 with `Retry-After`",
)
RULE_SECONDS: Final = section.declare(
    2.0, "Time to evaluate a recurrence rule", enforced_in="services", response="503 with `Retry-After`", unit="s"
)
MAX_TODOS: Final = section.declare(
    100_000,
    "Todos of an account, including tombstones",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`. Each process may exceed a limit of 2000 or more by 0.05 %.",
    setting="MAX_TODOS",
)
MAX_TAGS: Final = section.declare(
    1000,
    "Distinct tags of an account",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`. One race can exceed the limit: a process removes a tag and adds a new one in its "
    "place, while another process adds the removed tag to a todo.",
    setting="MAX_TAGS",
)
MAX_LISTS: Final = section.declare(
    500,
    "Lists of an account, without tombstones",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`. Each process may exceed a limit of 2000 or more by 0.05 %.",
    setting="MAX_LISTS",
)
PAGE_BYTES: Final = section.declare(
    2**20,
    "Stored size of the todos on a page, also of `changes`",
    unit="bytes",
    enforced_in="todos.listing",
    response="The page is shorter; `next_cursor` or `has_more` indicates the rest.",
)
BATCH_BYTES: Final = section.declare(
    2 * 2**20,
    "Size of the todos in the response to a batch",
    unit="bytes of JSON",
    enforced_in="todos.controllers",
    response="The operation is executed; its result has no `todo`.",
)
QUERY_WORDS: Final = section.declare(
    40,
    "Distinct words of `q`, not counting those that are a prefix of another",
    enforced_in="todos.query",
    response="422",
)
SORTED_TODOS: Final = section.declare(
    1000,
    "Todos that a list or a search sorts in memory, as counted at most 10 s earlier",
    enforced_in="todos.selectivity",
    response="Todos are read in index order and filtered one by one.",
)
DOCUMENT_WAITERS: Final = section.declare(
    1000,
    "Waiting changes of a todo or a list, and waiting writes near a quota of an account, for each process",
    enforced_in="todos.shared",
    response="503 with `Retry-After`",
)
LEASE_WAIT_SECONDS: Final = section.declare(
    12.0,
    "Time that a move waits for moves by other processes in the same account, or that a write near a quota waits for "
    "writes by other processes near the same quota",
    unit="s",
    enforced_in="todos.account_lease",
    response="503 with `Retry-After`",
)
WRITE_ATTEMPTS: Final = section.declare(
    30,
    "Attempts to change a todo, a list or an account that other processes change concurrently",
    enforced_in="store.optimistic",
    response="503 with `Retry-After`",
)
APPLIED_CHANGES: Final = section.declare(
    200,
    "Changes with an `Idempotency-Key` that a todo, a list, an account (for its password) or a webhook delivery "
    "records for a day; two batches of maximum size",
    enforced_in="applied_changes",
    response="A repeat of an older change whose response was lost has no second effect, but gets a 410.",
)
COUNTED_AT_ONCE: Final = section.declare(
    1000,
    "Changed todos that a summary counts itself; more are counted in the background",
    enforced_in="sync.counting",
    response="The request waits for the background count.",
)
COUNTING_SECONDS: Final = section.declare(
    3.0,
    "Time that a summary waits for a background count",
    unit="s",
    enforced_in="sync.counting",
    response="503 with `Retry-After`; the count continues",
)
COUNTINGS: Final = section.declare(
    100,
    "Running and waiting background counts (two run at a time), for each process",
    enforced_in="sync.counting",
    response="503 with `Retry-After`",
)
FILTERED_TAGS: Final = section.declare(
    20, "Tags, and priorities, in the filters of a list", enforced_in="todos.dto", response="422"
)
