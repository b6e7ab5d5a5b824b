"""The endpoints of lists."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from todo_service.api_types import PageQuery
from todo_service.idempotency.derivation import derive_idempotent_id
from todo_service.idempotency.replays import require_document
from todo_service.lists import dto
from todo_service.lists.documents import TodoList
from todo_service.lists.service import ListPosition, Lists
from todo_service.web.cursors import respond_with_page
from todo_service.web.entity_tags import entity_tag, parse_conditions, parse_if_match, respond_with_tag
from todo_service.web.openapi.config import declare_headers, declare_problems
from todo_service.web.requests import ApiRequest, QueryRequest
from todo_service.web.route_options import IDEMPOTENT, NO_TIMEOUT, ON_REPLAY


class ListsController(Controller):
    """The lists of the caller."""

    path = "/v1/lists"
    tags = ["Lists"]

    @post(
        "/",
        operation_id="createList",
        opt={IDEMPOTENT: True, ON_REPLAY: require_document(TodoList)},
        summary="Create a list",
        responses=declare_problems(400, 401, 409, 410, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag", "Location"),
    )
    async def create_list(
        self, request: ApiRequest, data: JSONBody[dto.TodoListCreate], lists: NamedDependency[Lists]
    ) -> Response[dto.TodoList]:
        """Create a list. By default it comes last in the manual order."""
        created = await lists.create(data, derive_idempotent_id(request))
        return Response(created, headers={"Location": f"/v1/lists/{created.id}", "ETag": entity_tag(created)})

    @get(
        "/",
        operation_id="listLists",
        summary="List lists",
        responses=declare_problems(401, 422, 429, 503),
        response_headers=declare_headers("Link"),
    )
    async def list_lists(
        self, request: QueryRequest[PageQuery], lists: NamedDependency[Lists]
    ) -> Response[dto.TodoListPage]:
        """List the lists page by page, in their manual order."""
        query = request.parameters()
        context = b"lists" + request.user.user_id.binary
        after = request.cursors.open(query.cursor, ListPosition, context)
        items, position = await lists.read_page(query.limit, after)
        return respond_with_page(request, dto.TodoListPage(items, request.cursors.seal_next(position, context)))

    @get(
        "/{list_id:str}",
        operation_id="getList",
        summary="Get a list",
        responses=declare_problems(401, 404, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def get_list(
        self, request: ApiRequest, list_id: FromPath[str], lists: NamedDependency[Lists]
    ) -> Response[dto.TodoList]:
        """Get a list. With `If-None-Match`, returns 304 if it has not changed."""
        return respond_with_tag(request, await lists.get(list_id))

    @patch(
        "/{list_id:str}",
        operation_id="updateList",
        summary="Update a list",
        responses=declare_problems(400, 401, 404, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def update_list(
        self,
        request: ApiRequest,
        list_id: FromPath[str],
        data: JSONBody[dto.TodoListUpdate],
        lists: NamedDependency[Lists],
    ) -> Response[dto.TodoList]:
        """Apply a merge patch to a list. With `If-Match`, returns 412 if the list has changed."""
        changed = await lists.update(list_id, data, parse_conditions(request))
        return Response(changed, headers={"ETag": entity_tag(changed)})

    @post(
        "/{list_id:str}/move",
        operation_id="moveList",
        opt={IDEMPOTENT: True},
        summary="Move a list",
        status_code=200,
        responses=declare_problems(400, 401, 404, 409, 410, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def move_list(
        self,
        request: ApiRequest,
        list_id: FromPath[str],
        data: JSONBody[dto.TodoListMove],
        lists: NamedDependency[Lists],
    ) -> Response[dto.TodoList]:
        """Move a list in the manual order. The others keep their order.

        If there is no room between its new neighbors, some lists around it get new positions.
        """
        moved = await lists.move(list_id, data, parse_if_match(request), derive_idempotent_id(request))
        return Response(moved, headers={"ETag": entity_tag(moved)})

    @delete(
        "/{list_id:str}",
        operation_id="deleteList",
        summary="Delete a list",
        opt={NO_TIMEOUT: True},
        responses=declare_problems(401, 404, 409, 412, 422, 429, 503),
    )
    async def delete_list(
        self, request: QueryRequest[dto.ListDelete], list_id: FromPath[str], lists: NamedDependency[Lists]
    ) -> None:
        """Delete a list. Its todos move to the inbox or are deleted with it.

        While a deletion is in progress, one with another value of `todos` gets a 409.
        """
        await lists.delete(list_id, request.parameters().todos, parse_conditions(request))
