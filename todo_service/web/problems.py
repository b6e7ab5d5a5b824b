"""Problem details for HTTP APIs (RFC 9457).

`PROBLEMS` declares every problem. This module is the only place that maps errors of services, the store, Litestar and
the web layer to problems, and `create_problem` the only place that decides how a problem is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Meta

from todo_service import errors
from todo_service.bounds.requests import ERROR_LENGTH, LISTED_ERRORS, REPEATED_NAME_LENGTH
from todo_service.executors import BudgetExceededError, Overloaded
from todo_service.store.errors import StoreUnavailable
from todo_service.web.oauth import is_oauth_endpoint

if TYPE_CHECKING:
    from litestar.types import ExceptionHandlersMap

STORE_RETRY_SECONDS: Final = 2
_PATH_CHARACTERS: Final = "/:@!$&'()*+,;="
"""The reserved characters that a path contains as they are (`pchar` in RFC 3986, appendix A)."""
logger = structlog.get_logger(__name__)


class ProblemKind(NamedTuple):
    """A declared problem.

    Attributes:
        status: The HTTP status code.
        title: A short summary, the same for every occurrence.
        oauth_error: The error code of an OAuth 2 endpoint (RFC 6749, sections 4.1.2.1 and 5.2).
    """

    status: int
    title: str
    oauth_error: str = "invalid_request"


PROBLEMS: Final[Mapping[str, ProblemKind]] = {
    "malformed-request": ProblemKind(400, "The request is malformed"),
    "invalid-grant": ProblemKind(400, "The grant is invalid", "invalid_grant"),
    "unsupported-grant-type": ProblemKind(400, "The grant type is not supported", "unsupported_grant_type"),
    "unauthenticated": ProblemKind(401, "Authentication is required"),
    "forbidden": ProblemKind(403, "Permission denied"),
    "not-found": ProblemKind(404, "Not found"),
    "method-not-allowed": ProblemKind(405, "Method not allowed"),
    "too-slow": ProblemKind(408, "The request took too long to arrive"),
    "duplicate": ProblemKind(409, "This value is already taken"),
    "in-progress": ProblemKind(409, "The request is still in progress"),
    "quota-exceeded": ProblemKind(409, "A quota of the account is exceeded"),
    "disabled": ProblemKind(409, "This is disabled"),
    "conflict": ProblemKind(409, "The request conflicts with another one"),
    "gone": ProblemKind(410, "This is no longer available"),
    "stale": ProblemKind(412, "The document has changed"),
    "body-too-large": ProblemKind(413, "The body is too large"),
    "target-too-long": ProblemKind(414, "The URL is too long"),
    "unsupported-media-type": ProblemKind(415, "Unsupported media type"),
    "invalid": ProblemKind(422, "The input is invalid"),
    "rate-limited": ProblemKind(429, "Too many requests", "temporarily_unavailable"),
    "headers-too-large": ProblemKind(431, "The headers are too large"),
    "internal-error": ProblemKind(500, "Internal error", "server_error"),
    "transfer-coding-unknown": ProblemKind(501, "Unknown transfer coding"),
    "unavailable": ProblemKind(503, "The service is temporarily unavailable", "temporarily_unavailable"),
}
OAUTH_PROBLEMS: Final = frozenset({"invalid-grant", "unsupported-grant-type"})
"""The problems of OAuth 2 endpoints only."""
_BY_STATUS: Final = {kind.status: name for name, kind in reversed(list(PROBLEMS.items()))}


class FieldError(msgspec.Struct, omit_defaults=True, frozen=True):
    """An error in the input, and its location."""

    detail: Annotated[str, Meta(description="A description of the error.", examples=["this field is required"])]
    pointer: Annotated[
        str | None, Meta(description="A JSON pointer (RFC 6901) into the body.", examples=["/title"])
    ] = None
    parameter: Annotated[
        str | None, Meta(description="The name of a query parameter or header.", examples=["limit"])
    ] = None


class Problem(msgspec.Struct, omit_defaults=True):
    """Problem details (RFC 9457)."""

    media_type: ClassVar[str] = "application/problem+json"

    type: Annotated[
        str,
        Meta(description="A stable identifier of the problem.", examples=["urn:todo-service:problem:not-found"]),
    ]
    title: Annotated[str, Meta(description="A short summary, the same for every occurrence.", examples=["Not found"])]
    status: Annotated[int, Meta(description="The HTTP status code.", examples=[404])]
    detail: Annotated[
        str, Meta(description="A description of this occurrence.", examples=["the document does not exist"])
    ]
    instance: Annotated[
        str,
        Meta(description="The path of the request, percent-encoded.", examples=["/v1/todos/65f1a2b3c4d5e6f708192a3b"]),
    ]
    request_id: Annotated[
        str, Meta(description="The request's id, as in X-Request-ID and in the log.", examples=["f3b1c9d2e4a5"])
    ]
    errors: Annotated[list[FieldError] | None, Meta(description="The errors in the input, in order.")] = None


class TokenProblem(Problem, kw_only=True):
    """An error of an OAuth 2 endpoint (RFC 6749, section 5.2), with the members of a problem."""

    media_type: ClassVar[str] = "application/json"

    error: Annotated[str, Meta(description="The error code.", examples=["invalid_grant"])]
    error_description: Annotated[
        str, Meta(description="The same as `detail`.", examples=["the name or the password is wrong"])
    ]


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete."""


