"""A receiver of webhooks, on a loopback port."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from tests.waiting import wait_until


class Received(NamedTuple):
    """A request that a receiver got.

    Attributes:
        target: The path and the query.
        headers: The headers, with names in lower case.
        body: The body.
    """

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id of the delivery."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The decoded body."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    def verify(self, secret: str) -> None:
        """Verify the signature with the library of Standard Webhooks."""
        Webhook(secret).verify(self.body, self.headers)


Answer = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]
"""Answers a request."""


def status(code: int, *headers: str) -> Answer:
    """Return an answer with a status code and further headers."""

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} Status", "Content-Length: 0", "Connection: close", *headers]
        writer.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())

    return answer


class Receiver:
    """A receiver.

    Attributes:
        received: The requests, in order.
        answer: Answers the next requests.
        url: Its URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Received] = []
        self.answer: Answer = status(204)
        self._tasks: set[asyncio.Task[None]] = set()

    def list_events(self) -> list[tuple[str, Any]]:
        """Return the types of the events, each with its data."""
        return [(each.event["type"], each.event["data"]) for each in self.received]

    async def await_events(self, count: int) -> list[Received]:
        """Wait until there are this many requests, and return them."""

        async def has_enough() -> bool:
            return len(self.received) >= count

        await wait_until(has_enough)
        return self.received

    async def await_types(self, *types: str) -> list[Received]:
        """Wait until there is an event of each type, and return all requests."""

        async def has_all() -> bool:
            return set(types) <= {each.event["type"] for each in self.received}

        await wait_until(has_all)
        return self.received

    async def await_todos(self, ids: set[str]) -> None:
        """Wait until there is an event of each of these todos."""

        async def has_all() -> bool:
            return ids <= {each.event["data"]["id"] for each in self.received}

        await wait_until(has_all)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection, which has one request."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            received = Received(first.split(" ")[1], headers, body)
            self.received.append(received)
            await self.answer(received, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            writer.transport.abort()
        finally:
            writer.close()
            self._tasks.discard(task)
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def close(self) -> None:
        """End the connections that are still open."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def running_receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver until the block ends."""
    receiver = Receiver("")
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}/hook?key=1"
    try:
        yield receiver
    finally:
        server.close()
        await receiver.close()
