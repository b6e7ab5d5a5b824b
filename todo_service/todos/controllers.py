"""Todos over HTTP."""

from __future__ import annotations

import msgspec
from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from todo_service.todos import dto
from todo_service.todos.query import Position
from todo_service.todos.service import Todos
from todo_service.web.entity_tags import answer, expected_versions, tag_of
from todo_service.web.openapi import documented, problems
from todo_service.web.paging import Cursors, answer_page
from todo_service.web.requests import ApiRequest


class TodosController(Controller):
    """The todos of whoever asks."""

    path = "/v1/todos"
    tags = ["Todos"]

    @post(
        "/",
        operation_id="createTodo",
        summary="Create a todo",
        responses=problems(400, 401, 413, 415, 422, 429, 503),
        response_headers=documented("ETag", "Location"),
    )
    async def create_todo(self, data: JSONBody[dto.TodoCreate], todos: NamedDependency[Todos]) -> Response[dto.Todo]:
        """Make a todo. It comes last in the manual order unless it says otherwise."""
        todo = await todos.create(data)
        return Response(todo, headers={"Location": f"/v1/todos/{todo.id}", "ETag": tag_of(todo)})

    @get(
        "/",
        operation_id="listTodos",
        summary="List todos",
        opt={"query": dto.TodoQuery},
        responses=problems(401, 422, 429, 503),
        response_headers=documented("Link"),
    )
    async def list_todos(
        self, request: ApiRequest, todos: NamedDependency[Todos], cursors: NamedDependency[Cursors]
    ) -> Response[dto.TodoPage]:
        """Read todos page by page: filtered, in the order asked for."""
        query = request.parameters(dto.TodoQuery)
        # a cursor belongs to the account and to the list's filters and order, not to the size of its pages
        context = msgspec.msgpack.encode(
            [str(request.user.user_id), msgspec.structs.replace(query, cursor=UNSET, limit=1)], enc_hook=str
        )
        after = cursors.open(query.cursor, Position, context) if query.cursor is not UNSET else None
        items, position = await todos.page(query, after)
        return answer_page(
            request, dto.TodoPage(items, cursors.seal(position, context) if position is not None else None)
        )

    @get(
        "/{todo_id:str}",
        operation_id="getTodo",
        summary="Read a todo",
        responses={**problems(401, 404, 422, 429, 503)},
        response_headers=documented("ETag"),
    )
    async def get_todo(
        self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Read one todo; with `If-None-Match` only if it has changed."""
        return answer(request, await todos.todo(todo_id))

    @patch(
        "/{todo_id:str}",
        operation_id="updateTodo",
        summary="Change a todo",
        responses=problems(400, 401, 404, 412, 413, 415, 422, 429, 503),
        response_headers=documented("ETag"),
    )
    async def update_todo(
        self, request: ApiRequest, todo_id: FromPath[str], data: JSONBody[dto.TodoUpdate], todos: NamedDependency[Todos]
    ) -> Response[dto.Todo]:
        """Change a todo by a merge patch; with `If-Match` only if nobody else has changed it."""
        todo = await todos.update(todo_id, data, expected_versions(request))
        return Response(todo, headers={"ETag": tag_of(todo)})

    @delete(
        "/{todo_id:str}",
        operation_id="deleteTodo",
        summary="Delete a todo",
        responses=problems(401, 404, 412, 422, 429, 503),
    )
    async def delete_todo(self, request: ApiRequest, todo_id: FromPath[str], todos: NamedDependency[Todos]) -> None:
        """Delete a todo; with `If-Match` only if nobody else has changed it."""
        await todos.delete(todo_id, expected_versions(request))
