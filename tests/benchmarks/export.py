"""The throughput of exports."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from tests.benchmarks.accounts import Account, UnexpectedResponse
from tests.benchmarks.bulk import load_todos
from tests.benchmarks.contestants import Running
from tests.benchmarks.results import Export

_PATH: Final = "/v1/todos/export?format=json"


class _Archive(msgspec.Struct):
    todos: list[msgspec.Raw]


class Exporter:
    """An account whose todos are exported.

    Args:
        running: The service.
        count: The number of todos to create.
    """

    def __init__(self, running: Running, count: int) -> None:
        self._account = Account(running.url, "exporter")
        owner = self._account.ask("GET", "/v1/users/me", 200).json()["id"]
        load_todos(running.store_url, owner, count, f"{running.contestant.title}: {count} todos to export")
        response = self._account.ask("GET", _PATH, 200)
        exported = len(msgspec.json.decode(response.content, type=_Archive).todos)
        if exported != count:
            raise UnexpectedResponse(f"{exported} todos were exported of {count}")
        self.export = Export(count, len(response.content) / 1e6)

    def take(self) -> None:
        """Export once, and record the duration."""
        since = time.perf_counter()
        size = self._account.measure_size(_PATH)
        seconds = time.perf_counter() - since
        if size != round(self.export.megabytes * 1e6):
            raise UnexpectedResponse(f"{size} bytes were exported, not {round(self.export.megabytes * 1e6)}")
        self.export.seconds.append(seconds)
