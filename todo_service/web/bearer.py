"""Bearer tokens in requests, and their errors (RFC 6750)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from todo_service.errors import Unauthenticated
from todo_service.web.problems import ProblemError

if TYPE_CHECKING:
    from litestar.types import Scope


def read_bearer_token(scope: Scope) -> str:
    """Return the token of the single `Authorization: Bearer` header.

    Raises:
        Unauthenticated: The header is missing, repeated, or uses another scheme.
    """
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        raise Unauthenticated
    scheme, _, token = values[0].partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token or not token.isascii():
        raise Unauthenticated
    return token.decode("ascii")


def read_ticket(scope: Scope) -> str | None:
    """Return the event ticket in the query, or None if there is none or the request has an `Authorization` header."""
    if any(name == b"authorization" for name, _ in scope["headers"]):
        return None
    tickets = [value for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name == "ticket"]
    return tickets[0] if len(tickets) == 1 else None


def create_scope_problem(detail: str) -> ProblemError:
    """Return the problem for a token without the required permission (RFC 6750, section 3.1)."""
    return ProblemError("forbidden", detail, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
