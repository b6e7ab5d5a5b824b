"""One timer calls every member once in a period."""

from __future__ import annotations

import asyncio

import pytest

from todo_service.timer_wheel import TimerWheel

pytestmark = pytest.mark.anyio
PERIOD = 0.3


async def test_each_member_is_called_after_every_period() -> None:
    called: asyncio.Queue[str] = asyncio.Queue()
    wheel = TimerWheel(PERIOD, called.put_nowait)
    loop = asyncio.get_running_loop()
    began = loop.time()

    wheel.add("first")
    assert await called.get() == "first"
    first = loop.time()
    wheel.add("second")

    while await called.get() != "second":
        pass
    assert first - began >= PERIOD * 0.9
    assert loop.time() - began >= 2 * PERIOD * 0.9


async def test_a_removed_member_is_no_longer_called() -> None:
    called: asyncio.Queue[str] = asyncio.Queue()
    wheel = TimerWheel(PERIOD, called.put_nowait)
    slots = {name: wheel.add(name) for name in ("removed", "kept", "removed later")}
    wheel.remove("removed", slots["removed"])
    wheel.remove("removed", slots["removed"])

    assert {await called.get(), await called.get()} == {"kept", "removed later"}
    wheel.remove("removed later", slots["removed later"])
    assert [await called.get(), await called.get()] == ["kept", "kept"]


async def test_an_empty_wheel_has_no_timer_and_can_be_used_again() -> None:
    called: asyncio.Queue[str] = asyncio.Queue()
    wheel = TimerWheel(PERIOD, called.put_nowait)
    for name in ("once", "again"):
        slot = wheel.add(name)
        assert await called.get() == name
        wheel.remove(name, slot)

        assert wheel.is_idle


async def test_an_exception_does_not_stop_the_wheel() -> None:
    called: asyncio.Queue[str] = asyncio.Queue()
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))

    def call(name: str) -> None:
        called.put_nowait(name)
        raise ValueError(name)

    TimerWheel(PERIOD, call).add("broken")

    assert [await called.get(), await called.get()] == ["broken", "broken"]
    assert [str(error) for error in errors[:1]] == ["broken"]
