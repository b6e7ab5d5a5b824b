"""Every bound on what a client can make the service do, declared once.

A bound is a module-level constant that other modules import, and a row of the table in `docs/limits.md`. Declaring both
in one place keeps the page true: a number cannot change in the code without changing on the page.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

NumberT = TypeVar("NumberT", int, float)


class Bound(NamedTuple):
    """One row of the table.

    Attributes:
        subject: What is bounded.
        value: The number.
        unit: The unit of the number, such as `bytes`; empty for a plain count.
        enforced_in: The module that enforces the bound, relative to the package, such as `accounts.passwords`.
        response: What a client that exceeds the bound gets.
        setting: The environment variable that changes the number, or None where it is fixed.
    """

    subject: str
    value: int | float
    unit: str
    enforced_in: str
    response: str
    setting: str | None


class Section:
    """A group of bounds that share a heading in the table.

    Args:
        title: The heading.

    Attributes:
        bounds: The bounds declared so far, in order.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bounds: list[Bound] = []

    def declare(
        self,
        value: NumberT,
        subject: str,
        *,
        enforced_in: str,
        response: str,
        unit: str = "",
        setting: str | None = None,
    ) -> NumberT:
        """Add a row, and return its number to be bound to a constant. See `Bound` for the arguments."""
        self.bounds.append(Bound(subject, value, unit, enforced_in, response, setting))
        return value


_connections = Section("Connections")

_requests = Section("Requests")

_text = Section("Text")

_accounts = Section("Accounts and sessions")

PASSWORD_THREADS: Final = _accounts.declare(
    2,
    "Passwords hashed at a time, in each process",
    enforced_in="accounts.passwords",
    response="The request waits for its turn.",
)
PASSWORD_QUEUE: Final = _accounts.declare(
    64,
    "Requests that wait for a password to be hashed, in each process",
    enforced_in="accounts.passwords",
    response="503 with `Retry-After`",
)

_todos = Section("Todos and lists")

MAX_TODOS: Final = _todos.declare(
    100_000,
    "Todos of an account, deleted ones that are remembered included",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_TODOS",
)
MAX_TAGS: Final = _todos.declare(
    1000,
    "Different tags that the todos of an account have",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_TAGS",
)
MAX_LISTS: Final = _todos.declare(
    500,
    "Lists of an account",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_LISTS",
)
PAGE_BYTES: Final = _todos.declare(
    2**20,
    "Todos of a page, of `changes` too, as they are stored",
    unit="bytes",
    enforced_in="todos.listing",
    response="The page ends early; `next_cursor` or `has_more` leads to the rest.",
)
BATCH_BYTES: Final = _todos.declare(
    2 * 2**20,
    "Todos in the answer of a batch",
    unit="bytes of JSON",
    enforced_in="todos.controllers",
    response="The operation is carried out; its result has no `todo`.",
)
QUERY_WORDS: Final = _todos.declare(
    40,
    "Different words of `q`; one that begins another counts as that one",
    enforced_in="todos.query",
    response="422",
)
SORTED_TODOS: Final = _todos.declare(
    1000,
    "Todos that a list or a search puts in order in memory",
    enforced_in="todos.listing",
    response="They are read in order and filtered one by one.",
)
SORTED_BYTES: Final = _todos.declare(
    4 * 2**20,
    "Their size, as they are stored",
    unit="bytes",
    enforced_in="todos.listing",
    response="They are read in order and filtered one by one.",
)
DOCUMENT_WAITERS: Final = _todos.declare(
    1000,
    "Changes of one todo or list that wait for their turn, in each process",
    enforced_in="todos.shared",
    response="503 with `Retry-After`",
)
WRITE_ATTEMPTS: Final = _todos.declare(
    30,
    "Attempts at a change of a todo or a list that other processes change at the same time",
    enforced_in="optimistic",
    response="503 with `Retry-After`",
)
APPLIED_CHANGES: Final = _todos.declare(
    200,
    "Changes with an `Idempotency-Key` that a todo remembers, for a day: two of the largest batches",
    enforced_in="todos.service",
    response="A repeat of an older change that had no answer is carried out again.",
)
COUNTED_AT_ONCE: Final = _todos.declare(
    1000,
    "Changed todos that a summary reads itself; more are counted in the background",
    enforced_in="todos.counting",
    response="The request waits for the result.",
)
COUNTING_SECONDS: Final = _todos.declare(
    3.0,
    "How long a summary waits for counts that are made in the background",
    unit="s",
    enforced_in="todos.counting",
    response="503 with `Retry-After`; the counting goes on.",
)
COUNTINGS: Final = _todos.declare(
    100,
    "Accounts that are counted in the background or wait for it (two at a time), in each process",
    enforced_in="todos.counting",
    response="503 with `Retry-After`",
)

_imports = Section("Import and export")

_store = Section("Document store")

SECTIONS: Final = (_connections, _requests, _text, _accounts, _todos, _imports, _store)
"""Every section, in the order of the page."""


def limits_table() -> str:
    """Return the table of `docs/limits.md`, in Markdown."""
    lines: list[str] = []
    for section in SECTIONS:
        if not section.bounds:
            continue
        lines += [
            f"### {section.title}",
            "",
            "| what | limit | setting | enforced in | beyond it |",
            "|---|---|---|---|---|",
        ]
        for bound in section.bounds:
            number = f"{bound.value:,} {bound.unit}".replace(",", " ").strip()
            setting = f"`{bound.setting}`" if bound.setting else ""
            lines.append(f"| {bound.subject} | {number} | {setting} | `{bound.enforced_in}` | {bound.response} |")
        lines.append("")
    return "\n".join(lines).strip()
