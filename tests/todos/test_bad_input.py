"""Unusual and invalid input: each gets the right response, and nothing is written partially."""

from __future__ import annotations

from typing import Any

import pytest

from tests.people import Person, assert_problem

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
ODD = [
    "🌱👩‍👩‍👧",
    "שלום עולם",
    "مرحبا",
    "a\u202eb\u2066c",
    "q\u0301",
    "ﬁ",
    "İ",
    "\u200by",
    "a'\"\\;--",
    "{{7*7}}",
    "\ud7ff\ue000",
]


@pytest.mark.parametrize("number", [20_001, 21])
async def test_too_many_tags_return_a_short_error(ada: Person, number: int) -> None:
    todo = await ada.todo()
    tags = [f"tag {index}" for index in range(number)]

    for response in (
        await ada.post("/v1/todos", json={"title": "x", "tags": tags}),
        await ada.patch(f"/v1/todos/{todo['id']}", json={"tags": tags}),
    ):
        assert_problem(response, 422, "/tags")
        assert len(response.content) < 2000
    assert await ada.titles() == [todo["title"]]
    assert (await ada.get("/v1/tags")).json() == {"items": []}


async def test_twenty_thousand_invalid_tags_return_a_short_error(ada: Person) -> None:
    response = await ada.post("/v1/todos", json={"title": "x", "tags": [""] * 20_001})

    assert_problem(response, 422)
    assert len(response.content) < 20_000


async def test_every_text_field_accepts_any_text_and_returns_it(ada: Person) -> None:
    for text in (f"x{odd}" for odd in ODD):
        made = (await ada.post("/v1/lists", json={"name": text})).json()
        todo = await ada.todo(title=text, description=text, tags=[text], steps=[{"title": text}], list_id=made["id"])

        read = (await ada.get(f"/v1/todos/{todo['id']}")).json()
        assert read == todo
        assert (read["title"], read["description"], read["tags"], read["steps"][0]["title"]) == (
            text,
            text,
            [text],
            text,
        )
        assert (await ada.get(f"/v1/lists/{made['id']}")).json()["name"] == text
        assert await ada.titles(tag=text, sort="title") == [text]
        assert await ada.titles(q="x", list_id=made["id"]) == [text]
        assert read in (await ada.get("/v1/todos/changes")).json()["changed"]
    assert [tag["name"] for tag in (await ada.get("/v1/tags")).json()["items"]] == sorted(f"x{odd}" for odd in ODD)


INPUTS: list[tuple[str, str, str, str]] = [
    ("POST", "/v1/todos", '{"title": "%s"}', "/title"),
    ("POST", "/v1/todos", '{"title": "x", "description": "%s"}', "/description"),
    ("POST", "/v1/todos", '{"title": "x", "tags": ["a", "b%s"]}', "/tags/1"),
    ("POST", "/v1/todos", '{"title": "x", "steps": [{"title": "a%s"}]}', "/steps/0/title"),
    ("PATCH", "/v1/todos/{id}", '{"title": "a%s"}', "/title"),
    ("POST", "/v1/lists", '{"name": "a%s"}', "/name"),
    ("PATCH", "/v1/lists/{list}", '{"name": "a%s"}', "/name"),
]


@pytest.mark.parametrize(("text", "status"), [("\\u0000", 422), ("\\ud800", 400), ("\\udc00\\ud800", 400)])
async def test_every_text_field_rejects_nul_as_invalid_and_lone_surrogates_as_malformed(
    ada: Person, text: str, status: int
) -> None:
    todo = await ada.todo()
    made = (await ada.post("/v1/lists", json={"name": "Garden"})).json()
    headers = {"Content-Type": "application/json"}

    for method, path, body, pointer in INPUTS:
        content = (body % text).encode()
        response = await ada.ask(method, path.format(id=todo["id"], list=made["id"]), content=content, headers=headers)
        assert_problem(response, status, *([pointer] if status == 422 else []))
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]
    assert (await ada.get("/v1/lists")).json()["items"] == [made]


@pytest.mark.parametrize(
    ("due_at", "stored"),
    [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ("9999-12-30T23:59:59.999999Z", "9999-12-30T23:59:59.999Z"),
    ],
)
async def test_due_dates_include_the_first_and_the_last_valid_time(ada: Person, due_at: str, stored: str) -> None:
    todo = await ada.todo(due_at=due_at)

    assert todo["due_at"] == stored
    for sort in ("due_at", "-due_at"):
        assert (await ada.get("/v1/todos", params={"sort": sort})).json()["items"] == [todo]


async def test_due_dates_that_are_malformed_or_out_of_range_are_rejected(ada: Person) -> None:
    todo = await ada.todo()
    for due_at in (
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00+00:01",
        "0001-01-01T00:00:00Z",
        "9999-12-31T00:00:00Z",
        "9999-12-30T23:59:59.999-00:01",
        "10000-01-01T00:00:00Z",
        "+12027-01-01T00:00:00Z",
        "2027-01-31T24:00:00Z",
        "2027-01-31T23:59:60Z",
        "2027-01-31T09:00:00+99:00",
        "",
        0,
        False,
    ):
        assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json={"due_at": due_at}), 422, "/due_at")
        assert_problem(await ada.post("/v1/todos", json={"title": "x", "due_at": due_at}), 422, "/due_at")
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]


