"""When a todo starts and is due: at a moment, or on a day in its time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from tests.people import Person, assert_problem
from todo_service.timestamps import EARLIEST, LATEST, end_of_day, format_timestamp, list_time_zones

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
MOMENT: Final = "2027-01-31T09:00:00.000Z"
EARLIER: Final = "2027-01-30T09:00:00.000Z"


def select(todo: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a todo that say when it starts and is due, except null."""
    names = ("due_at", "due_on", "start_at", "start_on", "time_zone", "recurrence")
    return {name: todo[name] for name in names if todo[name] is not None}


async def test_a_day_replaces_a_moment_and_a_moment_a_day(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo(due_at=MOMENT, start_at=EARLIER))['id']}"

    day = await ada.patch(path, json={"due_on": "2027-01-31", "start_on": "2027-01-30"})
    same = await ada.patch(path, json={"due_on": "2027-01-31", "due_at": None})
    moment = await ada.patch(path, json={"due_at": MOMENT, "due_on": None, "start_at": EARLIER})
    cleared = await ada.patch(path, json={"due_at": None, "start_at": None})

    assert select(day.json()) == {"due_on": "2027-01-31", "start_on": "2027-01-30"}
    assert same.json()["version"] == day.json()["version"]
    assert select(moment.json()) == {"due_at": MOMENT, "start_at": EARLIER}
    assert select(cleared.json()) == {}


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"due_at": MOMENT, "due_on": "2027-01-31"}, ["/due_at", "/due_on"]),
        ({"start_at": MOMENT, "start_on": "2027-01-31"}, ["/start_at", "/start_on"]),
        ({"due_at": MOMENT, "start_on": "2027-01-31"}, ["/start_on"]),
        ({"due_on": "2027-01-31", "start_at": MOMENT}, ["/start_at"]),
        ({"due_at": EARLIER, "start_at": MOMENT}, ["/start_at"]),
        ({"due_on": "2027-01-30", "start_on": "2027-01-31"}, ["/start_on"]),
        ({"start_on": "2027-01-30", "recurrence": "FREQ=DAILY"}, ["/recurrence"]),
        ({"due_on": "2027-01-31T00:00:00Z"}, ["/due_on"]),
        ({"due_on": "2027-02-29"}, ["/due_on"]),
        ({"due_on": "20270131"}, ["/due_on"]),
        ({"due_on": "2027-W04-7"}, ["/due_on"]),
        ({"due_on": " 2027-01-31"}, ["/due_on"]),
        ({"due_on": "٢٠٢٧-01-31"}, ["/due_on"]),
        ({"due_on": ""}, ["/due_on"]),
        ({"due_on": 20270131}, ["/due_on"]),
        ({"due_on": "1969-12-31"}, ["/due_on"]),
        ({"start_on": "9999-12-31"}, ["/start_on"]),
        ({"due_at": "2027-01-31"}, ["/due_at"]),
        ({"time_zone": "Mars/Olympus"}, ["/time_zone"]),
        ({"time_zone": "localtime"}, ["/time_zone"]),
        ({"time_zone": "../../etc/passwd"}, ["/time_zone"]),
        ({"time_zone": ""}, ["/time_zone"]),
        ({"time_zone": "x" * 65}, ["/time_zone"]),
    ],
)
async def test_invalid_or_contradictory_schedule_fields_are_rejected(
    ada: Person, fields: dict[str, Any], places: list[str]
) -> None:
    todo = await ada.todo()

    assert_problem(await ada.post("/v1/todos", json={"title": "x"} | fields), 422, *places)
    assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json=fields), 422, *places)
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]


@pytest.mark.parametrize(
    ("before", "patch", "place"),
    [
        ({"due_at": MOMENT, "start_at": EARLIER}, {"due_on": "2027-01-31"}, "/due_on"),
        ({"due_at": MOMENT, "start_at": EARLIER}, {"start_on": "2027-01-30"}, "/start_on"),
        ({"due_on": "2027-01-31", "start_on": "2027-01-30"}, {"due_on": "2027-01-29"}, "/due_on"),
        ({"due_on": "2027-01-31", "recurrence": "FREQ=DAILY"}, {"due_on": None}, "/due_on"),
        ({"due_at": MOMENT, "recurrence": "FREQ=DAILY"}, {"due_at": None}, "/due_at"),
    ],
)
async def test_a_change_that_leaves_what_does_not_fit_is_rejected(
    ada: Person, before: dict[str, Any], patch: dict[str, Any], place: str
) -> None:
    todo = await ada.todo(**before)

    assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json=patch), 422, place)
    assert (await ada.get(f"/v1/todos/{todo['id']}")).json() == todo


async def test_a_todo_may_start_without_being_due(ada: Person) -> None:
    todo = await ada.todo(start_on="2027-01-30")

    changed = await ada.patch(f"/v1/todos/{todo['id']}", json={"start_at": MOMENT})

    assert select(todo) == {"start_on": "2027-01-30"}
    assert select(changed.json()) == {"start_at": MOMENT}
    assert await ada.titles(due_after="1970-01-01T00:00:00Z") == []


