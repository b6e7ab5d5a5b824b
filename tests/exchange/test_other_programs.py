"""Files of other programs come in as the expectations beside them say. `corpus/README.md` describes both."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.exchange.expectations import (
    FILES,
    MEDIA,
    get_format,
    import_file,
    name_file,
    read_expectation,
    read_header,
    register_in_berlin,
)
from tests.exchange.reading import describe, read_drafts, read_file
from tests.people import Person, build_report
from todo_service.errors import Invalid, Malformed
from todo_service.exchange.formats.base import Draft, ImportFormat
from todo_service.exchange.formats.registry import FOREIGN_FORMATS, FORMATS, IMPORT_FORMATS, MEDIA_TYPES
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.todoist import TodoistFormat
from todo_service.exchange.record_uids import RecordUids


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_the_header_of_a_file_names_the_program_and_the_trait(path: Path) -> None:
    header = read_header(path)

    assert set(header) == {"program", "trait"}
    assert all(header.values())


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_only_its_own_format_recognizes_a_file(path: Path) -> None:
    source = Source(path.read_bytes())

    recognizing = [
        name
        for name, each in FOREIGN_FORMATS.items()
        if each.media_type == MEDIA[path.suffix] and each.recognizes(source)
    ]

    assert recognizing == [name for name in [get_format(path)] if name in FOREIGN_FORMATS]


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_a_recognized_file_is_read_as_its_format_reads_it(path: Path) -> None:
    def read(file_format: ImportFormat) -> object:
        try:
            return read_file(file_format, path.read_bytes())
        except (Invalid, Malformed) as error:
            return str(error)

    assert read(MEDIA_TYPES[MEDIA[path.suffix]]) == read(IMPORT_FORMATS[get_format(path)])


@pytest.mark.anyio
@pytest.mark.shared_app
@pytest.mark.parametrize("path", FILES, ids=name_file)
async def test_a_file_comes_in_as_expected(client: httpx.AsyncClient, path: Path) -> None:
    person = await register_in_berlin(client)

    outcome = await import_file(person, path)
    again = await person.post(
        "/v1/todos/import",
        content=path.read_bytes(),
        headers={"Content-Type": "application/octet-stream"},
        params={"format": get_format(path)},
    )

    assert outcome == read_expectation(path)
    if "problem" in outcome:
        assert again.status_code == outcome["problem"]["status"]
        return
    report, repeated = build_report(**outcome["report"]), again.json()
    assert repeated == build_report(
        unchanged=report["imported"] + report["unchanged"],
        rejected=report["rejected"],
        rejected_count=report["rejected_count"],
    )


@pytest.mark.anyio
@pytest.mark.shared_app
@pytest.mark.parametrize("file_format", ["json", "csv"])
async def test_our_own_files_are_not_taken_for_those_of_others(ada: Person, file_format: str) -> None:
    await ada.post("/v1/lists", json={"name": "cards"})
    await ada.todo(title='"kind": "tasks#task"', description='{"cards": []}', tags=["TYPE", "CONTENT"])
    exported = (await ada.get("/v1/todos/export", params={"format": file_format})).content

    own = FORMATS[file_format]

    assert read_drafts(MEDIA_TYPES[own.media_type], exported) == read_drafts(own, exported)


def test_a_relative_date_does_not_make_another_todo_on_another_day() -> None:
    body = "TYPE,CONTENT,PRIORITY,INDENT,DATE,DATE_LANG\ntask,Sow,4,1,tomorrow,en\n"

    (first,) = read_drafts(TodoistFormat(lambda: datetime(2027, 1, 1, tzinfo=UTC)), body)
    (second,) = read_drafts(TodoistFormat(lambda: datetime(2027, 1, 2, tzinfo=UTC)), body)

    assert (first.todo.due_on, second.todo.due_on) == ("2027-01-02", "2027-01-03")
    assert RecordUids().identify(first).todo.uid == RecordUids().identify(second).todo.uid


def test_a_board_has_values_of_any_size() -> None:
    nested = '{"text": "]}' + "\\\\" * 3 + '", "numbers": [[1, 2], {"a": []}]}'
    actions = "[" + ", ".join([nested, "0", '"x"'] * 50_000) + "]"
    body = f'{{"actions": {actions}, "prefs": {{"all": {actions}}}, "cards": [{{"id": "1", "name": "Sow"}}]}}'

    (draft,) = read_drafts(FOREIGN_FORMATS["trello"], body)

    assert describe(draft) == {"title": "Sow"}
    for broken in (body[:-40], body.replace("]}, ", "], ", 1), body.replace('"x"', '"x', 1)):
        with pytest.raises((Invalid, Malformed)):
            read_drafts(FOREIGN_FORMATS["trello"], broken)


@pytest.mark.anyio
@pytest.mark.parametrize("minutes", [525_601, 1e12, 1e300])
async def test_a_reminder_that_no_todo_can_have_is_left_out(ada: Person, minutes: float) -> None:
    card = {"id": "1", "name": "Sow", "due": "2027-03-01T09:00:00.000Z", "dueReminder": minutes}

    response = await ada.post("/v1/todos/import", params={"format": "trello"}, json={"cards": [card], "lists": []})

    detail = "Due Reminder was left out: expected at most 525600 minutes"
    assert [warning["detail"] for warning in response.json()["warnings"]] == [detail]
    (todo,) = (await ada.get("/v1/todos")).json()["items"]
    assert (todo["due_at"], todo["reminders"]) == ("2027-03-01T09:00:00.000Z", [])


def test_the_first_items_of_a_checklist_become_steps() -> None:
    items = ", ".join(f'{{"name": "{number}", "pos": {1000 - number}}}' for number in range(300))
    card = '{"cards": [{"id": "a", "name": "Sow"}]'

    (draft,) = read_drafts(
        FOREIGN_FORMATS["trello"], f'{card}, "checklists": [{{"idCard": "a", "checkItems": [{items}]}}]}}'
    )

    assert [step.title for step in draft.todo.steps] == [str(number) for number in range(299, 199, -1)]
    assert draft.warnings == ("Checklist items beyond the first 100 were left out",)


@pytest.mark.parametrize("program", FOREIGN_FORMATS)
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"{", b"[" * 70, b'{"items": [1]}', b"title\nx\n", b"\xff\xfe"])
def test_a_body_of_another_kind_is_refused_or_empty(program: str, body: bytes) -> None:
    file_format = IMPORT_FORMATS[program]
    assert not file_format.recognizes(Source(body))
    with contextlib.suppress(Invalid, Malformed):
        assert not any(isinstance(each, Draft) for each in read_file(file_format, body))


@pytest.mark.parametrize("program", FOREIGN_FORMATS)
def test_the_page_about_moving_names_the_program(program: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "moving.md"

    headings = [line.lower() for line in page.read_text().splitlines() if line.startswith("## ")]

    assert any(program in heading for heading in headings)


def test_a_todo_without_defaults_is_described() -> None:
    (draft,) = read_drafts(FORMATS["csv"], "title,list\nSow,Garden\n")

    assert describe(draft) == {"title": "Sow", "list": "Garden"}


@pytest.mark.parametrize(("program", "pointer"), [("google", "/items"), ("trello", "/cards")])
def test_an_object_that_is_not_of_the_format_is_refused(program: str, pointer: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_file(IMPORT_FORMATS[program], '{"a": 1}')

    assert raised.value.issues[0].pointer == pointer
