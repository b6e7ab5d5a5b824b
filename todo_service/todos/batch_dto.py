"""The request of the batch endpoint."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.bounds.todos import BATCH_OPERATIONS
from todo_service.todos.field_types import COMPLETED_AT, CompletedAt, ListId
from todo_service.todos.moves import After, Before, End


class BatchOperation(msgspec.Struct, forbid_unknown_fields=True):
    """An operation of a batch. `before`, `after`, `to` and `list_id` are those of `TodoMove`, for `move`."""

    op: Annotated[
        Literal["create", "update", "delete", "complete", "reopen", "move"],
        Meta(title="BatchOperationKind", description="The kind of operation.", examples=["create"]),
    ]
    id: Annotated[
        Annotated[str, Meta(max_length=100)] | UnsetType,
        Meta(description="The id of the todo. Required except for `create`."),
    ] = UNSET
    todo: Annotated[
        msgspec.Raw | UnsetType,
        Meta(
            description="The new todo for `create`, a merge patch for `update`.",
            extra_json_schema={
                "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("TodoCreate", "TodoUpdate")]
            },
        ),
    ] = UNSET
    if_match: Annotated[
        Annotated[str, Meta(max_length=1000)] | UnsetType,
        Meta(description="Run the operation only if the todo has this entity tag. Not for `create`."),
    ] = UNSET
    completed_at: Annotated[
        CompletedAt | UnsetType | None,
        Meta(description=f"{COMPLETED_AT} Only for `complete`."),
    ] = UNSET
    before: Before | UnsetType = UNSET
    after: After | UnsetType = UNSET
    to: End | UnsetType = UNSET
    list_id: Annotated[
        ListId | UnsetType | None, Meta(description="The list to move the todo to, null for the inbox.")
    ] = UNSET


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Operations that run in order, each independent of the others."""

    operations: Annotated[
        # raw, so that an invalid operation does not fail the others
        list[Annotated[msgspec.Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/BatchOperation"})]],
        Meta(max_length=BATCH_OPERATIONS, description="The operations, in the order in which they run."),
    ]
