"""Problem responses for errors that no exception handler turns into a response."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar.exceptions import LitestarException

from todo_service.web.problems import MEDIA_TYPE, ProblemError, create_problem, to_problem
from todo_service.web.request_id import create_request_id
from todo_service.web.response_headers import API_POLICY, SECURITY_HEADERS

PROBLEM_TYPE: Final = MEDIA_TYPE.encode()


def unwrap_problem(error: Exception) -> ProblemError:
    """Return the problem for an error that has left Litestar.

    Litestar wraps an error raised while a prepared response is sent in a `LitestarException`.
    """
    cause = error.__cause__ if type(error) is LitestarException else None
    return to_problem(cause if isinstance(cause, Exception) else error)


def render_problem(name: str, detail: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the status, the headers and the body for a request that never reaches the application.

    The response asks to close the connection.
    """
    request_id = create_request_id()
    problem = create_problem(name, detail, "", request_id)
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", PROBLEM_TYPE),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"content-security-policy", API_POLICY),
        *SECURITY_HEADERS,
        (b"connection", b"close"),
    ]
    return problem.status, headers, body