@pytest.mark.parametrize(
    "rule", ["FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=DAILY;COUNT=3;UNTIL=20280101", "FREQ=DAILY;UNTIL=20200101"]
)
async def test_an_invalid_rule_is_rejected_by_every_endpoint(ada: Person, rule: str) -> None:
    todo = await ada.todo(due_at="2027-01-31T09:00:00Z")
    operations = [
        {"op": "create", "todo": {"title": "x", "due_at": "2027-01-31T09:00:00Z", "recurrence": rule}},
        {"op": "update", "id": todo["id"], "todo": {"recurrence": rule}},
    ]

    assert_problem(await ada.patch(f"/v1/todos/{todo['id']}", json={"recurrence": rule}), 422, "/recurrence")
    batch = (await ada.post("/v1/todos/batch", json={"operations": operations})).json()
    assert [result["problem"]["errors"][0]["pointer"] for result in batch["results"]] == [
        "/operations/0/todo/recurrence",
        "/operations/1/todo/recurrence",
    ]
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]


async def test_a_due_date_after_the_last_occurrence_is_rejected(ada: Person) -> None:
    todo = await ada.todo(due_at="2027-01-31T09:00:00Z", recurrence="FREQ=DAILY;UNTIL=20270301")

    late = await ada.patch(f"/v1/todos/{todo['id']}", json={"due_at": "2028-01-01T00:00:00Z"})

    assert_problem(late, 422, "/recurrence")


async def test_a_recurring_todo_without_a_next_occurrence_is_completed(ada: Person) -> None:
    todo = await ada.todo(due_at="9999-12-30T09:00:00Z", recurrence="FREQ=DAILY")

    done = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()

    assert (done["completed"], done["due_at"]) == (True, todo["due_at"])


async def test_a_page_size_outside_1_to_200_is_rejected(ada: Person) -> None:
    for path in ("/v1/todos", "/v1/todos/changes", "/v1/lists"):
        for limit in ("0", "201", "-1", "1.5", "", "٣", "9" * 30):
            assert_problem(await ada.get(path, params={"limit": limit}), 422, "limit")


async def test_an_invalid_parameter_is_named(ada: Person) -> None:
    for path, name, value in (
        ("/v1/todos", "q", "x" * 201),
        ("/v1/todos", "q", "a\x00"),
        ("/v1/todos", "due_after", "9999-12-31T23:59:59-01:00"),
        ("/v1/todos", "updated_after", "yesterday"),
        ("/v1/todos", "overdue", "maybe"),
        ("/v1/todos/changes", "since", "x" * 5000),
        ("/v1/todos/changes", "tag", "x"),
        ("/v1/todos/summary", "tz", "x" * 65),
        ("/v1/todos/summary", "limit", "1"),
        ("/v1/lists", "archived", "true"),
        ("/v1/tags", "limit", "1"),
        ("/v1/todos/65f1a2b3c4d5e6f708192a3b", "fields", "id"),
    ):
        assert_problem(await ada.get(path, params={name: value}), 422, name)


CALLS = [
    ("GET", "/v1/todos"),
    ("POST", "/v1/todos"),
    ("GET", "/v1/todos/65f1a2b3c4d5e6f708192a3b"),
    ("PATCH", "/v1/todos/65f1a2b3c4d5e6f708192a3b"),
    ("DELETE", "/v1/todos/65f1a2b3c4d5e6f708192a3b"),
    ("POST", "/v1/todos/65f1a2b3c4d5e6f708192a3b/complete"),
    ("POST", "/v1/todos/65f1a2b3c4d5e6f708192a3b/reopen"),
    ("POST", "/v1/todos/65f1a2b3c4d5e6f708192a3b/move"),
    ("POST", "/v1/todos/batch"),
    ("GET", "/v1/todos/changes"),
    ("GET", "/v1/todos/summary"),
    ("GET", "/v1/lists"),
    ("POST", "/v1/lists"),
    ("GET", "/v1/lists/65f1a2b3c4d5e6f708192a3b"),
    ("PATCH", "/v1/lists/65f1a2b3c4d5e6f708192a3b"),
    ("DELETE", "/v1/lists/65f1a2b3c4d5e6f708192a3b"),
    ("POST", "/v1/lists/65f1a2b3c4d5e6f708192a3b/move"),
    ("GET", "/v1/tags"),
]


async def test_every_endpoint_authenticates_before_it_validates(ada: Person) -> None:
    for method, path in CALLS:
        response = await ada.client.request(method, path)
        assert_problem(response, 401)
        assert response.headers["www-authenticate"].startswith("Bearer")