class ProblemError(Exception):
    """An error of the web layer.

    Args:
        name: A key of `PROBLEMS`.
        detail: A description of this occurrence, for the client.
        errors: The errors in the input, if any.
        headers: Additional response headers.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}


def create_parameter_problem(name: str, detail: str) -> ProblemError:
    """Return the problem for an invalid query parameter or header. Long names and details are truncated."""
    error = FieldError(parameter=name[:REPEATED_NAME_LENGTH], detail=detail[:ERROR_LENGTH])
    return ProblemError("invalid", "a parameter is invalid", errors=[error])


def _from_service(error: errors.ServiceError) -> ProblemError:
    match error:
        case errors.NotFound():
            return ProblemError("not-found", str(error) or "the document does not exist")
        case errors.Malformed():
            return ProblemError("malformed-request", str(error))
        case errors.Invalid(issues=issues):
            found = [FieldError(pointer=issue.pointer, detail=issue.detail) for issue in issues]
            return ProblemError("invalid", str(error), errors=found)
        case errors.InvalidParameter(name=name, detail=detail):
            return create_parameter_problem(name, detail)
        case errors.Duplicate(pointer=pointer):
            return ProblemError("duplicate", str(error), errors=[FieldError(pointer=pointer, detail=str(error))])
        case errors.QuotaExceeded():
            return ProblemError("quota-exceeded", str(error))
        case errors.Conflict():
            return ProblemError("conflict", str(error))
        case errors.Disabled():
            return ProblemError("disabled", str(error))
        case errors.Stale():
            return ProblemError(
                "stale",
                str(error) or "the version of the document does not meet the condition of If-Match or If-None-Match",
            )
        case errors.Gone():
            return ProblemError("gone", str(error))
        case errors.Forbidden():
            return ProblemError("forbidden", str(error))
        case errors.InvalidGrant():
            return ProblemError("invalid-grant", str(error))
        case errors.Unauthenticated(reason=reason):
            challenge = "Bearer" if reason is None else f'Bearer error="{reason}"'
            return ProblemError("unauthenticated", str(error), headers={"WWW-Authenticate": challenge})
        case errors.TooManyRequests():
            return ProblemError("rate-limited", str(error), headers={"Retry-After": "5"})
        case errors.Busy():
            return ProblemError("unavailable", str(error), headers={"Retry-After": "1"})
    raise TypeError(f"no problem is declared for {type(error).__name__}") from error


def _from_litestar(error: HTTPException) -> ProblemError:
    if isinstance(error, ValidationException):
        found = [
            FieldError(
                parameter=str(item.get("key", ""))[:REPEATED_NAME_LENGTH],
                detail=str(item.get("message", ""))[:ERROR_LENGTH],
            )
            for item in islice(error.extra or [], LISTED_ERRORS)
            if isinstance(item, dict)
        ]
        # Litestar raises this if the body is missing
        if any(item.parameter == "data" for item in found):
            return ProblemError("malformed-request", "a JSON body is required")
        return ProblemError("invalid", "a parameter is invalid", errors=found or None)
    name = find_problem_name(error.status_code)
    details = {
        "not-found": "the path does not exist",
        "method-not-allowed": "the path does not support this method",
        "body-too-large": "the body is larger than the service accepts",
        "malformed-request": "the request is malformed",
    }
    allowed = (error.headers or {}).get("allow", "").split(", ")
    headers = {"Allow": build_allow_header(allowed)} if name == "method-not-allowed" else {}
    return ProblemError(name, details.get(name, PROBLEMS[name].title), headers=headers)


def find_problem_name(status: int) -> str:
    """Return the name of the problem for the status of an error from Litestar."""
    return _BY_STATUS.get(status, "malformed-request" if status < 500 else "internal-error")


def build_allow_header(methods: Iterable[str]) -> str:
    """Return the `Allow` header of a path. OPTIONS is always allowed, and HEAD if GET is."""
    found = {*methods, "OPTIONS"}
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


def handle_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Return the problem response for an exception."""
    problem = to_problem(error)
    body = describe_problem(request, problem)
    return Response(body, status_code=body.status, media_type=body.media_type, headers=dict(problem.headers))


