"""The time in which an answer begins: what is broken off when, and what is not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from todo_service.web.problems import ProblemError
from todo_service.web.route_options import NO_TIMEOUT
from todo_service.web.timeouts import TimeoutMiddleware, TimeoutSweeper

pytestmark = pytest.mark.anyio
START = {"type": "http.response.start", "status": 200, "headers": []}


def quick_watch() -> TimeoutSweeper:
    return TimeoutSweeper(seconds=0.2, interval=0.05)


async def run(
    app: Any, *, receive: Any = None, watch: TimeoutSweeper | None = None, options: dict[str, Any] | None = None
) -> list[Any]:
    """Run an ASGI application within the deadline, and return what it sent."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "route_handler": SimpleNamespace(opt=options or {})}
    await TimeoutMiddleware(app, watch or quick_watch())(scope, receive, send)
    return sent


async def test_an_answer_that_does_not_begin_is_broken_off() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(10)
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


async def test_an_answer_that_has_begun_takes_its_time() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await asyncio.sleep(0.5)
        await send({"type": "http.response.body", "body": b"late"})

    assert len(await run(app)) == 2


async def test_what_is_unhurried_takes_its_time() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        await send(START)

    assert len(await run(app, options={NO_TIMEOUT: True})) == 1


@pytest.mark.parametrize("thinks", [0.0, 10.0])
async def test_what_the_client_takes_is_not_counted(thinks: float) -> None:
    async def receive() -> Any:
        await asyncio.sleep(0.2)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            await receive()
        await asyncio.sleep(thinks)
        await send(START)
        await receive()
        await asyncio.sleep(0.5)

    if thinks:
        with pytest.raises(ProblemError):
            await run(app, receive=receive)
    else:
        assert len(await run(app, receive=receive)) == 1


async def test_a_request_that_is_cancelled_otherwise_stays_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(10)

    task = asyncio.create_task(run(app))
    await asyncio.sleep(0.05)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_out_of_the_application_is_its_own() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with asyncio.timeout(0.05):
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await run(app)


async def test_whoever_answers_a_cancellation_with_an_error_of_its_own_leaves_nothing_behind() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise RuntimeError("its own") from None

    with pytest.raises(RuntimeError):
        await run(app)

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_many_are_looked_at_by_one_timer_which_then_ends() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(10)

    watch = quick_watch()
    found = await asyncio.gather(*(run(app, watch=watch) for _ in range(5)), return_exceptions=True)

    assert [type(one) for one in found] == [ProblemError] * 5
    await asyncio.sleep(0.15)
    assert watch._timer is None
