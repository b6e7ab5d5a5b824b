"""Todos and tags over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, TypeVar

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta
from odmantic import ObjectId

from todo_service.bounds.todos import BATCH_BYTES
from todo_service.decoding import decode_json
from todo_service.errors import Invalid, ValidationIssue
from todo_service.idempotency.middleware import identity_of
from todo_service.idempotency.replays import require_document, require_documents
from todo_service.store.base import StoreUnavailable
from todo_service.sync.changes import SyncToken
from todo_service.todos import dto
from todo_service.todos.documents import Todo
from todo_service.todos.query import Position
from todo_service.todos.service import Todos
from todo_service.web.cursors import respond_with_page
from todo_service.web.entity_tags import entity_tag, parse_entity_tags, parse_if_match, respond_with_tag
from todo_service.web.openapi.config import declare_headers, declare_problems
from todo_service.web.problems import Problem, describe_problem, to_problem
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import COMPONENTS, IDEMPOTENT, ON_REPLAY, QUERY

_OPERATIONS_PER_TURN: Final = 10
"""How many operations of a batch are carried out before other requests get their turn."""
StructT = TypeVar("StructT", bound=msgspec.Struct)


_NEEDS: Final = {
    "create": {"todo"},
    "update": {"id", "todo"},
    "delete": {"id"},
    "complete": {"id"},
    "reopen": {"id"},
}
"""What each operation of a batch has beside `op`; all but `create` may have `if_match` too."""


class BatchResult(msgspec.Struct, omit_defaults=True):
    """What became of one operation of a batch."""

    status: Annotated[int, Meta(description="The status that the operation's own call would have had.", examples=[201])]
    todo: Annotated[
        dto.Todo | None,
        Meta(
            description=(
                "The todo, if it is there after the operation; left out where the todos of the answer come to more "
                "than 2 MiB."
            )
        ),
    ] = None
    problem: Annotated[Problem | None, Meta(description="Why the operation failed.")] = None


class BatchResults(msgspec.Struct):
    """What became of a batch."""

    results: Annotated[list[BatchResult], Meta(description="One for each operation, in the same order.")]


class TodosController(Controller):
    """The todos of whoever asks."""

    path = "/v1/todos"
    tags = ["Todos"]

    @post(
        "/",
        operation_id="createTodo",
        opt={IDEMPOTENT: True, ON_REPLAY: require_document(Todo)},
        summary="Create a todo",
        responses=declare_problems(400, 401, 409, 410, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag", "Location"),
    )
    async def create_todo(
        self, request: ApiRequest, data: JSONBody[dto.TodoCreate], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Make a todo. It comes last in the manual order unless it says otherwise."""
        todo = await todos.create(data, identity_of(request))
        return Response(todo, headers={"Location": f"/v1/todos/{todo.id}", "ETag": entity_tag(todo)})

    @get(
        "/",
        operation_id="listTodos",
        summary="List todos",
        opt={QUERY: dto.TodoQuery},
        responses=declare_problems(401, 422, 429, 503),
        response_headers=declare_headers("Link"),
    )
    async def list_todos(self, request: ApiRequest, todos: NamedDependency[Todos]) -> Response[dto.TodoPage]:
        """Read todos page by page: filtered, in the order asked for."""
        query = request.parameters(dto.TodoQuery)
        # a cursor belongs to the account and to the list's filters and order, not to the size of its pages
        context = msgspec.msgpack.encode(
            [str(request.user.user_id), msgspec.structs.replace(query, cursor=UNSET, limit=1)], enc_hook=str
        )
        after = request.cursors.open(query.cursor, Position, context) if query.cursor is not UNSET else None
        items, position = await todos.page(query, after)
        return respond_with_page(request, dto.TodoPage(items, request.cursors.seal_next(position, context)))

    @post(
        "/batch",
        operation_id="batchTodos",
        opt={IDEMPOTENT: True, ON_REPLAY: require_documents(Todo), COMPONENTS: [dto.BatchOperation]},
        summary="Carry out many operations",
        status_code=200,
        responses=declare_problems(400, 401, 409, 410, 413, 415, 422, 429, 503),
    )
    async def batch_todos(
        self, request: ApiRequest, data: JSONBody[dto.Batch], todos: NamedDependency[Todos]
    ) -> BatchResults:
        """Carry out up to 100 operations, one after the other; one that fails fails no other."""
        results = []
        size = 0
        for index, raw in enumerate(data.operations):
            if index % _OPERATIONS_PER_TURN == 0:
                await asyncio.sleep(0)  # operations that fail never wait for the store
            try:
                result = await _carry_out(raw, todos, identity_of(request, index))
                size += 0 if result.todo is None else len(msgspec.json.encode(result.todo))
                results.append(result if size <= BATCH_BYTES else BatchResult(result.status))
            except StoreUnavailable:
                raise  # waiting for it a hundred times helps nobody; a repeat with the key finishes what was begun
            except Exception as error:  # each operation has its own answer, whatever it is
                problem = to_problem(error)
                body = describe_problem(request, problem, f"/operations/{index}")
                results.append(BatchResult(body.status, problem=body))
        return BatchResults(results)

    @get(
        "/changes",
        operation_id="listChanges",
        summary="Synchronise",
        opt={QUERY: dto.ChangesQuery},
        responses=declare_problems(401, 410, 422, 429, 503),
    )
    async def list_changes(self, request: ApiRequest, todos: NamedDependency[Todos]) -> dto.Changes:
        """Read what has changed since the last call: everything at first, then only what is new.

        Nothing is ever missed; a todo may come twice. Deletions are remembered for 30 days; a token that is older,
        or from before the documents were copied or restored, is answered with 410: begin anew.
        """
        query = request.parameters(dto.ChangesQuery)
        context = b"changes" + request.user.user_id.binary
        since = request.cursors.open(query.since, SyncToken, context, "since") if query.since is not UNSET else None
        changed, deleted, here, more = await todos.changes(since, query.limit)
        return dto.Changes(changed, deleted, request.cursors.seal(here, context), more)

    @get(
        "/summary",
        operation_id="getSummary",
        summary="Count todos",
        opt={QUERY: dto.SummaryQuery},
        responses=declare_problems(401, 404, 422, 429, 503),
    )
    async def get_summary(self, request: ApiRequest, todos: NamedDependency[Todos]) -> dto.Summary:
        """Count the todos: open, completed, overdue, due today, by priority, by list and by tag."""
        query = request.parameters(dto.SummaryQuery)
        return await todos.summary(query.tz if query.tz is not UNSET else None)

    @get(
        "/{todo_id:str}",
        operation_id="getTodo",
        summary="Read a todo",
        responses={**declare_problems(401, 404, 422, 429, 503)},
        response_headers=declare_headers("ETag"),
    )
    async def get_todo(
        self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Read one todo; with `If-None-Match` only if it has changed."""
        return respond_with_tag(request, await todos.todo(todo_id))

    @patch(
        "/{todo_id:str}",
        operation_id="updateTodo",
        summary="Change a todo",
        responses=declare_problems(400, 401, 404, 409, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def update_todo(
        self, request: ApiRequest, todo_id: FromPath[str], data: JSONBody[dto.TodoUpdate], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Change a todo by a merge patch; with `If-Match` only if nobody else has changed it."""
        todo = await todos.update(todo_id, data, parse_if_match(request))
        return Response(todo, headers={"ETag": entity_tag(todo)})

    @delete(
        "/{todo_id:str}",
        operation_id="deleteTodo",
        summary="Delete a todo",
        responses=declare_problems(401, 404, 412, 422, 429, 503),
    )
    async def delete_todo(self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]) -> None:
        """Delete a todo; with `If-Match` only if nobody else has changed it."""
        await todos.delete(todo_id, parse_if_match(request))

    @post(
        "/{todo_id:str}/complete",
        operation_id="completeTodo",
        opt={IDEMPOTENT: True},
        summary="Complete a todo",
        status_code=200,
        responses=declare_problems(401, 404, 409, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def complete_todo(
        self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Complete a todo. One that recurs moves to its next due date, and is completed when its rule has ended."""
        todo = await todos.complete(todo_id, parse_if_match(request), identity_of(request))
        return Response(todo, headers={"ETag": entity_tag(todo)})

    @post(
        "/{todo_id:str}/reopen",
        operation_id="reopenTodo",
        opt={IDEMPOTENT: True},
        summary="Open a todo again",
        status_code=200,
        responses=declare_problems(401, 404, 409, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def reopen_todo(
        self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Open a completed todo again."""
        todo = await todos.reopen(todo_id, parse_if_match(request), identity_of(request))
        return Response(todo, headers={"ETag": entity_tag(todo)})


async def _carry_out(raw: msgspec.Raw, todos: Todos, change_id: ObjectId | None) -> BatchResult:
    operation: dto.BatchOperation = decode_json(bytes(raw), dto.BatchOperation)
    needs = _NEEDS[operation.op]
    for name in ("id", "todo"):
        if (getattr(operation, name) is not UNSET) is not (name in needs):
            raise Invalid(
                [ValidationIssue(f"/{name}", "this field is required" if name in needs else "Expected no such field")]
            )
    versions = None
    if operation.if_match is not UNSET:
        if operation.op == "create":
            raise Invalid([ValidationIssue("/if_match", "Expected no such field")])
        versions = parse_entity_tags(operation.if_match, "if_match")
    todo_id = operation.id if operation.id is not UNSET else ""
    match operation.op:
        case "create":
            with _pointing_into_the_todo():
                return BatchResult(201, await todos.create(_todo_of(operation, dto.TodoCreate), change_id))
        case "update":
            with _pointing_into_the_todo():
                return BatchResult(
                    200, await todos.update(todo_id, _todo_of(operation, dto.TodoUpdate), versions, change_id)
                )
        case "complete":
            return BatchResult(200, await todos.complete(todo_id, versions, change_id))
        case "reopen":
            return BatchResult(200, await todos.reopen(todo_id, versions, change_id))
    await todos.delete(todo_id, versions, change_id)
    return BatchResult(204)


def _todo_of(operation: dto.BatchOperation, kind: type[StructT]) -> StructT:
    assert operation.todo is not UNSET  # it was looked at
    todo: StructT = decode_json(bytes(operation.todo), kind)
    return todo


@contextmanager
def _pointing_into_the_todo() -> Iterator[None]:
    """Let errors point into the operation, of which the todo is a part."""
    try:
        yield
    except Invalid as error:
        raise error.below("/todo") from None


class TagsController(Controller):
    """The tags of whoever asks."""

    path = "/v1/tags"
    tags = ["Tags"]

    @get("/", operation_id="listTags", summary="List tags", responses=declare_problems(401, 422, 429, 503))
    async def list_tags(self, todos: NamedDependency[Todos]) -> dto.TagCounts:
        """Read every tag in use, and how many todos have it."""
        return dto.TagCounts(await todos.tags())
