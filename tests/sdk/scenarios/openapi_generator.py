"""A scenario of one user with the Python client of openapi-generator."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from todo_client import (
    ApiClient,
    Configuration,
    Problem,
    SessionsApi,
    TodoCreate,
    TodosApi,
    TodoSort,
    TodoUpdate,
    UserCreate,
    UsersApi,
)
from todo_client.exceptions import ApiException

URL = os.environ["SERVICE_URL"]
PASSWORD = "correct horse battery"
seen: list[int] = []


def create_client(token: str | None) -> ApiClient:
    return ApiClient(Configuration(host=URL, access_token=token, retries=0))


def expect_problem(status: int, call: Callable[[], Any]) -> Problem:
    """Return the problem that a call raises."""
    try:
        call()
    except ApiException as error:
        failure = error
    else:
        raise AssertionError(f"expected {status}")
    assert failure.status == status, failure
    assert isinstance(failure.data, Problem), failure
    seen.append(status)
    return failure.data


anonymous = create_client(None)
registration = UserCreate(username="generator", email="generator@example.com", password=PASSWORD)
user = UsersApi(anonymous).create_user_with_http_info(registration)
seen.append(user.status_code)
tokens = SessionsApi(anonymous).create_token_with_http_info("password", username=user.data.username, password=PASSWORD)
seen.append(tokens.status_code)
client = create_client(tokens.data.access_token)
todos = TodosApi(client)

due = datetime(2027, 1, 31, 9, tzinfo=UTC)
plants = TodoCreate(title="Water the plants", due_at=due, recurrence="FREQ=WEEKLY", tags=["home"])
seeds = TodoCreate(title="Buy seeds", start_on=date(2027, 1, 30), due_on=date(2027, 1, 31), time_zone="Europe/Berlin")
bodies = [plants, seeds, TodoCreate(title="Rake the leaves")]
seen += [todos.create_todo_with_http_info(body).status_code for body in bodies]

first = todos.list_todos(sort=TodoSort.CREATED_AT, limit=2)
assert first.next_cursor is not None
assert first.items[1].due_on == date(2027, 1, 31)
second = todos.list_todos(sort=TodoSort.CREATED_AT, limit=2, cursor=first.next_cursor)
assert second.next_cursor is None
assert [todo.title for todo in first.items + second.items] == ["Water the plants", "Buy seeds", "Rake the leaves"]
seen += [200, 200]

todo = first.items[0]
response = todos.get_todo_with_http_info(todo.id)
assert response.headers is not None
tag = response.headers["etag"]
patch = TodoUpdate(title="Water all the plants")
changed = todos.update_todo_with_http_info(todo.id, patch, if_match=tag)
seen.append(changed.status_code)
assert changed.data.title == "Water all the plants"
assert (changed.data.priority, changed.data.tags) == (todo.priority, ["home"])
problem = expect_problem(412, lambda: todos.update_todo(todo.id, patch, if_match=tag))
assert problem.type == "urn:todo-service:problem:stale"

completed = todos.complete_todo_with_http_info(todo.id)
seen.append(completed.status_code)
assert completed.data.due_at == datetime(2027, 2, 7, 9, tzinfo=UTC)
assert not completed.data.completed

emptied = todos.update_todo_with_http_info(todo.id, TodoUpdate(due_at=None, recurrence=None))
seen.append(emptied.status_code)
assert emptied.data.due_at is None
assert emptied.data.title == "Water all the plants"

expect_problem(401, lambda: TodosApi(create_client("nonsense")).list_todos())
expect_problem(404, lambda: todos.get_todo("0" * 24))
expect_problem(409, lambda: UsersApi(anonymous).create_user(registration))
problem = expect_problem(422, lambda: todos.create_todo(TodoCreate(title="Never", recurrence="FREQ=NEVER")))
assert problem.errors
assert problem.errors[0].pointer == "/recurrence"

for name, beginning in (("csv", b"id,title,"), ("json", b'{"lists":'), ("ics", b"BEGIN:VCALENDAR")):
    exported = todos.export_todos_with_http_info(format=name)
    seen.append(exported.status_code)
    assert exported.data.startswith(beginning)
    # the client encodes JSON again, and with a format any other media type will do
    imported = todos.import_todos_with_http_info(bytes(exported.data), format=name, _content_type="text/csv")
    seen.append(imported.status_code)
    assert (imported.data.imported, imported.data.unchanged) == (0, 3)

seen.append(todos.delete_todo_with_http_info(todo.id).status_code)
expect_problem(404, lambda: todos.get_todo(todo.id))


def exceed_rate_limit() -> None:
    for _ in range(1000):
        UsersApi(client).get_me()


expect_problem(429, exceed_rate_limit)
sys.stdout.write(" ".join(map(str, seen)) + "\n")