def to_problem(error: Exception) -> ProblemError:
    """Return the problem for an exception. An unexpected exception is logged and becomes a 500."""
    match error:
        case ProblemError():
            return error
        case errors.ServiceError():
            return _from_service(error)
        case ClientDisconnected():
            return ProblemError("too-slow", "the client disconnected before its request was complete")
        case StoreUnavailable():
            logger.warning("store unavailable", reason=str(error))
            return ProblemError(
                "unavailable",
                "the document store does not respond",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            )
        case Overloaded():
            return ProblemError(
                "unavailable", "too many operations of this kind are queued", headers={"Retry-After": "1"}
            )
        case BudgetExceededError():
            return ProblemError(
                "unavailable",
                "the request exceeded its time budget",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            )
        case HTTPException() if error.status_code < 500:
            return _from_litestar(error)
    logger.error("unexpected error", exc_info=error)
    return ProblemError("internal-error", "the service failed to handle the request; the error has been logged")


def describe_problem(request: Request[Any, Any, Any], problem: ProblemError, prefix: str = "") -> Problem:
    """Return the problem details for an error.

    Args:
        request: The request that failed.
        problem: The error.
        prefix: A JSON pointer to the part of the body that the error is about.
    """
    path, request_id = request.scope["path"], request.scope["state"].get("request_id", "")
    body = create_problem(problem.name, problem.detail, path, request_id)
    body.errors = problem.errors
    if prefix and problem.errors is not None:
        body.errors = [
            FieldError(found.detail, prefix + (f"/{found.parameter}" if found.parameter else found.pointer or ""))
            for found in problem.errors
        ]
    return body


def create_problem(name: str, detail: str, path: str, request_id: str) -> Problem:
    """Return the problem details for one of `PROBLEMS`.

    OAuth 2 endpoints respond to every invalid parameter with 400 (RFC 6749, section 5.2).

    Args:
        name: The key in `PROBLEMS`.
        detail: A description of this occurrence, for the client.
        path: The request's decoded path. The problem's `instance` is a URI reference, so it is encoded again.
        request_id: The request's id.
    """
    found = find_problem_type(path)
    if found is TokenProblem and name == "invalid":
        name = "malformed-request"
    kind = PROBLEMS[name]
    instance = quote(path, safe=_PATH_CHARACTERS)
    members = (f"urn:todo-service:problem:{name}", kind.title, kind.status, detail, instance, request_id)
    if found is TokenProblem:
        return TokenProblem(*members, error=kind.oauth_error, error_description=detail)
    return Problem(*members)


def find_problem_type(path: str) -> type[Problem]:
    """Return the type of the problems of a path. Its `media_type` is that of their responses."""
    return TokenProblem if is_oauth_endpoint(path) else Problem


_Handler = Callable[[Request[Any, Any, Any], Exception], Response[Problem]]


def create_exception_handlers() -> ExceptionHandlersMap:
    """Return the exception handlers for Litestar: a single one for every exception."""
    handlers: dict[type[Exception] | int, _Handler] = {Exception: handle_exception}
    return handlers
