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

CANONICAL_JSON_BYTES: Final = _requests.declare(
    256 * 1024,
    "JSON bodies that are compared by value with an `Idempotency-Key`; larger ones are compared byte by byte",
    enforced_in="web.fingerprints",
    response="A repeat whose bytes differ is another request: 422.",
    unit="bytes",
)
LEASE_SECONDS: Final = _requests.declare(
    8.0,
    "How long a request with an `Idempotency-Key` blocks its key after its process has died",
    enforced_in="web.leases",
    response="409 with `Retry-After`",
    unit="s",
)
IDEMPOTENCY_SECONDS: Final = _requests.declare(
    24 * 60 * 60,
    "How long the answer to a request with an `Idempotency-Key` is kept",
    enforced_in="web.idempotency",
    response="The request is carried out again.",
    unit="s",
)

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

MAX_API_KEYS: Final = _accounts.declare(
    100,
    "API keys of an account",
    enforced_in="accounts.api_keys",
    response="403",
)
MAX_SESSIONS: Final = _accounts.declare(
    100,
    "Sessions of an account",
    enforced_in="accounts.sessions",
    response="The account's oldest session ends.",
)
ACCOUNT_CHANGES_WAITING: Final = _accounts.declare(
    200,
    "Changes of one account that wait for their turn, in each process",
    enforced_in="accounts.service",
    response="503 with `Retry-After`",
)

_todos = Section("Todos and lists")

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
