"""Response timeouts."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from todo_service.web.problems import ProblemError
from todo_service.web.route_options import NO_TIMEOUT
from todo_service.web.timeouts import TimeoutMiddleware

pytestmark = pytest.mark.anyio
START = {"type": "http.response.start", "status": 200, "headers": []}


async def run(app: Any, *, receive: Any = None, options: dict[str, Any] | None = None) -> list[Any]:
    """Run an ASGI application with a timeout, and return the messages that it sends."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "route_handler": SimpleNamespace(opt=options or {})}
    await TimeoutMiddleware(app, seconds=0.2)(scope, receive, send)
    return sent


async def hang(scope: Any, receive: Any, send: Any) -> None:
    """Never respond."""
    await asyncio.Event().wait()


async def outlast_timeout() -> None:
    """Wait until a new request has timed out, and so would have any that began before it."""
    with pytest.raises(ProblemError):
        await asyncio.create_task(run(hang))


async def test_a_late_response_is_cancelled() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hang(scope, receive, send)
        finally:
            ended.append("whole")

    with pytest.raises(ProblemError) as raised:
        await run(app)

    assert raised.value.name == "unavailable"
    assert "Retry-After" in raised.value.headers
    assert ended == ["whole"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_response_that_has_begun_has_no_timeout() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await outlast_timeout()
        await send({"type": "http.response.body", "body": b"late"})

    assert len(await run(app)) == 2


async def test_a_route_without_timeout_is_not_cancelled() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await outlast_timeout()
        await send(START)

    assert len(await run(app, options={NO_TIMEOUT: True})) == 1


@pytest.mark.parametrize("responds", [True, False])
async def test_time_spent_waiting_for_the_client_does_not_count(responds: bool) -> None:
    async def receive() -> Any:
        await outlast_timeout()
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            await receive()
        if not responds:
            await hang(scope, receive, send)
        await send(START)
        await receive()
        await outlast_timeout()

    if responds:
        assert len(await run(app, receive=receive)) == 1
    else:
        with pytest.raises(ProblemError):
            await run(app, receive=receive)


async def test_another_cancellation_is_propagated() -> None:
    started = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        started.set()
        await hang(scope, receive, send)

    task = asyncio.create_task(run(app))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_of_the_application_is_propagated() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.timeout(0):
            await hang(scope, receive, send)

    with pytest.raises(TimeoutError):
        await run(app)


async def test_another_error_after_the_cancellation_resets_the_task() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hang(scope, receive, send)
        except asyncio.CancelledError:
            raise RuntimeError("its own") from None

    with pytest.raises(RuntimeError):
        await run(app)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_task_that_ignores_the_cancellation_may_still_respond() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hang(scope, receive, send)
        except asyncio.CancelledError:
            await receive()
            await send(START)

    assert await run(app, receive=receive) == [START]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