async def test_every_storable_day_is_stored_in_every_time_zone(ada: Person) -> None:
    for day in ("1970-01-01", "2028-02-29", "9999-12-30"):
        for time_zone in ("Pacific/Kiritimati", "Etc/GMT+12", None):
            todo = await ada.todo(due_on=day, start_on=day, time_zone=time_zone)
            assert (todo["due_on"], todo["start_on"], todo["time_zone"]) == (day, day, time_zone)
    assert len(await ada.titles(sort="-due_at")) == 9


async def test_a_day_ends_in_the_time_zone_of_the_todo_or_the_account(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "Europe/Berlin"})
    await ada.todo(title="own", due_on="2027-01-31", time_zone="America/New_York")
    followed = await ada.todo(title="account's", due_on="2027-01-31")

    # the day ends at 23:00 UTC in Berlin, and at 05:00 UTC in New York
    assert await ada.titles(due_before="2027-01-31T23:00:00Z", sort="due_at") == ["account's"]
    assert await ada.titles(due_before="2027-01-31T22:59:59Z") == []
    assert await ada.titles(due_after="2027-01-31T23:00:00Z") == ["own"]
    assert await ada.titles(due_before="2027-02-01T05:00:00Z", sort="-due_at") == ["own", "account's"]

    await ada.patch(f"/v1/todos/{followed['id']}", json={"time_zone": "Asia/Tokyo"})
    assert await ada.titles(due_before="2027-01-31T15:00:00Z") == ["account's"]
    await ada.patch(f"/v1/todos/{followed['id']}", json={"time_zone": None})
    assert await ada.titles(due_before="2027-01-31T15:00:00Z") == []
    await ada.patch(f"/v1/todos/{followed['id']}", json={"due_at": "2027-01-31T12:00:00Z"})
    assert await ada.titles(due_before="2027-01-31T15:00:00Z") == ["account's"]


async def test_a_todo_is_overdue_when_its_day_has_ended(ada: Person) -> None:
    # these two time zones are never on the same day
    west, east = "Etc/GMT+12", "Pacific/Kiritimati"
    western, eastern = (datetime.now(ZoneInfo(name)).date() for name in (west, east))
    for title, day, time_zone in (
        ("today in the west", western, west),
        ("yesterday in the east", western, east),
        ("today in the east", eastern, east),
    ):
        await ada.todo(title=title, due_on=day.isoformat(), time_zone=time_zone)

    assert await ada.titles(overdue="true") == ["yesterday in the east"]
    assert await ada.titles(overdue="false") == ["today in the west", "today in the east"]
    assert (await ada.get("/v1/todos/summary")).json()["overdue"] == 1


async def test_the_summary_counts_days_in_the_requested_time_zone(ada: Person) -> None:
    zone = ZoneInfo("Asia/Tokyo")
    await ada.patch("/v1/users/me", json={"time_zone": zone.key})
    today = datetime.now(zone).date()
    for days in (-1, 0, 1):
        await ada.todo(due_on=(today + timedelta(days=days)).isoformat())
    following = end_of_day(today, zone).astimezone(ZoneInfo("Pacific/Kiritimati")).date()

    own = (await ada.get("/v1/todos/summary")).json()
    in_kiritimati = (await ada.get("/v1/todos/summary", params={"tz": "Pacific/Kiritimati"})).json()

    assert (own["open"], own["overdue"], own["due_today"]) == (3, 1, 1)
    # each day of Tokyo ends on the day that follows in Kiritimati
    assert following == today + timedelta(days=1)
    assert in_kiritimati["due_today"] == 1


async def test_days_and_moments_are_sorted_and_paged_together(ada: Person) -> None:
    await ada.todo(title="none")
    await ada.todo(title="west", due_on="2027-01-31", time_zone="America/Los_Angeles")
    await ada.todo(title="moment", due_at="2027-01-31T22:00:00Z")
    await ada.todo(title="berlin", due_on="2027-01-31", time_zone="Europe/Berlin")
    await ada.todo(title="east", due_on="2027-01-31", time_zone="Pacific/Auckland")
    await ada.todo(title="utc", due_on="2027-01-31")
    await ada.todo(title="same", due_at="2027-01-31T23:59:59.999Z")
    expected = ["east", "moment", "berlin", "utc", "same", "west", "none"]

    for sort, wanted in (("due_at", expected), ("-due_at", [*expected[-2::-1], "none"])):
        for filters in ({}, {"q": "e"}, {"completed": "false"}):
            matching = [title for title in wanted if "q" not in filters or title == "east"]
            found, cursor = [], None
            while True:
                page = {"sort": sort, "limit": 2} | filters | ({"cursor": cursor} if cursor else {})
                body = (await ada.get("/v1/todos", params=page)).json()
                found += [todo["title"] for todo in body["items"]]
                assert all("due_end" not in todo for todo in body["items"])
                cursor = body["next_cursor"]
                if cursor is None:
                    break
            assert found == matching, (sort, filters)


