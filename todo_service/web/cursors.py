"""Pagination: opaque cursors, and links to the next page (RFC 8288)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Response
from msgspec import UNSET, UnsetType

from todo_service.security.sealing import KeyRing
from todo_service.web.problems import create_parameter_problem

if TYPE_CHECKING:
    from litestar import Request

PositionT = TypeVar("PositionT", bound=msgspec.Struct)


class Cursors:
    """Seals and opens cursors.

    A cursor is a position with an HMAC-SHA256 over the position and its context: the account, the filters and the
    sort order. A cursor that has been altered or that belongs to another context is rejected.

    Args:
        keys: The secret keys, at least 32 bytes each. The first one seals; all of them open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = KeyRing(keys, "cursors")

    def seal(self, position: msgspec.Struct, context: bytes) -> str:
        """Return the cursor for a position within a context."""
        return self._keys.seal_text(msgspec.msgpack.encode(position), context)

    def open(
        self, cursor: str | UnsetType, kind: type[PositionT], context: bytes, name: str = "cursor"
    ) -> PositionT | None:
        """Return the position that a cursor of this context holds, or None if there is no cursor.

        Args:
            cursor: The cursor, as sent by the client, if it sent one.
            kind: The Struct of the position.
            context: The context that the cursor must belong to.
            name: The name of the parameter that holds the cursor.

        Raises:
            ProblemError: 422, the cursor is malformed or belongs to another context.
        """
        if cursor is UNSET:
            return None
        try:
            return msgspec.msgpack.decode(self._keys.open_text(cursor, context), type=kind)
        except (ValueError, msgspec.DecodeError):
            raise create_parameter_problem(
                name, f"this {name} is malformed, or was issued for another collection, filter or sort order"
            ) from None

    def seal_next(self, position: Any | None, context: bytes) -> str | None:
        """Return the cursor for the start of the next page, or None on the last page. See `seal`."""
        return self.seal(position, context) if position is not None else None


def respond_with_page(request: Request[Any, Any, Any], body: Any) -> Response[Any]:
    """Return the response for a page, with a `Link` to the next page if there is one.

    Args:
        request: The request. The link repeats its query parameters.
        body: A Struct with `items` and `next_cursor`.
    """
    if body.next_cursor is None:
        return Response(body)
    query = request.scope["query_string"].decode("ascii")
    pairs = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "cursor"]
    target = f"{request.scope['path']}?{urlencode([*pairs, ('cursor', body.next_cursor)])}"
    return Response(body, headers={"Link": f'<{target}>; rel="next"'})
