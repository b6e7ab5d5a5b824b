"""Checks for replays: a stored response is replaced with 410 when its document has been deleted since."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from odmantic import Model, ObjectId

from todo_service.store.base import Condition, DocumentStore
from todo_service.web.problems import ProblemError, create_problem
from todo_service.web.requests import ApiRequest

_DELETED: Final = "the document that this request created has been deleted"

DeriveId = Callable[[int], ObjectId]
"""Returns the id of the effect with this index."""
CheckReplay = Callable[[ApiRequest, DocumentStore, DeriveId, bytes], Awaitable[bytes]]
"""Takes the request, the store, `DeriveId` and the stored body, and returns the body to send."""


class _Id(msgspec.Struct, frozen=True):
    id: str


def require_document(model: type[Model]) -> CheckReplay:
    """Return a check for operations that create one document.

    Args:
        model: The document's model. If it has an `owner`, only a document of the caller counts as present.
    """

    async def check(request: ApiRequest, store: DocumentStore, derive_id: DeriveId, body: bytes) -> bytes:
        if (
            await store.get(
                model, *_build_owner_condition(model, request), _field(model, "id") == derive_id(0), into=_Id
            )
            is None
        ):
            raise ProblemError("gone", _DELETED)
        return body

    return check


def require_documents(model: type[Model]) -> CheckReplay:
    """Return a check for batches, which turns the result of an operation into a 410 when its document has been deleted.

    Args:
        model: The model of the documents created by operations with the status 201.
    """

    async def check(request: ApiRequest, store: DocumentStore, derive_id: DeriveId, body: bytes) -> bytes:
        response = msgspec.json.decode(body)
        results: list[dict[str, Any]] = response["results"]
        created = {index: derive_id(index) for index, result in enumerate(results) if result["status"] == 201}
        if not created:
            return body
        wanted = _field(model, "id").in_(list(created.values()))
        found = await store.find(
            model, *_build_owner_condition(model, request), wanted, sort=None, limit=len(created), into=_Id
        )
        present = {each.id for each in found}
        deleted = [index for index, document_id in created.items() if str(document_id) not in present]
        path, request_id = request.scope["path"], request.scope["state"].get("request_id", "")
        for index in deleted:
            results[index] = {"status": 410, "problem": create_problem("gone", _DELETED, path, request_id)}
        return msgspec.json.encode(response) if deleted else body

    return check


def _build_owner_condition(model: type[Model], request: ApiRequest) -> list[Condition]:
    if "owner" not in model.model_fields:
        return []
    caller = request.scope["user"]
    return [_field(model, "owner") == caller.user_id]


def _field(model: type[Model], name: str) -> Any:
    return getattr(model, name)
