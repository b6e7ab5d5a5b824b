"""The operations of a batch request."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.decoding import decode_json
from todo_service.errors import Duplicate, Invalid, ValidationIssue
from todo_service.todos import dto
from todo_service.todos.batch_dto import BatchOperation
from todo_service.todos.document_quota import BatchReservation
from todo_service.todos.service import Todos

StructT = TypeVar("StructT", bound=msgspec.Struct)
_MOVE: Final = ("before", "after", "to", "list_id")
_FIELDS: Final[Mapping[str, Collection[str]]] = {
    "create": {"todo"},
    "update": {"id", "todo", "if_match"},
    "delete": {"id", "if_match"},
    "complete": {"id", "if_match", "completed_at"},
    "reopen": {"id", "if_match"},
    "move": {"id", "if_match", *_MOVE},
}
"""The fields of each operation besides `op`."""
_REQUIRED: Final = ("id", "todo")
"""The fields that are required in every operation that may have them."""


def decode_operation(raw: msgspec.Raw) -> BatchOperation:
    """Decode an operation, and check that it has the fields of its kind.

    Raises:
        Malformed: The JSON is malformed.
        Invalid: A field is missing, unknown or invalid.
    """
    operation: BatchOperation = decode_json(bytes(raw), BatchOperation)
    allowed = _FIELDS[operation.op]
    for name in (*_REQUIRED, "if_match", "completed_at", *_MOVE):
        given = getattr(operation, name) is not UNSET
        if given and name not in allowed:
            raise Invalid([ValidationIssue(f"/{name}", f"this field is not allowed for `{operation.op}`")])
        if not given and name in allowed and name in _REQUIRED:
            raise Invalid([ValidationIssue(f"/{name}", "this field is required")])
    return operation


class _Kind(msgspec.Struct, frozen=True):
    op: str


def count_creates(operations: Iterable[msgspec.Raw]) -> int:
    """Return how many todos the operations create if none of them fails."""
    creates = 0
    for raw in operations:
        with suppress(msgspec.DecodeError):
            creates += msgspec.json.decode(raw, type=_Kind).op == "create"
    return creates


async def run_operation(
    operation: BatchOperation,
    todos: Todos,
    room: BatchReservation,
    versions: Container[int] | None,
    change_id: ObjectId | None,
) -> tuple[int, dto.Todo | None]:
    """Run an operation.

    Args:
        operation: The operation, as `decode_operation` returns it.
        todos: The todos of the caller.
        room: The room for the todos that the batch creates.
        versions: The versions that `if_match` accepts; None for any.
        change_id: The id of the change, or of the new todo, if the request may be repeated.

    Returns:
        The status that the operation's own endpoint would return, and the todo unless it is deleted.
    """
    if operation.op == "create":
        with _prefix_error_pointers():
            return 201, await todos.create(_decode_todo(operation, dto.TodoCreate), change_id, room)
    try:
        return await _run_change(operation, todos, versions, change_id)
    finally:
        room.record_change()


async def _run_change(
    operation: BatchOperation, todos: Todos, versions: Container[int] | None, change_id: ObjectId | None
) -> tuple[int, dto.Todo | None]:
    """Run an operation on a todo. See `run_operation`."""
    todo_id = operation.id if operation.id is not UNSET else ""
    match operation.op:
        case "update":
            with _prefix_error_pointers():
                patch = _decode_todo(operation, dto.TodoUpdate)
                return 200, await todos.update(todo_id, patch, versions, change_id)
        case "complete":
            completed_at = operation.completed_at if operation.completed_at is not UNSET else None
            return 200, await todos.complete(todo_id, completed_at, versions, change_id)
        case "reopen":
            return 200, await todos.reopen(todo_id, versions, change_id)
        case "move":
            move = dto.TodoMove(**{name: getattr(operation, name) for name in _MOVE})
            return 200, await todos.move(todo_id, move, versions, change_id)
    await todos.delete(todo_id, versions, change_id)
    return 204, None


def _decode_todo(operation: BatchOperation, kind: type[StructT]) -> StructT:
    assert operation.todo is not UNSET  # `decode_operation` has checked it
    todo: StructT = decode_json(bytes(operation.todo), kind)
    return todo


@contextmanager
def _prefix_error_pointers() -> Iterator[None]:
    """Make the pointers of errors relative to the operation instead of its `todo` field."""
    try:
        yield
    except (Duplicate, Invalid) as error:
        raise error.prefix_pointers("/todo") from None
