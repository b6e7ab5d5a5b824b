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

CONCURRENT_REQUESTS: Final = _requests.declare(
    32,
    "Requests of one account served at a time, in each process; without an account, of one address",
    enforced_in="web.concurrency",
    response="The request waits for its turn.",
)
WAITING_REQUESTS: Final = _requests.declare(
    512,
    "Requests of one account that wait for their turn, in each process; without an account, of one address",
    enforced_in="web.concurrency",
    response="429 with `Retry-After`",
)
WAITING_SECONDS: Final = _requests.declare(
    3.0,
    "How long a request waits for its turn",
    unit="seconds",
    enforced_in="web.concurrency",
    response="429 with `Retry-After`",
)
SMALL_BODY_BYTES: Final = _requests.declare(
    16 * 1024,
    "Size of a form, and of a body that is about accounts, sessions or API keys",
    unit="bytes",
    enforced_in="app",
    response="413",
)
COUNTER_WINDOWS: Final = _requests.declare(
    50_000,
    "Rate limit windows remembered, in each process",
    enforced_in="web.counters",
    response="The window with the smallest count among eight is forgotten.",
)
COUNTER_LEASES: Final = _requests.declare(
    20_000,
    "Rate limit leases of MongoDB's counts remembered, in each process",
    enforced_in="web.counters",
    response="The oldest lease is forgotten; what was left of it counts as used.",
)
SHARED_COUNTER_CALLS: Final = _requests.declare(
    500,
    "Calls to the rate limits that MongoDB counts, a second in each process",
    enforced_in="web.counters",
    response="The process counts by itself.",
)
READINESS_SECONDS: Final = _requests.declare(
    1.0,
    "How long all callers of `/health/ready` share one answer of the document store",
    unit="seconds",
    enforced_in="web.operations",
    response="The shared answer.",
)
REFUSALS_LOGGED: Final = _requests.declare(
    10,
    "Log lines about refused and unmetered requests of one address, in 10 seconds",
    enforced_in="web.log_limit",
    response="One line says how many were left out.",
)
ALL_REFUSALS_LOGGED: Final = _requests.declare(
    1000,
    "Log lines about refused and unmetered requests of all addresses, in 10 seconds",
    enforced_in="web.log_limit",
    response="One line says how many were left out.",
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

ADDRESS_FACTOR: Final = _accounts.declare(
    5,
    "Wrong passwords from one address for all accounts, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="web.limits",
    response="429 with `Retry-After`",
)
ACCOUNT_FACTOR: Final = _accounts.declare(
    10,
    "Wrong passwords for one account from all addresses before it is under attack, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="web.limits",
    response="The next bound applies.",
)
ATTACKED_ATTEMPTS: Final = _accounts.declare(
    2,
    "Wrong passwords from one address for an account that is under attack, in 15 periods of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="web.limits",
    response="429 with `Retry-After`",
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
