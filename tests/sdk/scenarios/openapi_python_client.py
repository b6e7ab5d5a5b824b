"""A scenario of one user with the client of openapi-python-client."""

import os
import sys
from datetime import UTC, date, datetime
from http import HTTPStatus
from io import BytesIO
from typing import Any, TypeVar

from todo_client import AuthenticatedClient, Client
from todo_client.api.sessions import create_token
from todo_client.api.todos import (
    complete_todo,
    create_todo,
    delete_todo,
    export_todos,
    get_todo,
    import_todos,
    list_todos,
    update_todo,
)
from todo_client.api.users import create_user, get_me
from todo_client.models import (
    ExportTodosFormat,
    ImportResult,
    ImportTodosFormat,
    Problem,
    Todo,
    TodoCreate,
    TodoPage,
    TodoSort,
    TodoUpdate,
    TokenPair,
    TokenRequest,
    TokenRequestGrantType,
    User,
    UserCreate,
)
from todo_client.types import File, Response

URL = os.environ["SERVICE_URL"]
PASSWORD = "correct horse battery"
seen: list[int] = []
KindT = TypeVar("KindT")


def expect(kind: type[KindT], response: Response[Any], status: HTTPStatus) -> KindT:
    """Check the status and the type of the parsed body, and return the body."""
    assert response.status_code == status, response.content
    assert isinstance(response.parsed, kind), response.content
    seen.append(status)
    return response.parsed


anonymous = Client(URL)
registration = UserCreate("python-client", "python-client@example.com", PASSWORD)
user = expect(User, create_user.sync_detailed(client=anonymous, body=registration), HTTPStatus.CREATED)
form = TokenRequest(TokenRequestGrantType.PASSWORD, user.username, PASSWORD)
tokens = expect(TokenPair, create_token.sync_detailed(client=anonymous, body=form), HTTPStatus.OK)
client = AuthenticatedClient(URL, token=tokens.access_token)

due = datetime(2027, 1, 31, 9, tzinfo=UTC)
plants = TodoCreate("Water the plants", due_at=due, recurrence="FREQ=WEEKLY", tags=["home"])
seeds = TodoCreate("Buy seeds", start_on=date(2027, 1, 30), due_on=date(2027, 1, 31), time_zone="Europe/Berlin")
for body in (plants, seeds, TodoCreate("Rake the leaves")):
    expect(Todo, create_todo.sync_detailed(client=client, body=body), HTTPStatus.CREATED)

order = TodoSort.CREATED_AT
first = expect(TodoPage, list_todos.sync_detailed(client=client, sort=order, limit=2), HTTPStatus.OK)
assert first.next_cursor is not None
assert first.items[1].due_on == date(2027, 1, 31)
further = list_todos.sync_detailed(client=client, sort=order, limit=2, cursor=first.next_cursor)
second = expect(TodoPage, further, HTTPStatus.OK)
assert second.next_cursor is None
assert [todo.title for todo in first.items + second.items] == ["Water the plants", "Buy seeds", "Rake the leaves"]

todo = first.items[0]
response = get_todo.sync_detailed(todo.id, client=client)
tag = response.headers["ETag"]
patch = TodoUpdate(title="Water all the plants")
changed = expect(Todo, update_todo.sync_detailed(todo.id, client=client, body=patch, if_match=tag), HTTPStatus.OK)
assert (changed.title, changed.priority, changed.tags) == ("Water all the plants", todo.priority, ["home"])
stale = update_todo.sync_detailed(todo.id, client=client, body=patch, if_match=tag)
problem = expect(Problem, stale, HTTPStatus.PRECONDITION_FAILED)
assert problem.type_ == "urn:todo-service:problem:stale"

completed = expect(Todo, complete_todo.sync_detailed(todo.id, client=client), HTTPStatus.OK)
assert completed.due_at == datetime(2027, 2, 7, 9, tzinfo=UTC)
assert not completed.completed

cleared = TodoUpdate(due_at=None, recurrence=None)
emptied = expect(Todo, update_todo.sync_detailed(todo.id, client=client, body=cleared), HTTPStatus.OK)
assert emptied.due_at is None
assert emptied.title == "Water all the plants"

stranger = AuthenticatedClient(URL, token="nonsense")
expect(Problem, list_todos.sync_detailed(client=stranger), HTTPStatus.UNAUTHORIZED)
expect(Problem, get_todo.sync_detailed("0" * 24, client=client), HTTPStatus.NOT_FOUND)
expect(Problem, create_user.sync_detailed(client=anonymous, body=registration), HTTPStatus.CONFLICT)
blank = create_todo.sync_detailed(client=client, body=TodoCreate("Never", recurrence="FREQ=NEVER"))
problem = expect(Problem, blank, HTTPStatus.UNPROCESSABLE_ENTITY)
assert problem.errors
assert problem.errors[0].pointer == "/recurrence"

for name, beginning in (("csv", b"id,title,"), ("json", b'{"lists":'), ("ics", b"BEGIN:VCALENDAR")):
    exporting = export_todos.sync_detailed(client=client, format_=ExportTodosFormat(name))
    content = expect(File, exporting, HTTPStatus.OK).payload.read()
    assert content.startswith(beginning)
    file = File(BytesIO(content))
    imported = import_todos.sync_detailed(client=client, body=file, format_=ImportTodosFormat(name))
    report = expect(ImportResult, imported, HTTPStatus.OK)
    assert (report.imported, report.unchanged) == (0, 3)

gone = delete_todo.sync_detailed(todo.id, client=client)
assert gone.status_code == HTTPStatus.NO_CONTENT
seen.append(gone.status_code)
expect(Problem, get_todo.sync_detailed(todo.id, client=client), HTTPStatus.NOT_FOUND)

last = get_me.sync_detailed(client=client)
for _ in range(1000):
    if last.status_code != HTTPStatus.OK:
        break
    last = get_me.sync_detailed(client=client)
expect(Problem, last, HTTPStatus.TOO_MANY_REQUESTS)
assert int(last.headers["Retry-After"]) > 0
sys.stdout.write(" ".join(str(int(status)) for status in seen) + "\n")