async def test_a_recurring_todo_moves_to_the_next_day_with_its_start(ada: Person) -> None:
    await ada.patch("/v1/users/me", json={"time_zone": "Europe/Berlin"})
    rule = "FREQ=WEEKLY;BYDAY=MO;COUNT=3"
    todo = await ada.todo(due_on="2099-03-26", start_on="2099-03-23", recurrence=rule, steps=[{"title": "a"}])

    moved = await ada.post(f"/v1/todos/{todo['id']}/complete")

    assert select(moved.json()) == {
        "due_on": "2099-04-02",
        "start_on": "2099-03-30",
        "recurrence": "FREQ=WEEKLY;BYDAY=MO;COUNT=2",
    }
    # summer time has begun
    assert await ada.titles(due_before="2099-04-02T22:00:00Z") != []
    assert await ada.titles(due_before="2099-04-02T21:59:59Z") == []
    await ada.post(f"/v1/todos/{todo['id']}/complete")
    done = await ada.post(f"/v1/todos/{todo['id']}/complete")
    assert (done.json()["completed"], done.json()["due_on"]) == (True, "2099-04-09")


async def test_a_start_keeps_its_local_distance(ada: Person) -> None:
    todo = await ada.todo(
        due_at="2099-03-28T09:00:00+01:00",
        start_at="2099-03-27T20:00:00+01:00",
        time_zone="Europe/Berlin",
        recurrence="FREQ=DAILY",
    )

    moved = await ada.post(f"/v1/todos/{todo['id']}/complete")

    # summer time begins on the 29th
    assert moved.json()["due_at"] == "2099-03-29T07:00:00.000Z"
    assert moved.json()["start_at"] == "2099-03-28T19:00:00.000Z"


@pytest.mark.parametrize(
    ("changes", "due_at"),
    [
        # the same clock, or the same time zone again
        ([{"time_zone": "Europe/Paris"}], "2099-03-30T00:30:00.000Z"),
        ([{"time_zone": "Asia/Tokyo"}, {"time_zone": "Europe/Berlin"}], "2099-03-30T00:30:00.000Z"),
        # the moment is 02:30 in Lagos, and 10:30 in Tokyo
        ([{"time_zone": "Africa/Lagos"}], "2099-03-30T01:30:00.000Z"),
        ([{"time_zone": "Asia/Tokyo"}], "2099-03-30T01:30:00.000Z"),
        ([{"due_at": "2099-03-29T01:31:00Z"}, {"due_at": "2099-03-29T01:30:00Z"}], "2099-03-30T01:30:00.000Z"),
    ],
)
async def test_an_intended_local_time_has_an_effect_in_time_zones_that_skip_it(
    ada: Person, changes: list[dict[str, str]], due_at: str
) -> None:
    todo = await ada.todo(due_at="2099-03-28T02:30:00+01:00", time_zone="Europe/Berlin", recurrence="FREQ=DAILY")
    path = f"/v1/todos/{todo['id']}"
    skipped = (await ada.post(f"{path}/complete")).json()

    for change in changes:
        assert (await ada.patch(path, json=change)).status_code == 200
    moved = (await ada.post(f"{path}/complete")).json()

    assert skipped["due_at"] == "2099-03-29T01:30:00.000Z"
    assert moved["due_at"] == due_at


def test_a_day_ends_before_the_next_one_begins() -> None:
    ends = {
        ("Europe/Berlin", "2027-01-31"): "2027-01-31T22:59:59.999Z",
        ("Europe/Berlin", "2027-03-28"): "2027-03-28T21:59:59.999Z",
        # the clock goes from 24:00 to 01:00, and from 24:00 back to 23:00
        ("America/Sao_Paulo", "2018-11-03"): "2018-11-04T02:59:59.999Z",
        ("America/Sao_Paulo", "2018-02-17"): "2018-02-18T02:59:59.999Z",
        # the clock goes from 00:01 back to 23:01, so the day ends twice
        ("America/St_Johns", "2006-10-28"): "2006-10-29T03:29:59.999Z",
        # the clock goes from 01:00 back to 00:00, which is not the end of the day before
        ("America/Havana", "2027-11-06"): "2027-11-07T03:59:59.999Z",
        # the whole day was skipped
        ("Pacific/Apia", "2011-12-30"): "2011-12-30T09:59:59.999Z",
        ("Etc/GMT+12", "9999-12-30"): format_timestamp(LATEST),
    }

    for (zone, day), expected in ends.items():
        assert format_timestamp(end_of_day(date.fromisoformat(day), ZoneInfo(zone))) == expected, (zone, day)


def test_the_ends_of_days_are_in_order_in_every_time_zone() -> None:
    days = [date(year, month, day) for year in (1970, 1995, 2011, 2027) for month in (1, 3, 10, 12) for day in (1, 30)]
    for name in sorted(list_time_zones()):
        zone = ZoneInfo(name)
        for day in days:
            moment, following = end_of_day(day, zone), end_of_day(day + timedelta(days=1), zone)
            assert EARLIEST <= moment <= following, (name, day)
            assert moment.tzinfo is UTC
            assert (moment + timedelta(milliseconds=1)).astimezone(zone).date() > day, (name, day)
