"""Requests that write documents, from concurrent writers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import httpx

from tests.people import Person


class Write(NamedTuple):
    """A request that writes documents.

    Attributes:
        path: The path.
        body: The body.
        number: How many documents it writes.
    """

    path: str
    body: Any
    number: int = 1


async def write_some(writers: Sequence[Person], writes: Iterable[Write]) -> int:
    """Send requests from concurrent writers, and return how many documents they wrote."""
    left = list(reversed(list(writes)))

    async def run(writer: Person) -> int:
        written = 0
        while left:
            write = left.pop()
            response = await writer.post(write.path, json=write.body)
            assert response.status_code in (200, 201, 409), response.text
            written += count_written(response)
        return written

    return sum(await asyncio.gather(*map(run, writers)))


async def write_all(writers: Sequence[Person], writes: Iterable[Write]) -> None:
    """Send requests from concurrent writers, each of which must write all of its documents."""
    left = list(reversed(list(writes)))

    async def run(writer: Person) -> None:
        while left:
            write = left.pop()
            response = await writer.post(write.path, json=write.body)
            assert count_written(response) == write.number, response.text

    await asyncio.gather(*map(run, writers))


def count_written(response: httpx.Response) -> int:
    """Return how many documents a response says were written."""
    body = response.json()
    if response.request.url.path.endswith("/batch"):
        return sum(result["status"] == 201 for result in body["results"]) if "results" in body else 0
    if response.request.url.path.endswith("/import"):
        return int(body.get("imported", 0))
    return int(response.status_code == 201)


def build_todos(number: int) -> list[Write]:
    return [Write("/v1/todos", {"title": str(each)}) for each in range(number)]


def build_lists(number: int) -> list[Write]:
    return [Write("/v1/lists", {"name": str(each)}) for each in range(number)]


def build_tagged(number: int) -> list[Write]:
    """Return todos of three new tags each, with `number` tags in total."""
    tags = [f"tag {each}" for each in range(number)]
    return [Write("/v1/todos", {"title": "x", "tags": tags[each : each + 3]}) for each in range(0, number, 3)]


def build_batches(todos: list[Write], size: int) -> list[Write]:
    """Return batches that create todos."""
    batches = [todos[start : start + size] for start in range(0, len(todos), size)]
    return [
        Write("/v1/todos/batch", {"operations": [{"op": "create", "todo": each.body} for each in batch]}, len(batch))
        for batch in batches
    ]


def build_imports(todos: list[Write], size: int) -> list[Write]:
    """Return imports that create todos."""
    parts = [todos[start : start + size] for start in range(0, len(todos), size)]
    return [Write("/v1/todos/import", [each.body for each in part], len(part)) for part in parts]
