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

_imports = Section("Import and export")

_store = Section("Document store")

DOCUMENT_BYTES: Final = _store.declare(
    8 * 2**20,
    "A document that is inserted, or changed by more than 16 KiB at once",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="500: no input of a client is allowed to make one",
)
LOADED_DOCUMENT_BYTES: Final = _store.declare(
    9 * 2**20,
    "A document that is copied or restored",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="`copy` refuses it.",
)
INDEXED_ELEMENTS: Final = _store.declare(
    20_000,
    "Elements of a list that is indexed",
    enforced_in="store.capacity",
    response="500: no input of a client is allowed to make one",
)
INLINE_SECONDS: Final = _store.declare(
    0.004,
    "How long a read may go on on the event loop, until it goes on in a thread",
    unit="s",
    enforced_in="store.scans",
    response="The request waits for a thread.",
)
SCAN_THREADS: Final = _store.declare(
    2,
    "Threads for reads that take longer, in each process",
    enforced_in="store.scans",
    response="The request waits for its turn.",
)
SCAN_QUEUE: Final = _store.declare(
    64,
    "Such reads that run or wait, in each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCANS_PER_ACCOUNT: Final = _store.declare(
    16,
    "Such reads of one account that run (one at a time) or wait, in each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCAN_SECONDS: Final = _store.declare(
    10.0,
    "How long such a read may go on, where the answer's deadline does not end it before",
    unit="s",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
WRITE_SECONDS: Final = _store.declare(
    0.05,
    "How long operations of one transaction, or documents of one call, are written before others get their turn "
    "(embedded store)",
    unit="s",
    enforced_in="store.writer",
    response="The rest is written next.",
)
BACKUP_LINE_BYTES: Final = _store.declare(
    64 * 2**20,
    "A document in a backup, as JSON",
    unit="bytes",
    enforced_in="store.backup",
    response="`copy` refuses the backup.",
)
BACKUP_BLOCK_BYTES: Final = _store.declare(
    4 * 2**20,
    "A block of a backup, but for its last document",
    unit="bytes",
    enforced_in="store.backup",
    response="`copy` refuses the backup.",
)
BACKUP_VALUES: Final = _store.declare(
    2**20,
    "Values within one document of a backup",
    enforced_in="store.backup",
    response="`copy` refuses the backup.",
)

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
