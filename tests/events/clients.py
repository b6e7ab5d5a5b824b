"""Clients of event streams, with the library httpx-sse."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from httpx_sse import EventSource, ServerSentEvent

from tests.people import Person
from tests.serving import START_SECONDS

EVENTS: Final = "/v1/events"


class EventReader:
    """Reads the events of one stream.

    Attributes:
        last_id: The id of the last event.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id = ""
        self._events = EventSource(response).aiter_sse()

    async def read(self) -> ServerSentEvent:
        """Return the next event."""
        async with asyncio.timeout(START_SECONDS):
            event = await anext(self._events)
        self.last_id = event.id
        return event

    async def read_until(self, name: str) -> list[tuple[str, Any]]:
        """Return the names and the data of the events up to the first one with a name, without that one."""
        found: list[tuple[str, Any]] = []
        while (event := await self.read()).event != name:
            found.append((event.event, json.loads(event.data)))
        return found

    async def read_to_end(self) -> list[str]:
        """Return the names of all further events, once the stream has ended."""
        async with asyncio.timeout(START_SECONDS):
            return [event.event async for event in self._events]


@asynccontextmanager
async def streaming(person: Person, last_id: str = "", **parameters: str) -> AsyncIterator[EventReader]:
    """Open an event stream of a user until the block ends."""
    headers = {"Authorization": f"Bearer {person.access_token}"} if "ticket" not in parameters else {}
    if last_id:
        headers["Last-Event-ID"] = last_id
    async with person.client.stream("GET", EVENTS, params=parameters, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield EventReader(response)


class LiveReplica:
    """A replica of an account that follows event streams, each of which resumes after the last event of the one before.

    Attributes:
        todos: The todos by id.
        lists: The lists by id.
        last_id: The id of the last event.
    """

    def __init__(self, since: str) -> None:
        self.todos: dict[str, Any] = {}
        self.lists: dict[str, Any] = {}
        self.last_id = since

    async def follow(self, reader: EventReader) -> str:
        """Apply the next event, and return its name."""
        event = await reader.read()
        data = event.json()
        match event.event:
            case "todo":
                self.todos[data["id"]] = data
            case "list":
                self.lists[data["id"]] = data
            case "todo-deleted":
                self.todos.pop(data["id"], None)
            case "list-deleted":
                self.lists.pop(data["id"], None)
        self.last_id = event.id
        return event.event
