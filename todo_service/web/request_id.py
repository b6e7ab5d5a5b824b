"""Request ids: chosen by the client or generated."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Final

from todo_service.web.raw_headers import find_header

if TYPE_CHECKING:
    from litestar.types import Scope

_REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")


def create_request_id() -> str:
    """Return a random request id of 32 hex digits. It need not be unpredictable, so it takes no system call."""
    return f"{random.getrandbits(128):032x}"


def resolve_request_id(scope: Scope) -> str:
    """Return the `X-Request-ID` of a request, or a new id if the header is missing or malformed."""
    sent = find_header(scope, b"x-request-id")
    return sent.decode() if _REQUEST_ID.fullmatch(sent) else create_request_id()