async def test_an_invalid_id_is_not_found_by_any_endpoint(ada: Person) -> None:
    for method, path in CALLS:
        for odd in ("nonsense", "65f1a2b3c4d5e6f708192a3", "%00" * 8, "🌱", "65f1a2b3c4d5e6f708192a3b" * 2):
            if "65f1a2b3" in path:
                sent = {"to": "first"} if path.endswith("/move") else {}
                body: dict[str, Any] = {"json": sent} if method == "PATCH" or sent else {}
                assert_problem(await ada.ask(method, path.replace("65f1a2b3c4d5e6f708192a3b", odd), **body), 404)


async def test_a_todo_moves_between_two_others_without_changing_them(ada: Person) -> None:
    first, last = await ada.todo(title="first"), await ada.todo(title="last")
    assert first["position"] < last["position"]

    await ada.todo(title="between", position=(first["position"] + last["position"]) / 2)
    await ada.todo(title="before", position=first["position"] - 1)

    assert await ada.titles(sort="position") == ["before", "first", "between", "last"]
    assert (await ada.get(f"/v1/todos/{first['id']}")).json() == first


async def test_a_position_is_a_number(ada: Person) -> None:
    todo = await ada.todo()
    headers = {"Content-Type": "application/json"}
    for method, path, body in (
        ("POST", "/v1/todos", '{"title": "x", "position": %s}'),
        ("PATCH", f"/v1/todos/{todo['id']}", '{"position": %s}'),
        ("POST", "/v1/lists", '{"name": "x", "position": %s}'),
    ):
        for position in ("1e999", "-1e999", "1" * 10_000, "NaN", '"1"', "true", "null", "[]"):
            response = await ada.ask(method, path, content=(body % position).encode(), headers=headers)
            assert_problem(response, 400 if position == "NaN" else 422)
    assert (await ada.get("/v1/todos")).json()["items"] == [todo]


async def test_a_position_accepts_any_finite_number(ada: Person) -> None:
    positions = [-(10**300), -0.0, 5e-324, 2**53 + 1, 10**30]
    todos = [await ada.todo(position=position) for position in positions]

    assert [todo["position"] for todo in todos] == [float(position) for position in positions]
    assert (await ada.get("/v1/todos", params={"sort": "position"})).json()["items"] == todos


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12", "America/Juneau", "Asia/Manila"])
async def test_the_first_and_the_last_times_can_be_exported_in_every_zone(ada: Person, zone: str) -> None:
    assert (await ada.patch("/v1/users/me", json={"time_zone": zone})).status_code == 200
    for due_at in ("1970-01-01T00:00:00.000Z", "9999-12-30T23:59:59.999Z"):
        await ada.todo(due_at=due_at, recurrence="FREQ=DAILY")

    for form in ("json", "csv", "ics"):
        assert (await ada.get("/v1/todos/export", params={"format": form})).status_code == 200


@pytest.mark.parametrize("name", ["created_at", "completed_at", "due_at"])
async def test_imported_times_are_valid_in_every_time_zone(ada: Person, name: str) -> None:
    moments = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T00:00:00Z"]
    records = [{"title": "x", "completed": name == "completed_at", name: moment} for moment in moments]
    # a time of creation or completion that is in the future becomes the time of the import
    invalid = 3 if name == "due_at" else 2

    report = (await ada.post("/v1/todos/import", json={"items": records})).json()

    assert (report["imported"], report["rejected_count"]) == (3 - invalid, invalid)
    assert [rejected["errors"][0]["pointer"] for rejected in report["rejected"]] == [
        f"/items/{number}/{name}" for number in range(invalid)
    ]
    for todo in (await ada.get("/v1/todos")).json()["items"]:
        assert todo[name] == todo["updated_at"]


async def test_a_cell_of_nested_arrays_is_left_out(ada: Person) -> None:
    table = f"title,steps\r\nfirst,{'[' * 5000}{']' * 5000}\r\nsecond,[]\r\n"

    response = await ada.post("/v1/todos/import", content=table.encode(), headers={"Content-Type": "text/csv"})

    assert response.status_code == 200
    assert response.json()["imported"] == 2
    assert [todo["steps"] for todo in (await ada.get("/v1/todos")).json()["items"]] == [[], []]


async def test_every_endpoint_rejects_values_that_are_too_long(ada: Person) -> None:
    todo = await ada.todo()
    long = "x" * 20_000
    for name, value in (
        ("title", long),
        ("description", long),
        ("tags", [long]),
        ("steps", [{"title": long}]),
        ("steps", [{"title": "x", "id": long}]),
        ("steps", [{"title": "x", "id": "65f1a2b3c4d5e6f708192a3b\n"}]),
        ("list_id", long),
        ("priority", long),
        ("due_at", long),
        ("recurrence", long),
        (long, 1),
    ):
        for response in (
            await ada.post("/v1/todos", json={"title": "x"} | {name: value}),
            await ada.patch(f"/v1/todos/{todo['id']}", json={name: value}),
        ):
            assert_problem(response, 422)
            assert len(response.content) < 1000
    for headers in ({"If-Match": '"1",' * 200}, {"If-Match": ", ".join(f'"{number}"' for number in range(101))}):
        response = await ada.ask("PATCH", f"/v1/todos/{todo['id']}", json={}, headers=headers)
        assert_problem(response, 422, "If-Match")
