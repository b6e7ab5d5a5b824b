"""The endpoints of todos and tags."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta

from todo_service.bounds.todos import BATCH_BYTES
from todo_service.idempotency.derivation import derive_idempotent_id
from todo_service.idempotency.replays import require_document, require_documents
from todo_service.store.errors import StoreUnavailable
from todo_service.sync.changes import SyncToken
from todo_service.sync.dto import Changes, ChangesQuery, build_response
from todo_service.todos import dto
from todo_service.todos.batch import count_creates, decode_operation, run_operation
from todo_service.todos.batch_dto import Batch, BatchOperation
from todo_service.todos.documents import Todo
from todo_service.todos.query import TodoPosition
from todo_service.todos.service import Todos
from todo_service.web.cursors import respond_with_page
from todo_service.web.entity_tags import (
    entity_tag,
    parse_conditions,
    parse_entity_tags,
    parse_if_match,
    respond_with_tag,
)
from todo_service.web.openapi.config import declare_headers, declare_problems
from todo_service.web.problems import Problem, describe_problem, to_problem
from todo_service.web.requests import ApiRequest, QueryRequest
from todo_service.web.route_options import COMPONENTS, IDEMPOTENT, ON_REPLAY, PARTS_LATER

_OPERATIONS_PER_TURN: Final = 10
"""How many operations of a batch run before the event loop serves other requests."""


class BatchResult(msgspec.Struct, omit_defaults=True, frozen=True):
    """The result of one operation of a batch."""

    status: Annotated[
        int, Meta(description="The status that the endpoint of the operation would return.", examples=[201])
    ]
    todo: Annotated[
        dto.Todo | None,
        Meta(
            description=(
                "The todo after the operation, unless it is deleted. Omitted once the todos of the response exceed "
                "2 MiB."
            )
        ),
    ] = None
    problem: Annotated[Problem | None, Meta(description="The reason why the operation failed.")] = None


class BatchResults(msgspec.Struct, frozen=True):
    """The results of a batch."""

    results: Annotated[list[BatchResult], Meta(description="One result for each operation, in the same order.")]


class TodosController(Controller):
    """The todos of the caller."""

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
        """Create a todo. By default it comes last in the manual order."""
        todo = await todos.create(data, derive_idempotent_id(request))
        return Response(todo, headers={"Location": f"/v1/todos/{todo.id}", "ETag": entity_tag(todo)})

    @get(
        "/",
        operation_id="listTodos",
        summary="List todos",
        responses=declare_problems(401, 422, 429, 503),
        response_headers=declare_headers("Link"),
    )
    async def list_todos(
        self, request: QueryRequest[dto.TodoQuery], todos: NamedDependency[Todos]
    ) -> Response[dto.TodoPage]:
        """List todos page by page, with filters and a sort order."""
        query = request.parameters()
        # a cursor is valid for one account, set of filters and order, with any page size
        context = msgspec.msgpack.encode(
            [str(request.user.user_id), msgspec.structs.replace(query, cursor=UNSET, limit=1)], enc_hook=str
        )
        after = request.cursors.open(query.cursor, TodoPosition, context)
        items, position = await todos.read_page(query, after)
        following = request.cursors.seal_next(position, context)
        return respond_with_page(request, dto.TodoPage(dto.encode_todos(items), following))

    @post(
        "/batch",
        operation_id="batchTodos",
        opt={
            IDEMPOTENT: True,
            ON_REPLAY: require_documents(Todo),
            COMPONENTS: [BatchOperation],
            PARTS_LATER: True,
        },
        summary="Run a batch of operations",
        status_code=200,
        responses=declare_problems(400, 401, 409, 410, 413, 415, 422, 429, 503),
    )
    async def batch_todos(
        self, request: ApiRequest, data: JSONBody[Batch], todos: NamedDependency[Todos]
    ) -> BatchResults:
        """Run up to 100 operations in order. Each succeeds or fails independently of the others."""
        results = []
        size = 0
        async with todos.reserve_for_batch(count_creates(data.operations)) as room:
            for index, raw in enumerate(data.operations):
                if index % _OPERATIONS_PER_TURN == 0:
                    await asyncio.sleep(0)  # operations that fail may never await the store
                try:
                    operation = decode_operation(raw)
                    expected = operation.if_match
                    versions = parse_entity_tags(expected, "if_match") if expected is not UNSET else None
                    change_id = derive_idempotent_id(request, index)
                    result = BatchResult(*await run_operation(operation, todos, room, versions, change_id))
                    size += 0 if result.todo is None else len(msgspec.json.encode(result.todo))
                    results.append(result if size <= BATCH_BYTES else BatchResult(result.status))
                except StoreUnavailable:
                    raise  # fail fast; a repeat with the same Idempotency-Key completes the batch
                except Exception as error:  # any error is the result of its own operation only
                    problem = to_problem(error)
                    body = describe_problem(request, problem, f"/operations/{index}")
                    results.append(BatchResult(body.status, problem=body))
        return BatchResults(results)

    @get(
        "/changes",
        operation_id="listChanges",
        summary="List changes",
        responses=declare_problems(401, 410, 422, 429, 503),
    )
    async def list_changes(self, request: QueryRequest[ChangesQuery], todos: NamedDependency[Todos]) -> Changes:
        """List the todos and lists that were changed or deleted since the last call. The first call returns all.

        No change is ever missed, but a document may be returned twice. Deletions are reported for 30 days. An older
        token, or one issued before the data was copied or restored, gets a 410: start over without `since`.
        """
        query = request.parameters()
        context = b"changes" + request.user.user_id.binary
        since = request.cursors.open(query.since, SyncToken, context, "since")
        page = await todos.read_changes(since, query.limit)
        return build_response(page, request.cursors.seal(page.next, context))

    @get(
        "/summary",
        operation_id="getSummary",
        summary="Count todos",
        responses=declare_problems(401, 404, 422, 429, 503),
    )
    async def get_summary(self, request: QueryRequest[dto.SummaryQuery], todos: NamedDependency[Todos]) -> dto.Summary:
        """Count open, completed and overdue todos and those due today, and count todos by priority, list and tag."""
        query = request.parameters()
        return await todos.summarize(query.tz if query.tz is not UNSET else None)

    @get(
        "/{todo_id:str}",
        operation_id="getTodo",
        summary="Get a todo",
        responses=declare_problems(401, 404, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def get_todo(
        self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Get a todo. With `If-None-Match`, returns 304 if it has not changed."""
        return respond_with_tag(request, await todos.get(todo_id))

    @patch(
        "/{todo_id:str}",
        operation_id="updateTodo",
        summary="Update a todo",
        responses=declare_problems(400, 401, 404, 409, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def update_todo(
        self, request: ApiRequest, todo_id: FromPath[str], data: JSONBody[dto.TodoUpdate], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Apply a merge patch to a todo. With `If-Match`, returns 412 if the todo has changed."""
        todo = await todos.update(todo_id, data, parse_conditions(request))
        return Response(todo, headers={"ETag": entity_tag(todo)})

    @delete(
        "/{todo_id:str}",
        operation_id="deleteTodo",
        summary="Delete a todo",
        responses=declare_problems(401, 404, 412, 422, 429, 503),
    )
    async def delete_todo(self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]) -> None:
        """Delete a todo. With `If-Match`, returns 412 if the todo has changed."""
        await todos.delete(todo_id, parse_conditions(request))

    @post(
        "/{todo_id:str}/complete",
        operation_id="completeTodo",
        opt={IDEMPOTENT: True},
        summary="Complete a todo",
        status_code=200,
        responses=declare_problems(400, 401, 404, 409, 410, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def complete_todo(
        self,
        request: ApiRequest,
        todo_id: FromPath[str],
        todos: NamedDependency[Todos],
        data: JSONBody[dto.TodoComplete | None] = None,
    ) -> Response[dto.Todo]:
        """Complete a todo. The body is optional.

        A recurring todo moves to its next occurrence instead, and its steps are reopened. With `recurrence_from: due`,
        that is the first occurrence due later than the current one and not in the past, so missed ones are skipped.
        With `recurrence_from: completion`, it is the first one on a later day than the completion, with the rule
        counted from the day of the completion. If none is left, the todo is completed.
        """
        completed_at = data.completed_at if data is not None else None
        todo = await todos.complete(todo_id, completed_at, parse_if_match(request), derive_idempotent_id(request))
        return Response(todo, headers={"ETag": entity_tag(todo)})

    @post(
        "/{todo_id:str}/reopen",
        operation_id="reopenTodo",
        opt={IDEMPOTENT: True},
        summary="Reopen a todo",
        status_code=200,
        responses=declare_problems(401, 404, 409, 410, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def reopen_todo(
        self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Reopen a completed todo, or undo the last completion of a recurring todo.

        Due date, start, rule and steps become what they were. Only the last completion can be undone, and only once. If
        there is nothing to undo, an open todo does not change.
        """
        todo = await todos.reopen(todo_id, parse_if_match(request), derive_idempotent_id(request))
        return Response(todo, headers={"ETag": entity_tag(todo)})

    @get(
        "/{todo_id:str}/completions",
        operation_id="listCompletions",
        summary="List the completions of a todo",
        responses=declare_problems(401, 404, 422, 429, 503),
    )
    async def list_completions(self, todo_id: FromPath[str], todos: NamedDependency[Todos]) -> dto.Completions:
        """List the last 100 completions of a recurring todo, the newest first.

        A todo that does not recur has one while it is completed.
        """
        return dto.Completions(await todos.list_completions(todo_id))

    @post(
        "/{todo_id:str}/move",
        operation_id="moveTodo",
        opt={IDEMPOTENT: True},
        summary="Move a todo",
        status_code=200,
        responses=declare_problems(400, 401, 404, 409, 410, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def move_todo(
        self, request: ApiRequest, todo_id: FromPath[str], data: JSONBody[dto.TodoMove], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Move a todo in the manual order of its list, or to a place in another list. Others keep their order.

        If there is no room between its new neighbors, some todos around it get new positions.
        """
        todo = await todos.move(todo_id, data, parse_if_match(request), derive_idempotent_id(request))
        return Response(todo, headers={"ETag": entity_tag(todo)})


class TagsController(Controller):
    """The tags of the caller."""

    path = "/v1/tags"
    tags = ["Tags"]

    @get("/", operation_id="listTags", summary="List tags", responses=declare_problems(401, 422, 429, 503))
    async def list_tags(self, todos: NamedDependency[Todos]) -> dto.TagCounts:
        """List the tags in use, each with the number of its todos."""
        return dto.TagCounts(await todos.count_tags())
