"""The attacks of hostile clients. Each attack is bounded in requests, bytes and time."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Final

from tests.attacks.shapes import (
    LIGATURE,
    MARKS,
    LongKey,
    Shape,
    calendar_shapes,
    document_shapes,
    json_shapes,
    table_shapes,
)
from tests.soak.connection import Target, build_request, connected, encode
from todo_service.bounds.todos import QUERY_WORDS

MIB: Final = 2**20
FLOOD: Final = 300
"""The number of cheap requests in one attack."""
_STALL_SECONDS: Final = 3.0
_WORDS: Final = "%20".join(f"w{number:x}" for number in range(QUERY_WORDS))
"""The maximum number of words of a search. Every todo of an attacker has all of them."""

Attack = Callable[[Target, int, Counter[str]], Awaitable[None]]


async def send_bodies(target: Target, number: int, statuses: Counter[str]) -> None:
    """Send a body of 1 MiB in every shape to several operations."""
    paths = ("/v1/todos", "/v1/todos/batch", "/v1/lists", "/v1/users")
    async with connected(target) as connection:
        for path in paths:
            body = _json_body(next(_turns) % len(_SHAPES))
            status, _ = await connection.ask(build_request("POST", path, target.tokens[number], body))
            statuses[str(status)] += 1
            if status == 413:
                return  # the service closes the connection


async def send_values(target: Target, number: int, statuses: Counter[str]) -> None:
    """Send an otherwise valid todo with a value that fills nearly the whole body."""
    async with connected(target) as connection:
        for start, unit in (
            (b'{"title":"a', MARKS.encode()),
            (b'{"title":"', LIGATURE.encode()),
            (b'{"title":"x","description":"', b"a"),
            (b'{"title":"x","recurrence":"FREQ=DAILY;BYDAY=', b"MO,"),
        ):
            body = Shape("", start, unit, b'"}').fill(MIB)
            status, _ = await connection.ask(build_request("POST", "/v1/todos", target.tokens[number], body))
            statuses[str(status)] += 1


async def send_forms(target: Target, _number: int, statuses: Counter[str]) -> None:
    """Send forms of 1 MiB and of 16 KiB to the token endpoint."""
    for size in (MIB, 16_000):
        async with connected(target) as connection:
            body = Shape("", b"grant_type=password&username=", b"%CC%80", b"").fill(size)
            status, _response = await connection.ask(build_request("POST", "/v1/auth/token", None, body, media="form"))
            statuses[str(status)] += 1


async def send_trailers(target: Target, number: int, statuses: Counter[str]) -> None:
    """End a small body with 2 MiB of trailers."""
    head = build_request("POST", "/v1/todos", target.tokens[number], None, "Transfer-Encoding: chunked")
    async with connected(target) as connection:
        await connection.send(head + b"2\r\n{}\r\n0\r\n")
        for part in range(64):
            await connection.send(b"X-%d: %s\r\n" % (part, b"y" * 32_000))
        status, _ = await connection.ask(b"\r\n")
        statuses[str(status)] += 1


async def pipeline(target: Target, _number: int, statuses: Counter[str]) -> None:
    """Send thousands of requests before reading any response."""
    request = build_request("GET", "/")
    async with connected(target) as connection:
        connection.writer.write(request * 5_000)
        for _ in range(FLOOD):
            status, _body = await connection.receive_response()
            statuses[str(status)] += 1


async def send_slowly(target: Target, number: int, statuses: Counter[str]) -> None:
    """Send most of a body, wait, and disconnect."""
    head = build_request("POST", "/v1/todos", target.tokens[number], None, f"Content-Length: {MIB}")
    async with connected(target) as connection:
        await connection.send(head + b" " * (MIB - 100))
        await asyncio.sleep(_STALL_SECONDS)
        statuses["none"] += 1


async def read_nothing(target: Target, number: int, statuses: Counter[str]) -> None:
    """Request pages of the largest todos repeatedly, without reading any."""
    request = build_request("GET", "/v1/todos?limit=200", target.tokens[number])
    async with connected(target, receive_bytes=1024) as connection:
        await connection.send(request * 10)
        await asyncio.sleep(_STALL_SECONDS)
        statuses["none"] += 1


async def search(target: Target, number: int, statuses: Counter[str]) -> None:
    """Search for the maximum number of words, and disconnect before the last response."""
    request = build_request("GET", f"/v1/todos?limit=200&q={_WORDS}", target.tokens[number])
    async with connected(target) as connection:
        for _response in range(3):
            status, _body = await connection.ask(request)
            statuses[str(status)] += 1
        await connection.send(request)


async def import_files(target: Target, number: int, statuses: Counter[str]) -> None:
    """Import files of 1 MiB, and calendars with endless rules."""
    path, token = "/v1/todos/import", target.tokens[number]
    async with connected(target) as connection:
        for media, body in (
            ("calendar", _calendar("FREQ=SECONDLY", "FREQ=MONTHLY;BYDAY=-53SA")),
            ("calendar", _calendar("FREQ=YEARLY;BYDAY=-53SA", "FREQ=MONTHLY;INTERVAL=2;BYDAY=53SA")),
            ("calendar", _file("calendar", next(_turns) % len(calendar_shapes()))),
            ("csv", _file("csv", next(_turns) % len(table_shapes()))),
            ("csv", b'title,steps\r\n"x","' + b"[" * 5_000 + b'"\r\n'),
            ("json", Shape("", b"[", b"0,", b"0]").fill(4 * MIB)),
        ):
            status, _ = await connection.ask(build_request("POST", path, token, body, media=media))
            statuses[str(status)] += 1


async def patch_one(target: Target, number: int, statuses: Counter[str]) -> None:
    """Patch one todo 500 times, on 25 concurrent connections."""

    async def patch() -> None:
        async with connected(target) as connection:
            for count in range(20):
                body = encode({"description": f"{count}"})
                path = f"/v1/todos/{target.todo_ids[number]}"
                status, _ = await connection.ask(build_request("PATCH", path, target.tokens[number], body))
                statuses[str(status)] += 1

    await asyncio.gather(*(patch() for _ in range(25)))


async def flood(target: Target, _number: int, statuses: Counter[str]) -> None:
    """Request missing paths, with unknown keys."""
    async with connected(target) as connection:
        for count in range(FLOOD):
            for request in (
                build_request("GET", f"/nothing/{count}"),
                build_request("PUT", "/v1/todos"),
                build_request("GET", "/v1/todos", f"todo_{count:040d}"),
                build_request("GET", "/health/ready"),
            ):
                status, _ = await connection.ask(request)
                statuses[str(status)] += 1


async def send_faulty_batches(target: Target, number: int, statuses: Counter[str]) -> None:
    """Send batches in which every operation has many errors."""
    todo = {"title": "x" * 201, "tags": [0] * 1000, "steps": [{}] * 200, "unknown": 0}
    body = encode({"operations": [{"op": "create", "todo": todo}] * 100})
    async with connected(target) as connection:
        for _response in range(3):
            status, _body = await connection.ask(build_request("POST", "/v1/todos/batch", target.tokens[number], body))
            statuses[str(status)] += 1


async def guess_passwords(target: Target, number: int, statuses: Counter[str]) -> None:
    """Try wrong passwords."""
    async with connected(target) as connection:
        for count in range(10):
            body = f"grant_type=password&username={target.users[number]}&password=wrong{count}".encode()
            status, _ = await connection.ask(build_request("POST", "/v1/auth/token", None, body, media="form"))
            statuses[str(status)] += 1


async def leave_early(target: Target, number: int, statuses: Counter[str]) -> None:
    """Request large responses, and disconnect at once."""
    for path in ("/v1/todos/export", "/v1/todos/summary", "/v1/todos/changes?limit=200", "/v1/tags"):
        async with connected(target) as connection:
            await connection.send(build_request("GET", path, target.tokens[number]))
            statuses["none"] += 1


ATTACKS: Final[tuple[Attack, ...]] = (
    *(send_bodies, send_values, send_forms, send_trailers, pipeline, send_slowly, read_nothing, search),
    *(import_files, patch_one, flood, send_faulty_batches, guess_passwords, leave_early),
)
_SHAPES: Final = [*json_shapes(), *document_shapes(), LongKey()]
_turns: Final = itertools.count()
"""Selects the next shape, so that all are used equally often."""


@cache
def _json_body(number: int) -> bytes:
    return _SHAPES[number].fill(MIB)


@cache
def _file(kind: str, number: int) -> bytes:
    return (calendar_shapes() if kind == "calendar" else table_shapes())[number].fill(MIB)


@cache
def _calendar(zone_rule: str, rule: str) -> bytes:
    zone = (
        "BEGIN:VTIMEZONE\r\nTZID:Z\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\n"
        f"TZOFFSETTO:+0200\r\nRRULE:{zone_rule}\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
    )
    todo = (
        "BEGIN:VTODO\r\nUID:%d\r\nSUMMARY:x\r\nDTSTART;TZID=Z:20270101T090000\r\nDUE;TZID=Z:20270102T090000\r\n"
        f"RRULE:{rule}\r\nEND:VTODO\r\n"
    )
    todos = "".join(todo % uid for uid in range(5))
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{zone}{todos}END:VCALENDAR\r\n".encode()
