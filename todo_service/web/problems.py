"""The one door by which errors leave: problem details for HTTP APIs (RFC 9457).

`PROBLEMS` declares every problem once. A service's error, a store's error and whatever Litestar or our own web layer
raises are turned into one of them here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Meta

from todo_service import errors
from todo_service.bounds.requests import ERROR_LENGTH, LISTED_ERRORS, REPEATED_NAME_LENGTH
from todo_service.executors import BudgetExceededError, Overloaded
from todo_service.store.base import StoreUnavailable

if TYPE_CHECKING:
    from litestar.types import ExceptionHandlersMap

MEDIA_TYPE: Final = "application/problem+json"
STORE_RETRY_SECONDS: Final = 2
logger = structlog.get_logger(__name__)


class Kind(NamedTuple):
    """A declared problem.

    Attributes:
        status: The HTTP status code.
        title: The same short sentence for every occurrence.
    """

    status: int
    title: str


PROBLEMS: Final[Mapping[str, Kind]] = {
    "malformed-request": Kind(400, "The request cannot be read"),
    "invalid-grant": Kind(400, "The grant is not valid"),
    "unauthenticated": Kind(401, "Authentication is needed"),
    "forbidden": Kind(403, "This is not allowed"),
    "not-found": Kind(404, "There is nothing here"),
    "method-not-allowed": Kind(405, "This method is not allowed here"),
    "too-slow": Kind(408, "The request took too long to arrive"),
    "duplicate": Kind(409, "This value is already taken"),
    "in-progress": Kind(409, "This request is being carried out"),
    "quota-exceeded": Kind(409, "The account has as much of this as it may have"),
    "gone": Kind(410, "This is no longer remembered"),
    "stale": Kind(412, "The document has changed"),
    "body-too-large": Kind(413, "The body is too large"),
    "target-too-long": Kind(414, "The address is too long"),
    "unsupported-media-type": Kind(415, "This media type is not supported"),
    "invalid": Kind(422, "The input is not valid"),
    "rate-limited": Kind(429, "Too many requests"),
    "headers-too-large": Kind(431, "The headers are too large"),
    "internal-error": Kind(500, "The service failed"),
    "transfer-coding-unknown": Kind(501, "This transfer coding is not known"),
    "unavailable": Kind(503, "The service cannot answer at present"),
}
_BY_STATUS: Final = {kind.status: name for name, kind in reversed(list(PROBLEMS.items()))}


class FieldError(msgspec.Struct, omit_defaults=True):
    """One thing that is wrong with the input: where, and what."""

    detail: Annotated[str, Meta(description="What is wrong, in words.", examples=["this field is required"])]
    pointer: Annotated[str | None, Meta(description="JSON pointer (RFC 6901) into the body.", examples=["/title"])] = (
        None
    )
    parameter: Annotated[
        str | None, Meta(description="The name of a query parameter or header.", examples=["limit"])
    ] = None


class Problem(msgspec.Struct, omit_defaults=True):
    """Problem details (RFC 9457)."""

    type: Annotated[
        str,
        Meta(
            description="Which problem this is: a stable identifier.", examples=["urn:todo-service:problem:not-found"]
        ),
    ]
    title: Annotated[
        str, Meta(description="The same short sentence for every occurrence.", examples=["There is nothing here"])
    ]
    status: Annotated[int, Meta(description="The HTTP status code.", examples=[404])]
    detail: Annotated[str, Meta(description="What happened this time.", examples=["there is no such document"])]
    instance: Annotated[
        str, Meta(description="The path of the request.", examples=["/v1/todos/65f1a2b3c4d5e6f708192a3b"])
    ]
    request_id: Annotated[
        str, Meta(description="The request's id, as in X-Request-ID and the log.", examples=["f3b1c9d2e4a5"])
    ]
    errors: Annotated[list[FieldError] | None, Meta(description="What is wrong with the input, in order.")] = None
    error: Annotated[
        str | None, Meta(description="The OAuth 2 error code (RFC 6749, section 5.2).", examples=["invalid_grant"])
    ] = None


class ClientGone(Exception):
    """The client hung up before its request was there as a whole. Nobody reads the answer; it is no failure of ours."""


class ProblemError(Exception):
    """A problem that the web layer itself finds.

    Args:
        name: A key of `PROBLEMS`.
        detail: What happened, for the caller.
        errors: What is wrong with the input, if that is the problem.
        headers: Further response headers.
        error: An OAuth 2 error code.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        headers: Mapping[str, str] | None = None,
        error: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}
        self.error = error


def invalid_parameter(name: str, detail: str) -> ProblemError:
    """Return the problem of one query parameter (or header) that is not valid. Long names and details are cut."""
    error = FieldError(parameter=name[:REPEATED_NAME_LENGTH], detail=detail[:ERROR_LENGTH])
    return ProblemError("invalid", "a parameter is not valid", errors=[error])


