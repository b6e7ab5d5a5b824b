"""What is due today, in the time zone of the parameter `tz`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.people import Person, assert_problem

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


async def test_today_depends_on_the_time_zone(ada: Person) -> None:
    # 14 hours ahead of and 11 hours behind UTC: they never have the same date
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    for days in (-2, -1, 0, 1, 2):
        await ada.todo(due_at=(noon + timedelta(days=days)).isoformat())

    async def due_today(**parameters: str) -> int:
        count: int = (await ada.get("/v1/todos/summary", params=parameters)).json()["due_today"]
        return count

    assert await due_today() == 1
    assert await due_today(tz="Pacific/Kiritimati") == 1
    assert await due_today(tz="Pacific/Niue") == 1
    await ada.todo(due_at=noon.replace(hour=0).isoformat())
    await ada.todo(due_at=(noon.replace(hour=0) + timedelta(days=1)).isoformat())
    assert await due_today(tz="UTC") == 2
    await ada.patch("/v1/users/me", json={"time_zone": "Asia/Tokyo"})
    assert await due_today() == await due_today(tz="Asia/Tokyo")


@pytest.mark.parametrize("tz", ["Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"])
async def test_a_day_may_start_within_an_hour(ada: Person, tz: str) -> None:
    today = datetime.now(ZoneInfo(tz)).replace(hour=0, minute=0, second=0, microsecond=0)
    for minutes in (-1, 0, 16, 46, 24 * 60 - 46, 24 * 60 - 1, 24 * 60, 24 * 60 + 16):
        await ada.todo(due_at=(today + timedelta(minutes=minutes)).isoformat())

    assert (await ada.get("/v1/todos/summary", params={"tz": tz})).json()["due_today"] == 5


@pytest.mark.parametrize("tz", ["Nowhere", "../etc/passwd", "", "Europe", "/UTC"])
async def test_an_unknown_time_zone_is_refused(ada: Person, tz: str) -> None:
    assert_problem(await ada.get("/v1/todos/summary", params={"tz": tz}), 422, "tz")


@pytest.mark.parametrize("tz", ["localtime", "posixrules", "right/UTC", "../etc/passwd"])
async def test_only_names_of_the_time_zone_database_are_accepted(ada: Person, tz: str) -> None:
    assert_problem(await ada.get("/v1/todos/summary", params={"tz": tz}), 422)
