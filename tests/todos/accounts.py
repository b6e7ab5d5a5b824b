"""Accounts with many todos, loaded through the store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from odmantic import ObjectId

from todo_service.store.base import DocumentStore
from todo_service.todos.collation import sort_key
from todo_service.todos.documents import Todo
from todo_service.todos.fields import PRIORITIES, extract_field_words, priority_rank
from todo_service.todos.uids import build_uid_fields

SMALL_LIST, LARGE_LIST = ObjectId("0" * 23 + "1"), ObjectId("0" * 23 + "2")
START = datetime(2026, 1, 1, tzinfo=UTC)
DESCRIPTION = "something to do"
_BATCH_SIZE = 1000


def todo(owner: ObjectId, number: int, description: str = DESCRIPTION) -> Todo:
    """Return one of an account's todos: every tenth is open, every third has no due date."""
    made_at = START + timedelta(minutes=number)
    fields: dict[str, Any] = {
        "title": f"todo {number * 7919 % 1_000_000} word{number % 1000}",
        "description": description + (" seldom" if number % 400 == 0 else ""),
        "completed": number % 10 != 0,
        "priority": PRIORITIES[number % 5],
        "due_at": START + timedelta(minutes=number * 31 % 500_000) if number % 3 else None,
        "tags": ["common"] * (number % 2) + ["rare"] * (number % 500 == 0) + ["other"] * (number % 7 == 0),
        "list_id": SMALL_LIST if number % 100 == 0 else LARGE_LIST if number % 4 == 1 else None,
        "steps": [],
        "recurrence": None,
        "position": float(number * 104_729 % 1_000_003),
    }
    identity = ObjectId()
    return Todo(
        id=identity,
        account=owner,
        owner=owner,
        title_key=sort_key(fields["title"]),
        priority_rank=priority_rank(fields["priority"]),
        completed_at=made_at if fields["completed"] else None,
        due_end=fields["due_at"],
        due_local=None,
        version=1,
        created_at=made_at,
        updated_at=made_at,
        words=extract_field_words(fields),
        **build_uid_fields(None, identity),
        **fields,
    )


def parts(owner: ObjectId, size: int, description: str = DESCRIPTION) -> Iterator[list[Todo]]:
    for start in range(0, size, _BATCH_SIZE):
        yield [todo(owner, number, description) for number in range(start, min(start + _BATCH_SIZE, size))]


async def load(
    store: DocumentStore, size: int, owner: ObjectId | None = None, description: str = DESCRIPTION
) -> ObjectId:
    """Create the todos of an account, a new one by default, and return the id of the account."""
    owner = owner or ObjectId()
    for part in parts(owner, size, description):
        await store.insert(*part)
    return owner