def _from_service(error: errors.ServiceError) -> ProblemError:
    match error:
        case errors.NotFound():
            return ProblemError("not-found", str(error) or "there is no such document")
        case errors.Malformed():
            return ProblemError("malformed-request", str(error))
        case errors.Invalid(issues=issues):
            found = [FieldError(pointer=issue.pointer, detail=issue.detail) for issue in issues]
            return ProblemError("invalid", str(error), errors=found)
        case errors.InvalidParameter(name=name, detail=detail):
            return invalid_parameter(name, detail)
        case errors.Duplicate(field=field):
            return ProblemError("duplicate", str(error), errors=[FieldError(pointer=f"/{field}", detail=str(error))])
        case errors.QuotaExceeded():
            return ProblemError("quota-exceeded", str(error))
        case errors.Stale():
            return ProblemError("stale", str(error) or "the document is no longer the one that If-Match names")
        case errors.Gone():
            return ProblemError("gone", str(error))
        case errors.Forbidden():
            return ProblemError("forbidden", str(error))
        case errors.InvalidGrant():
            return ProblemError("invalid-grant", str(error), error="invalid_grant")
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
        # Litestar raises this for a body that is not there: nothing was sent, so there is nothing to point into
        if any(item.parameter == "data" for item in found):
            return ProblemError("malformed-request", "a JSON body is needed")
        return ProblemError("invalid", "a parameter is not valid", errors=found or None)
    name = find_problem_name(error.status_code)
    details = {
        "not-found": "there is no such path",
        "method-not-allowed": "this path does not have this method",
        "body-too-large": "the body is larger than this service accepts",
        "malformed-request": "the request cannot be read",
    }
    allowed = (error.headers or {}).get("allow", "").split(", ")
    headers = {"Allow": allow_header(allowed)} if name == "method-not-allowed" else {}
    return ProblemError(name, details.get(name, PROBLEMS[name].title), headers=headers)


def find_problem_name(status: int) -> str:
    """Return which problem stands for a status that another part answers with."""
    return _BY_STATUS.get(status, "malformed-request" if status < 500 else "internal-error")


def allow_header(methods: Iterable[str]) -> str:
    """Return the `Allow` header of a path: with OPTIONS, and with HEAD wherever there is GET."""
    found = {*methods, "OPTIONS"}
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


def handle_exception(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Turn whatever was raised into a problem response."""
    problem = to_problem(error)
    body = describe_problem(request, problem)
    return Response(body, status_code=body.status, media_type=MEDIA_TYPE, headers=dict(problem.headers))


def to_problem(error: Exception) -> ProblemError:
    """Return the problem that whatever was raised is; what nobody expected is logged and becomes a 500."""
    match error:
        case ProblemError():
            return error
        case errors.ServiceError():
            return _from_service(error)
        case ClientGone():
            return ProblemError("too-slow", "the client hung up before its request was there")
        case StoreUnavailable():
            logger.warning("store unavailable", reason=str(error))
            return ProblemError(
                "unavailable",
                "the document store does not answer at present",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            )
        case Overloaded():
            return ProblemError("unavailable", "too much work of this kind is waiting", headers={"Retry-After": "1"})
        case BudgetExceededError():
            return ProblemError(
                "unavailable",
                "the request needed more time than one request is allowed",
                headers={"Retry-After": str(STORE_RETRY_SECONDS)},
            )
        case HTTPException() if error.status_code < 500:
            return _from_litestar(error)
    logger.error("unexpected error", exc_info=error)
    return ProblemError("internal-error", "the service failed to handle this request; it has been logged")


def describe_problem(request: Request[Any, Any, Any], problem: ProblemError, place: str = "") -> Problem:
    """Return a problem as it leaves.

    Args:
        request: What it answers.
        problem: The problem.
        place: JSON pointer to the part of the body that it is about.
    """
    path, request_id = request.scope["path"], request.scope["state"].get("request_id", "")
    body = create_problem(problem.name, problem.detail, path, request_id)
    body.errors, body.error = problem.errors, problem.error
    if place and problem.errors is not None:
        body.errors = [
            FieldError(found.detail, place + (f"/{found.parameter}" if found.parameter else found.pointer or ""))
            for found in problem.errors
        ]
    return body


def create_problem(name: str, detail: str, instance: str, request_id: str) -> Problem:
    """Return one of `PROBLEMS` as it leaves.

    Args:
        name: Its key.
        detail: What happened this time, for the caller.
        instance: The request's path.
        request_id: The request's id.
    """
    kind = PROBLEMS[name]
    return Problem(f"urn:todo-service:problem:{name}", kind.title, kind.status, detail, instance, request_id)


_Handler = Callable[[Request[Any, Any, Any], Exception], Response[Problem]]


def create_exception_handlers() -> ExceptionHandlersMap:
    """Return the handlers to give to Litestar: one for everything."""
    everything: dict[type[Exception] | int, _Handler] = {Exception: handle_exception}
    return everything
