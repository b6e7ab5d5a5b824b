"""The disk space of an account stays within the figures of docs/limits.md and docs/operations.md."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path

import pytest
from bson import encode
from litestar import Litestar

from tests.limits_page import TODO_BYTES, list_disk_space
from tests.people import Person
from tests.todos.largest import build_largest_todo
from todo_service.bounds.texts import SEARCHED_WORDS
from todo_service.bounds.todos import DESCRIPTION_LENGTH, STEPS, TAG_LENGTH, TAGS, TITLE_LENGTH
from todo_service.settings import Settings
from todo_service.store.registry import find_local_folder
from todo_service.todos.documents import Todo

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
WARM_UP, MEASURED = 10, 30
_WORD_BYTES = 200


@pytest.mark.anyio
async def test_the_largest_todo_takes_less_than_documented(app: Litestar, ada: Person, settings: Settings) -> None:
    folder = find_local_folder(settings.store_address)
    sizes = []
    for number in range(WARM_UP + MEASURED):
        await ada.todo(**build_largest_todo(number))
        if folder is not None and number + 1 in (WARM_UP, WARM_UP + MEASURED):
            sizes.append((folder / "data.mdb").stat().st_size)
    documents = [todo async for todo in app.state.store.scan(Todo)]

    assert len(documents) == WARM_UP + MEASURED
    for todo in documents:
        assert len(todo.words) > SEARCHED_WORDS * 0.9
        # the document, and each word once more in an index
        assert len(encode(todo.model_dump_doc())) + sum(len(word.encode()) for word in todo.words) < TODO_BYTES * 0.75
    if sizes:
        assert (sizes[1] - sizes[0]) / MEASURED < TODO_BYTES


def test_the_documented_size_of_a_todo_follows_from_the_limits_of_its_texts() -> None:
    text = 4 * (TITLE_LENGTH + DESCRIPTION_LENGTH + STEPS * TITLE_LENGTH + TAGS * TAG_LENGTH)
    # a page of an index may be half empty
    words = SEARCHED_WORDS * (_WORD_BYTES + 12) + 2 * SEARCHED_WORDS * (_WORD_BYTES + 50)

    assert text + words < TODO_BYTES


def test_the_guide_states_the_disk_space_of_an_account() -> None:
    total = sum(each.total for each in list_disk_space())
    stated = re.search(r"one account can take up to (\d+) GiB", OPERATIONS.read_text())

    assert stated is not None
    assert int(stated[1]) == ceil(total / 2**30)
