"""Pages: the opaque cursor and the link to the next page (RFC 8288)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Response

from todo_service.web.problems import invalid_parameter

if TYPE_CHECKING:
    from litestar import Request

_SEAL_BYTES: Final = 16

PositionT = TypeVar("PositionT", bound=msgspec.Struct)


class Cursors:
    """Makes positions opaque, and knows its own again.

    A cursor carries a position, sealed (HMAC-SHA256) together with what it belongs to: the account and the list's
    filters and order. A cursor that was altered, or belongs elsewhere, does not open.

    Args:
        keys: The secret keys, 32 bytes or more each: the first seals, any opens.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [hmac.digest(key, b"todo-service cursors", "sha256") for key in keys]

    def seal(self, position: msgspec.Struct, context: bytes) -> str:
        """Return the cursor for a position in the list that the context describes."""
        payload = msgspec.msgpack.encode(position)
        seal = self._seal(self._keys[0], payload, context)
        return base64.urlsafe_b64encode(seal + payload).rstrip(b"=").decode()

    def open(self, cursor: str, kind: type[PositionT], context: bytes, name: str = "cursor") -> PositionT:
        """Return the position that was sealed for this context.

        Args:
            cursor: What the caller sent.
            kind: The Struct that was sealed.
            context: What it belongs to.
            name: The parameter that it came in.

        Raises:
            ProblemError: 422, the cursor is broken or belongs to another list.
        """
        try:
            sealed = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            seal, payload = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
            if not any(hmac.compare_digest(seal, self._seal(key, payload, context)) for key in self._keys):
                raise ValueError
            return msgspec.msgpack.decode(payload, type=kind)
        except (ValueError, binascii.Error, msgspec.DecodeError):
            raise invalid_parameter(name, f"this {name} is broken, or belongs to another list or filter") from None

    def seal_next(self, position: Any | None, context: bytes) -> str | None:
        """Seal where the next page begins, if there is one; arguments as in `seal`."""
        return self.seal(position, context) if position is not None else None

    @staticmethod
    def _seal(key: bytes, payload: bytes, context: bytes) -> bytes:
        length = len(context).to_bytes(4, "big")
        return hmac.digest(key, length + context + payload, hashlib.sha256)[:_SEAL_BYTES]


def respond_with_page(request: Request[Any, Any, Any], body: Any) -> Response[Any]:
    """Answer a page, with a `Link` to the next where there is one.

    Args:
        request: The request, whose own parameters the link keeps.
        body: A Struct with `items` and `next_cursor`.
    """
    if body.next_cursor is None:
        return Response(body)
    query = request.scope["query_string"].decode("ascii")
    pairs = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "cursor"]
    target = f"{request.scope['path']}?{urlencode([*pairs, ('cursor', body.next_cursor)])}"
    return Response(body, headers={"Link": f'<{target}>; rel="next"'})
