"""The frames between a service and its writer process: BSON documents, which begin with their own length.

A request is an operation (`operations`), and a reply is its result or its error. Replies come in the order of the
requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import bson

from todo_service.store.bson_codec import split_documents
from todo_service.store.errors import (
    DocumentTooLarge,
    DuplicateDocument,
    StoreError,
    StoreUnavailable,
    UnsupportedExpression,
)
from todo_service.store.query.predicates import Comparison, Disjunction, Node

_ERRORS: Final[Mapping[str, Callable[..., StoreError]]] = {
    kind.__name__: kind
    for kind in (DocumentTooLarge, DuplicateDocument, StoreError, StoreUnavailable, UnsupportedExpression)
}


class WriteFailed(Exception):
    """An operation has raised an unexpected exception, which is a bug. Nothing was written.

    The message contains the traceback.
    """


def split_frames(buffer: bytearray) -> list[bytes]:
    """Remove the complete frames from the start of a buffer, and return them."""
    frames = list(split_documents(buffer))
    del buffer[: sum(map(len, frames))]
    return frames


def encode_result(result: Any) -> bytes:
    """Return the reply for a result."""
    return bson.encode({"result": result})


def encode_error(error: Exception) -> bytes:
    """Return the reply for an error."""
    name = type(error).__name__
    arguments: list[Any] = [str(error)]
    if isinstance(error, DuplicateDocument):
        arguments = [error.model, error.field]
    elif isinstance(error, DocumentTooLarge):
        arguments = [error.model, error.size, error.limit]
    elif name not in _ERRORS:
        import traceback  # only after a bug, so that the process starts quickly

        arguments = ["".join(traceback.format_exception(error))]
    return bson.encode({"error": name, "arguments": arguments})


def decode_reply(reply: bytes) -> Any:
    """Return the result of a reply, or raise its error.

    Raises:
        StoreError: The operation raised it.
        WriteFailed: The operation raised an unexpected exception.
    """
    decoded = bson.decode(reply)
    if "error" in decoded:
        raise _ERRORS.get(decoded["error"], WriteFailed)(*decoded["arguments"])
    return decoded["result"]


def encode_nodes(nodes: Iterable[Node]) -> list[Any]:
    """Return conditions as a BSON array."""
    return [
        [[encode_nodes(alternative) for alternative in node.alternatives]]
        if isinstance(node, Disjunction)
        else list(node)
        for node in nodes
    ]


def decode_nodes(encoded: Iterable[Sequence[Any]]) -> tuple[Node, ...]:
    """Return the conditions that `encode_nodes` has encoded."""
    return tuple(map(_decode_node, encoded))


def _decode_node(encoded: Sequence[Any]) -> Node:
    if len(encoded) == 1:
        return Disjunction(tuple(map(decode_nodes, encoded[0])))
    key, operator, value = encoded
    return Comparison(key, operator, tuple(value) if isinstance(value, list) else value)
