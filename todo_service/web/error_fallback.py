"""Problem responses for errors that no exception handler turns into a response."""

from __future__ import annotations

import msgspec
from litestar.exceptions import LitestarException

from todo_service.web.oauth import find_oauth_endpoint
from todo_service.web.problems import ProblemError, create_problem, to_problem
from todo_service.web.response_headers import API_POLICY, SECURITY_HEADERS


def unwrap_problem(error: Exception) -> ProblemError:
    """Return the problem for an error that has left Litestar.

    Litestar wraps an error raised while a prepared response is sent in a `LitestarException`.
    """
    cause = error.__cause__ if type(error) is LitestarException else None
    return to_problem(cause if isinstance(cause, Exception) else error)


def render_problem(
    name: str, detail: str, target: bytes, request_id: str, retry_seconds: int | None
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, the headers and the body for a request that never reaches the application.

    The response asks to close the connection.

    Args:
        name: The key in `PROBLEMS`.
        detail: A description of this occurrence, for the client.
        target: The request target, or as much of it as has arrived.
        request_id: The request's id.
        retry_seconds: When the client may retry, if retrying can help.
    """
    path = target.partition(b"?")[0].decode("ascii", "replace")
    problem = create_problem(name, detail, find_oauth_endpoint(path) or "", request_id)
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", problem.media_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"content-security-policy", API_POLICY),
        (b"cache-control", b"no-store"),
        *SECURITY_HEADERS,
        (b"connection", b"close"),
    ]
    if retry_seconds is not None:
        headers.append((b"retry-after", b"%d" % retry_seconds))
    return problem.status, headers, body
