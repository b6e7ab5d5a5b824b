"""Generate the tables of `docs/limits.md` from `todo_service.bounds`: `pdm run limits-page`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final, NamedTuple

import limits

from todo_service.bounds import (
    accounts,
    connections,
    events,
    exchange,
    reminders,
    requests,
    store,
    texts,
    todos,
    webhooks,
)
from todo_service.todos.writes import TOMBSTONE_LIFETIME
from todo_service.variables import VARIABLES

PAGE = Path(__file__).parent.parent / "docs" / "limits.md"
START, END = "<!-- limits -->\n", "<!-- /limits -->"
SECTIONS = [
    module.section
    for module in (connections, requests, texts, accounts, todos, reminders, events, webhooks, exchange, store)
]
"""All sections, in the order of the page."""
DISK_START, DISK_END = "<!-- disk space -->\n", "<!-- /disk space -->"
TODO_BYTES: Final = 2**20
"""Disk space of the largest todo with its index entries, which `tests/todos/test_disk_space.py` measures."""
DELIVERY_BYTES: Final = 2**18
"""Disk space of the delivery of the largest todo, whose texts are escaped in JSON."""
_FIRING_BYTES: Final = 1024
_OTHER_BYTES: Final = 4096
_TOMBSTONE_BYTES: Final = 1024
"""The size of each document of another kind."""
_SWEEP_LIFETIME: Final = timedelta(hours=25)
"""How long sweeps of lists, and tombstones of API keys and webhooks, are kept."""


class DiskSpace(NamedTuple):
    """The disk space of one kind of document of an account.

    Attributes:
        documents: What the documents are.
        number: The maximum number of documents.
        size: The maximum size of each with its index entries, in bytes.
    """

    documents: str
    number: int
    size: int

    @property
    def total(self) -> int:
        """The size of all of them, in bytes."""
        return self.number * self.size


def list_disk_space() -> list[DiskSpace]:
    """Return the disk space that one account can take, by kind of document."""
    others = todos.MAX_LISTS + accounts.MAX_SESSIONS + accounts.MAX_API_KEYS + webhooks.MAX_WEBHOOKS
    return [
        DiskSpace("Todos, including tombstones", todos.MAX_TODOS, TODO_BYTES),
        DiskSpace(
            "Deliveries of webhooks",
            webhooks.MAX_WEBHOOKS * (webhooks.STORED_DELIVERIES + webhooks.REQUESTED_DELIVERIES),
            DELIVERY_BYTES,
        ),
        DiskSpace("Due dates and reminders that have fired", reminders.FIRINGS, _FIRING_BYTES),
        DiskSpace("Lists, sessions, API keys and webhooks", others, _OTHER_BYTES),
        DiskSpace("Tombstones of lists, kept for 31 days", count_requests(TOMBSTONE_LIFETIME), _TOMBSTONE_BYTES),
        DiskSpace(
            "Records of the sweeps of deleted lists, and tombstones of API keys and webhooks, kept for 25 hours",
            count_requests(_SWEEP_LIFETIME),
            _TOMBSTONE_BYTES,
        ),
        DiskSpace(
            "Records and stored responses of requests with an `Idempotency-Key`", 1, requests.STORED_RESPONSES_BYTES
        ),
        DiskSpace("Counts of todos", 1, store.DOCUMENT_BYTES),
    ]


def count_requests(period: timedelta) -> int:
    """Return how many requests the rate limit of an account allows in a period: each can delete one document."""
    [default] = [variable.default for variable in VARIABLES if variable.name == "RATE_LIMIT_API"]
    rate = limits.parse(default or "")
    return int(rate.amount * period.total_seconds() // rate.get_expiry())


def render(page: str) -> str:
    """Return the page with its tables replaced."""
    for start, table, end in ((START, render_tables(), END), (DISK_START, render_disk_space(), DISK_END)):
        before, _, rest = page.partition(start)
        page = f"{before}{start}{table}\n{end}{rest.partition(end)[2]}"
    return page


def render_disk_space() -> str:
    """Return the table of the disk space of an account, in Markdown."""
    rows = list_disk_space()
    return "\n".join(
        [
            "| documents | number | size of each | disk space |",
            "|---|---|---|---|",
            *(
                f"| {each.documents} | {_group(each.number)} | {_group(each.size)} bytes | {_in_mib(each.total)} |"
                for each in rows
            ),
            f"| Total | | | {_in_mib(sum(each.total for each in rows))} |",
        ]
    )


def _in_mib(size: int) -> str:
    return f"{_group(-(-size // 2**20))} MiB"


def _group(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def render_tables() -> str:
    """Return the tables, in Markdown."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += [
            f"### {section.title}",
            "",
            "| quantity | limit | setting | enforced in | when exceeded |",
            "|---|---|---|---|---|",
        ]
        for bound in section.bounds:
            number = f"{bound.value:,} {bound.unit}".replace(",", " ").strip()
            setting = f"`{bound.setting}`" if bound.setting else ""
            lines.append(f"| {bound.subject} | {number} | {setting} | `{bound.enforced_in}` | {bound.response} |")
        lines.append("")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
