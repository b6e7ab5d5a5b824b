"""Imports of todos that the account has already, and what a report says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.people import Person, assert_problem, build_report
from tests.todos.test_transfer import FORMATS, export_todos, import_todos

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
TABLE = "title,tags,list\nRake the leaves,home,Garden\nRake the leaves,home,Garden\nWater the plants,,\n"


async def read_todos(person: Person) -> list[dict[str, Any]]:
    """Return all todos, in the manual order."""
    items: list[dict[str, Any]] = (await person.get("/v1/todos", params={"sort": "position", "limit": "200"})).json()[
        "items"
    ]
    return items


async def read_lists(person: Person) -> list[dict[str, Any]]:
    """Return all lists, in the manual order."""
    items: list[dict[str, Any]] = (await person.get("/v1/lists", params={"limit": "200"})).json()["items"]
    return items


@pytest.mark.parametrize("path", ["/v1/todos", "/v1/lists"])
async def test_a_uid_is_given_at_creation_or_made_from_the_id(ada: Person, path: str) -> None:
    texts = {"title": "x"} if path == "/v1/todos" else {"name": "x"}
    given = (await ada.post(path, json=texts | {"uid": " café@example.com "})).json()
    made = (await ada.post(path, json=texts)).json()

    assert given["uid"] == "café@example.com"
    assert made["uid"] == made["id"]
    assert (await ada.get(f"{path}/{given['id']}")).json() == given


@pytest.mark.parametrize("path", ["/v1/todos", "/v1/lists"])
async def test_a_uid_is_unique_in_an_account_and_never_changes(ada: Person, bob: Person, path: str) -> None:
    texts = {"title": "x"} if path == "/v1/todos" else {"name": "x"}
    first = (await ada.post(path, json=texts | {"uid": "1"})).json()
    made = (await ada.post(path, json=texts)).json()

    problem = assert_problem(await ada.post(path, json=texts | {"uid": "1"}), 409)
    assert problem["type"] == "urn:todo-service:problem:duplicate"
    assert_problem(await ada.post(path, json=texts | {"uid": made["id"]}), 409)
    assert_problem(await ada.patch(f"{path}/{first['id']}", json={"uid": "2"}), 422, "/uid")
    assert_problem(await ada.post(path, json=texts | {"uid": " "}), 422, "/uid")
    assert_problem(await ada.post(path, json=texts | {"uid": "x" * 256}), 422, "/uid")
    assert (await bob.post(path, json=texts | {"uid": "1"})).status_code == 201
    # a deleted one frees its uid
    assert (await ada.delete(f"{path}/{first['id']}")).status_code == 204
    assert (await ada.post(path, json=texts | {"uid": "1"})).status_code == 201


async def test_the_longest_uid_is_stored(ada: Person) -> None:
    uid = "🌱" * 255

    assert (await ada.todo(uid=uid))["uid"] == uid
    assert_problem(await ada.post("/v1/todos", json={"title": "x", "uid": uid}), 409)


async def test_a_taken_uid_in_a_batch_fails_alone(ada: Person) -> None:
    operations = [{"op": "create", "todo": {"title": "x", "uid": "1"}} for _ in range(2)]

    results = (await ada.post("/v1/todos/batch", json={"operations": operations})).json()["results"]

    assert [result["status"] for result in results] == [201, 409]
    assert [each["pointer"] for each in results[1]["problem"]["errors"]] == ["/operations/1/todo/uid"]


async def test_a_repeated_create_with_a_key_and_a_uid_has_one_effect(ada: Person) -> None:
    sent: dict[str, Any] = {"json": {"title": "x", "uid": "1"}, "headers": {"Idempotency-Key": "1"}}
    first, again = await ada.post("/v1/todos", **sent), await ada.post("/v1/todos", **sent)

    assert (first.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize("file_format", FORMATS)
async def test_an_export_changes_nothing_in_its_own_account(ada: Person, file_format: str) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    await ada.todo(list_id=garden, uid="given", steps=[{"title": "fill the can"}], tags=["home"])
    await ada.todo(due_at="2027-01-31T09:00:00Z", recurrence="FREQ=DAILY")
    before = await read_todos(ada)
    body = (await export_todos(ada, file_format)).content

    for existing in ("skip", "update"):
        assert await import_todos(ada, file_format, body, existing=existing) == build_report(unchanged=2)

    assert await read_todos(ada) == before
    assert len(await read_lists(ada)) == 1


async def test_a_file_without_ids_is_recognized_by_its_content(ada: Person) -> None:
    assert await import_todos(ada, "csv", TABLE) == build_report(imported=3, lists_created=1)
    before = await read_todos(ada)
    assert await import_todos(ada, "csv", TABLE) == build_report(unchanged=3)
    assert await import_todos(ada, "csv", TABLE + "Rake the leaves,home,Garden\n") == build_report(
        imported=1, unchanged=3
    )

    assert (await read_todos(ada))[:3] == before
    (garden,) = await read_lists(ada)
    await ada.patch(f"/v1/lists/{garden['id']}", json={"name": "Garten"})
    assert await import_todos(ada, "csv", TABLE) == build_report(unchanged=3)
    assert len(await read_lists(ada)) == 1


async def test_an_import_that_broke_off_is_completed_by_its_repetition(ada: Person) -> None:
    records = [{"title": f"todo {number % 7}"} for number in range(250)]
    await ada.post("/v1/todos/import", json=records[:120])

    report = (await ada.post("/v1/todos/import", json=records)).json()

    assert report == build_report(imported=130, unchanged=120)
    assert len({todo["uid"] for page in (0, 1) for todo in await read_page(ada, page)}) == 250


async def read_page(person: Person, number: int) -> list[dict[str, Any]]:
    """Return a page of up to 200 todos."""
    cursor: dict[str, str] = {}
    for _ in range(number + 1):
        page = (await person.get("/v1/todos", params={"limit": "200"} | cursor)).json()
        cursor = {"cursor": page["next_cursor"]}
    found: list[dict[str, Any]] = page["items"]
    return found


async def test_update_gives_a_todo_the_fields_of_the_record(ada: Person) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    old = await ada.todo(
        uid="1", description="old", list_id=garden, tags=["old"], steps=[{"title": "one"}, {"title": "two"}]
    )
    record = {"uid": "1", "title": "new", "due_on": "2027-01-31", "steps": [{"title": "two", "completed": True}]}

    report = await import_todos(ada, "json", json.dumps([record]), existing="update")
    again = await import_todos(ada, "json", json.dumps([record]), existing="update")

    assert (report, again) == (build_report(updated=1), build_report(unchanged=1))
    (todo,) = await read_todos(ada)
    assert (todo["id"], todo["version"], todo["list_id"]) == (old["id"], old["version"] + 1, garden)
    assert (todo["title"], todo["description"], todo["due_on"], todo["tags"]) == ("new", "", "2027-01-31", [])
    assert todo["steps"] == [{"id": old["steps"][1]["id"], "title": "two", "completed": True}]
    assert (todo["position"], todo["created_at"]) == (old["position"], old["created_at"])
    assert await ada.titles(q="new") == ["new"]
    assert await ada.titles(due_before="2027-02-02T00:00:00Z") == ["new"]
    completed = json.dumps([record | {"completed": True, "completed_at": "2026-01-01T00:00:00Z"}])
    assert await import_todos(ada, "json", completed, existing="update") == build_report(updated=1)
    assert await import_todos(ada, "json", completed, existing="update") == build_report(unchanged=1)
    assert (await ada.get("/v1/todos/summary")).json()["completed"] == 1


async def test_an_invalid_update_is_rejected_and_stops_no_other(ada: Person) -> None:
    await ada.todo(uid="1")
    records = [{"uid": "1", "title": "new", "recurrence": "FREQ=DAILY"}, {"uid": "2", "title": "two"}]

    report = await import_todos(ada, "json", json.dumps(records), existing="update")

    assert (report["imported"], report["updated"], report["rejected_count"]) == (1, 0, 1)
    assert await ada.titles() == ["Water the plants", "two"]


async def test_copy_creates_another_todo_with_another_uid(ada: Person) -> None:
    await ada.todo(uid="1")
    records = json.dumps([{"uid": "1", "title": "one"}, {"uid": "2", "title": "two"}, {"uid": "2", "title": "three"}])

    assert await import_todos(ada, "json", records, existing="copy") == build_report(imported=3)

    todos = await read_todos(ada)
    assert [todo["title"] for todo in todos] == ["Water the plants", "one", "two", "three"]
    assert [todo["uid"] for todo in todos] == ["1", todos[1]["id"], "2", todos[3]["id"]]


@pytest.mark.parametrize(
    ("existing", "expected"),
    [("skip", build_report(imported=1, unchanged=2)), ("update", build_report(imported=1, updated=2))],
)
async def test_two_records_with_one_uid_are_one_todo(ada: Person, existing: str, expected: dict[str, Any]) -> None:
    records = json.dumps([{"uid": "1", "title": title} for title in ("one", "two", "three")])

    assert await import_todos(ada, "json", records, existing=existing, dry_run="true") == expected
    assert await import_todos(ada, "json", records, existing=existing) == expected

    assert await ada.titles() == ["one" if existing == "skip" else "three"]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("titles", "updated", "unchanged"), [(["T2", "T9", "T9"], 1, 1), (["T2", "T9", "T2", "T2"], 2, 1)]
)
async def test_a_dry_run_knows_what_earlier_records_have_written(
    ada: Person, known: bool, titles: list[str], updated: int, unchanged: int
) -> None:
    if known:
        await ada.todo(uid="1", title="Sow")
    table = "title,uid,list\n" + "".join(f"{title},1,{title}\n" for title in titles)
    expected = build_report(updated=updated, unchanged=unchanged, lists_created=2) | (
        {"updated": updated + 1} if known else {"imported": 1}
    )

    assert await import_todos(ada, "csv", table, existing="update", dry_run="true") == expected
    assert await import_todos(ada, "csv", table, existing="update") == expected


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("uid,title,priority\n1,Sow,hihg\n", "priority"),
        ("uid,title,due_on,due_at\n1,Sow,2027-03-01,2027-01-31T09:00:00Z\n", "due_on"),
    ],
)
async def test_an_update_says_which_edit_it_has_left_out(ada: Person, table: str, word: str) -> None:
    await ada.todo(uid="1", title="Sow", due_at="2027-01-31T09:00:00Z")

    skipped = await import_todos(ada, "csv", table)
    for dry_run in ("true", "false"):
        report = await import_todos(ada, "csv", table, existing="update", dry_run=dry_run)
        assert (report["unchanged"], report["warnings_count"]) == (1, 1)
        assert report["warnings"][0]["detail"].startswith(f"{word} was left out")

    assert skipped == build_report(unchanged=1)


@pytest.mark.parametrize("existing", ["skip", "update", "copy"])
async def test_a_dry_run_has_the_same_report_and_writes_nothing(ada: Person, existing: str) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    await ada.todo(uid="1", list_id=garden)
    records = [
        *({"uid": "1", "title": "one"}, {"title": "t" * 250}, {"title": " "}, {"title": "x", "list_id": "0" * 24}),
        *({"title": f"todo {number}"} for number in range(120)),
    ]
    body = json.dumps({"lists": [{"id": "1" * 24, "name": "House"}], "items": records})
    before = (await read_todos(ada), await read_lists(ada))

    dry_run = await import_todos(ada, "json", body, existing=existing, dry_run="true")

    assert (await read_todos(ada), await read_lists(ada)) == before
    assert await import_todos(ada, "json", body, existing=existing) == dry_run
    assert dry_run["rejected_count"] == 2
    assert dry_run["warnings_count"] == 1


async def test_a_repeated_import_with_a_key_has_one_effect_and_one_report(ada: Person) -> None:
    await ada.todo(uid="1")
    body = json.dumps([{"uid": "1", "title": "one"}, {"title": "two"}, {"title": "three"}])
    headers = {"Idempotency-Key": "import"}

    first = await import_todos(ada, "json", body, headers, existing="update")
    again = await import_todos(ada, "json", body, headers, existing="update")

    assert first == again == build_report(imported=2, updated=1)


async def test_texts_that_are_too_long_are_shortened_with_a_warning(ada: Person) -> None:
    words = ("leaf " * 50).strip()
    records = [
        {"title": words, "description": "Rake them."},
        {"title": "x" * 201},
        {"title": " two\r\n\tlines "},
        {"title": "tags", "tags": [f"tag {number}" for number in range(25)] + ["", "y" * 60]},
        {"title": "steps", "steps": [{"title": "s" * 201}, {"title": "a\nb"}]},
        {"title": "description", "description": "d" * 10_001},
        {"title": "uid", "uid": "u" * 300},
    ]
    lines = "[" + ",\n".join(map(json.dumps, records)) + "]"

    report = await import_todos(ada, "json", lines)

    assert report["imported"] == len(records)
    assert [warning["line"] for warning in report["warnings"]] == [1, 2, 4, 4, 5, 6, 7]
    assert [warning["detail"].split()[0] for warning in report["warnings"]] == (
        ["Title", "Title", "Tags", "Tags", "Steps", "Description", "Uid"]
    )
    assert "tag 20, tag 21, tag 22, tag 23, tag 24" in report["warnings"][3]["detail"]
    long, unbroken, folded, tagged, stepped, described, _ = await read_todos(ada)
    assert long["title"] + " " + long["description"] == words + "\n\nRake them."
    assert 150 <= len(long["title"]) <= 200
    assert (unbroken["title"], unbroken["description"]) == ("x" * 200, "x")
    assert folded["title"] == "two lines"
    assert tagged["tags"] == [f"tag {number}" for number in range(20)]
    assert [step["title"] for step in stepped["steps"]] == ["s" * 200, "a b"]
    assert described["description"] == "d" * 10_000
    assert await import_todos(ada, "json", lines) == build_report(unchanged=len(records))


def list_oversized_fields() -> list[dict[str, Any]]:
    """Return fields that are far over their bounds, one or more of each todo."""
    days = [f"2027-{month:02}-{day:02}" for month in range(1, 7) for day in range(1, 21)]
    return [
        {"tags": ["y" * 300]},
        {"tags": [f"tag {number}" for number in range(120)]},
        # 50 characters in NFC, which are 200 in NFD
        {"tags": ["\u03b1\u0313\u0300\u0345" * 50]},
        {"description": "d" * 60_000},
        {"title": "t" * 11_000},
        {"steps": [{"title": "s" * 1200}] * 120},
        {"due_on": "2027-01-01", "reminders": [{"minutes_before": number} for number in range(7)]},
        {"due_on": "2027-01-01", "recurrence": "FREQ=DAILY", "recurrence_except": days},
    ]


async def test_values_far_over_their_bounds_are_cut_with_a_warning(ada: Person) -> None:
    records = [{"title": "x"} | fields for fields in list_oversized_fields()]

    report = await import_todos(ada, "json", json.dumps(records))

    assert (report["imported"], report["rejected"]) == (len(records), [])
    assert list(dict.fromkeys(warning["detail"].partition(":")[0] for warning in report["warnings"])) == [
        "Tags were cut to 50 characters",
        "Tags beyond the first 20 were left out",
        "Description is longer than 10000 characters",
        "Title is longer than 200 characters",
        "Steps beyond the first 100 were left out",
        "Steps have titles of more than 200 characters",
        "Reminders beyond the first 5 were left out",
        "Exceptions beyond the first 100 were left out",
    ]
    cut, tagged, composed, described, titled, stepped, reminded, excepted = await read_todos(ada)
    assert cut["tags"] == ["y" * 50]
    assert tagged["tags"] == [f"tag {number}" for number in range(20)]
    assert composed["tags"] == ["\u1f82" * 50]
    assert described["description"] == "d" * 10_000
    assert (titled["title"], titled["description"]) == ("t" * 200, "t" * 10_000)
    assert [step["title"] for step in stepped["steps"]] == ["s" * 200] * 100
    assert len(reminded["reminders"]) == 5
    assert len(excepted["recurrence_except"]) == 100


@pytest.mark.parametrize(
    ("lines", "field", "expected"),
    [
        (["SUMMARY:x", "CATEGORIES:" + "y" * 300], "tags", ["y" * 50]),
        (["SUMMARY:x", "CATEGORIES:" + ",".join(f"t{n}" for n in range(120))], "tags", [f"t{n}" for n in range(20)]),
        (["SUMMARY:x", "DESCRIPTION:" + "d" * 60_000], "description", "d" * 10_000),
        (["SUMMARY:" + "t" * 11_000], "title", "t" * 200),
    ],
    ids=["long tag", "many tags", "description", "title"],
)
async def test_properties_far_over_their_bounds_are_cut_with_a_warning(
    ada: Person, lines: list[str], field: str, expected: object
) -> None:
    todo = ["BEGIN:VTODO", "UID:1", *lines, "END:VTODO"]
    calendar = ["BEGIN:VCALENDAR", "VERSION:2.0", *todo, "END:VCALENDAR", ""]

    report = await import_todos(ada, "ics", "\r\n".join(calendar))

    assert (report["imported"], report["rejected"]) == (1, [])
    assert report["warnings_count"] > 0
    assert [todo[field] for todo in await read_todos(ada)] == [expected]


async def test_a_text_of_the_size_of_a_record_is_cut(ada: Person) -> None:
    marks = "a" + "\u0301\u0323" * 15  # a run of 30, which NFC reorders

    report = await import_todos(ada, "json", json.dumps([{"title": "x", "tags": [marks * 15_000]}], ensure_ascii=False))

    assert (report["imported"], report["rejected"]) == (1, [])
    assert [len(tag) for todo in await read_todos(ada) for tag in todo["tags"]] == [50]


@pytest.mark.parametrize("fields", list_oversized_fields()[:2] + list_oversized_fields()[3:])
async def test_a_new_todo_with_values_over_their_bounds_is_rejected(ada: Person, fields: dict[str, Any]) -> None:
    assert_problem(await ada.post("/v1/todos", json={"title": "x"} | fields), 422)


async def test_warnings_name_all_that_was_left_out(ada: Person) -> None:
    tags = [f"a tag with the number {number}" for number in range(60)]
    row = f'x,"{",".join([*tags, "y" * 450])}"'

    report = await import_todos(ada, "csv", f"title,tags\n{row}\n", dry_run="true")

    details = [warning["detail"] for warning in report["warnings"]]
    assert max(map(len, details)) <= 200
    named = {
        kind: [d.partition(": ")[2] for d in details if d.startswith(kind)] for kind in ("Tags beyond", "Tags were")
    }
    assert ", ".join(named["Tags beyond"]) == ", ".join([*tags[20:], "y" * 50])
    assert "".join(named["Tags were"]) == "y" * 450


async def test_an_update_leaves_fields_alone_that_a_table_has_no_column_for(ada: Person) -> None:
    garden = (await ada.post("/v1/lists", json={"name": "Garden"})).json()["id"]
    kept = {
        "description": "in rows",
        "priority": "high",
        "due_on": "2027-01-31",
        "start_on": "2027-01-30",
        "time_zone": "Asia/Tokyo",
        "tags": ["garden"],
        "list_id": garden,
        "recurrence": "FREQ=YEARLY",
        "recurrence_from": "completion",
        "reminders": [{"minutes_before": 30}],
    }
    old = await ada.todo(uid="1", title="Sow", steps=[{"title": "Dig", "completed": True}], **kept)

    report = await import_todos(ada, "csv", "uid,title\n1,Mow\n", existing="update")
    again = await import_todos(ada, "csv", "uid,title\n1,Mow\n", existing="update")

    assert (report, again) == (build_report(updated=1), build_report(unchanged=1))
    (todo,) = await read_todos(ada)
    changed = {"title": "Mow", "version": old["version"] + 1, "updated_at": todo["updated_at"]}
    assert todo == old | changed


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("uid,title,due_on\n1,Sow,2027-03-01\n", {"due_on": "2027-03-01", "due_at": None}),
        ("uid,title,due_on\n1,Sow,2027-03-01 09:00\n", {"due_at": "2027-03-01T09:00:00.000Z"}),
        ("uid,title,due_on,start_on,completed\n1,Sow,,,\n", {}),
        ("uid,title,due_on,due_at\n1,Sow,,\n", {"due_at": None}),
        ("uid,title,completed_at\n1,Sow,2026-11-20T09:00:00Z\n", {"completed": True}),
        ("uid,title,recurrence\n1,Sow,FREQ=DAILY\n", {"recurrence": "FREQ=DAILY"}),
        ("uid,title,completed\n1,Sow,true\n", {"completed": True}),
        ("uid,title,tags,priority\n1,Sow,,\n", {"tags": [], "priority": "none"}),
        ("uid,title,description\n1,Sow\n", {"description": ""}),
    ],
)
async def test_an_update_sets_the_fields_that_a_table_has_columns_for(
    ada: Person, table: str, changed: dict[str, Any]
) -> None:
    old = await ada.todo(
        uid="1", title="Sow", description="x", tags=["x"], priority="low", due_at="2027-01-31T09:00:00Z"
    )

    for _ in range(2):
        await import_todos(ada, "csv", table, existing="update")

    (todo,) = await read_todos(ada)
    service = ("version", "updated_at", "completed_at")
    assert {name: value for name, value in todo.items() if name not in service} == {
        name: value for name, value in (old | changed).items() if name not in service
    }
    assert todo["version"] == old["version"] + bool(changed)


async def test_a_table_reopens_a_todo_without_a_column_for_the_time_of_completion(ada: Person) -> None:
    await ada.todo(uid="1", completed=True)

    report = await import_todos(ada, "csv", "uid,title,completed\n1,Sow,false\n", existing="update")

    assert report == build_report(updated=1)
    (todo,) = await read_todos(ada)
    assert (todo["completed"], todo["completed_at"]) == (False, None)


async def test_the_file_of_another_program_leaves_fields_alone_that_it_has_no_place_for(ada: Person) -> None:
    board = {"lists": [], "cards": [{"id": "1", "name": "Sow", "due": "2027-01-31T09:00:00.000Z"}]}
    await ada.post("/v1/todos/import", json=board)
    (todo,) = await read_todos(ada)
    await ada.patch(f"/v1/todos/{todo['id']}", json={"priority": "high", "recurrence": "FREQ=DAILY", "tags": ["x"]})
    board["cards"][0]["name"] = "Sow beans"

    report = await import_todos(ada, "json", json.dumps(board), existing="update")

    assert report == build_report(updated=1)
    (todo,) = await read_todos(ada)
    assert (todo["title"], todo["priority"], todo["recurrence"], todo["tags"]) == (
        "Sow beans",
        "high",
        "FREQ=DAILY",
        [],
    )


async def test_a_field_that_no_longer_fits_is_left_out_of_an_update(ada: Person) -> None:
    await ada.todo(uid="1", due_on="2027-01-31", recurrence="FREQ=DAILY", reminders=[{"minutes_before": 30}])

    report = await import_todos(ada, "csv", "uid,title,due_on\n1,Sow,\n", existing="update")

    assert (report["updated"], report["rejected_count"]) == (1, 0)
    assert [warning["detail"] for warning in report["warnings"]] == [
        "recurrence was left out: expected a due date for a recurring todo",
        "reminder 1 was left out: expected a due date",
    ]
    (todo,) = await read_todos(ada)
    assert (todo["title"], todo["due_on"], todo["recurrence"], todo["reminders"]) == ("Sow", None, None, [])


@pytest.mark.parametrize(
    "cell", ["priority\n1,Sow,hgih", "due_on\n1,Sow,32.1.2027", 'steps\n1,Sow,"[{bad"', "completed\n1,Sow,?"]
)
async def test_a_cell_that_cannot_be_read_leaves_the_field_alone_in_an_update(ada: Person, cell: str) -> None:
    fields = {"priority": "high", "due_at": "2027-01-31T09:00:00.000Z", "steps": [{"title": "Dig"}], "completed": True}
    old = await ada.todo(uid="1", title="Sow", **fields)

    report = await import_todos(ada, "csv", f"uid,title,{cell}\n", existing="update")

    assert (report["unchanged"], report["rejected_count"]) == (1, 0)
    assert await read_todos(ada) == [old]


@pytest.mark.parametrize("dry_run", ["true", "false"])
async def test_a_value_that_breaks_a_rule_leaves_the_field_alone_in_an_update(ada: Person, dry_run: str) -> None:
    fields = {"due_on": "2027-01-31", "recurrence": "FREQ=WEEKLY", "time_zone": "Asia/Tokyo", "description": "Deep"}
    old = await ada.todo(uid="1", title="Sow", **fields)
    table = "uid,title,recurrence,time_zone,description\n1,Sow,FREQ=HOURLY,Mars/Olympus_Mons,\u200b\n"

    report = await import_todos(ada, "csv", table, existing="update", dry_run=dry_run)

    assert (report["unchanged"], report["updated"], report["rejected_count"]) == (1, 0, 0)
    assert [warning["detail"].partition(" was left out")[0] for warning in report["warnings"]] == [
        *("description", "time_zone", "recurrence"),
    ]
    assert await read_todos(ada) == [old]


async def test_a_calendar_of_another_program_leaves_fields_alone_that_it_cannot_contain(ada: Person) -> None:
    todo = await ada.todo(
        due_at="2027-01-31T09:00:00Z",
        time_zone="Asia/Tokyo",
        recurrence="FREQ=DAILY",
        recurrence_from="completion",
    )
    completed = (await ada.post(f"/v1/todos/{todo['id']}/complete")).json()
    assert completed["last_completed_at"] is not None
    calendar = (
        "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VTODO\n"
        f"UID:{todo['uid']}\nSUMMARY:Renamed\nDUE:20270301T090000Z\nRRULE:FREQ=DAILY\nEND:VTODO\nEND:VCALENDAR\n"
    )

    report = await import_todos(ada, "ics", calendar, existing="update")

    assert report["updated"] == 1, report
    (updated,) = await read_todos(ada)
    kept = ("time_zone", "recurrence_from", "last_completed_at")
    assert [updated[name] for name in kept] == [completed[name] for name in kept]
    assert (updated["title"], updated["due_at"]) == ("Renamed", "2027-03-01T09:00:00.000Z")
