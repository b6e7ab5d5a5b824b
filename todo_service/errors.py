"""The errors of services. `web.problems` maps each of them to HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from todo_service.bounds.requests import ERROR_LENGTH, LISTED_ERRORS, POINTER_LENGTH


class ValidationIssue(NamedTuple):
    """An error in the input.

    Attributes:
        pointer: A JSON pointer (RFC 6901) into the body, such as `/title`.
        detail: A description for the client, without the value itself.
    """

    pointer: str
    detail: str


class ServiceError(Exception):
    """A request that violates a rule. The message is for the client."""


class NotFound(ServiceError):
    """The document does not exist or belongs to another account. Clients cannot distinguish the two."""


class Malformed(ServiceError):
    """Malformed input."""


class Invalid(ServiceError):
    """Well-formed input that violates a rule.

    Args:
        issues: One or more issues, in the order of the input. Only the first `LISTED_ERRORS` are kept, with truncated
            texts.
        omitted: The number of further issues.

    Attributes:
        issues: The issues that are kept.
        omitted: The number of issues that are not.
    """

    def __init__(self, issues: Sequence[ValidationIssue], omitted: int = 0) -> None:
        self.issues = tuple(
            ValidationIssue(issue.pointer[:POINTER_LENGTH], issue.detail[:ERROR_LENGTH])
            for issue in issues[:LISTED_ERRORS]
        )
        self.omitted = omitted + len(issues) - len(self.issues)
        more = f"; {self.omitted} more errors are omitted" if self.omitted else ""
        super().__init__(f"the input is invalid{more}")

    def prefix_pointers(self, pointer: str) -> Invalid:
        """Return the same error with `pointer` prepended to its pointers, for a part of a larger input."""
        return Invalid([ValidationIssue(pointer + issue.pointer, issue.detail) for issue in self.issues], self.omitted)


class InvalidParameter(ServiceError):
    """A filter or another parameter that violates a rule.

    Attributes:
        name: The name of the parameter.
        detail: A description for the client.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


class Duplicate(ServiceError):
    """Another document has the same value in a unique field.

    Attributes:
        field: The name of the field in the API.
        pointer: JSON pointer to it.
    """

    def __init__(self, field: str, pointer: str | None = None) -> None:
        super().__init__(f"this {field} is already taken")
        self.field = field
        self.pointer = f"/{field}" if pointer is None else pointer

    def prefix_pointers(self, pointer: str) -> Duplicate:
        """Return the error for a document at a JSON pointer in a larger one."""
        return Duplicate(self.field, pointer + self.pointer)


class Stale(ServiceError):
    """The version of the document does not meet the condition of the request, such as `If-Match`."""


class Gone(ServiceError):
    """The requested state is no longer available."""


class Forbidden(ServiceError):
    """The caller is authenticated, but lacks the permission."""


class Unauthenticated(ServiceError):
    """The caller is not authenticated, or no longer is.

    Attributes:
        reason: `invalid_token` if the request has a token (RFC 6750, section 3.1), otherwise None.
    """

    def __init__(self, message: str = "authentication is required", reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidGrant(ServiceError):
    """Invalid or expired credentials: a name and password, or a refresh token (RFC 6749, section 5.2)."""


class TooManyRequests(ServiceError):
    """Too many concurrent operations of a kind, for the account or in total."""


class QuotaExceeded(ServiceError):
    """The account has reached a quota.

    Attributes:
        kind: The kind of documents, in the plural.
        limit: The quota.
    """

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(f"an account may have at most {limit} {kind}")
        self.kind = kind
        self.limit = limit


class Conflict(ServiceError):
    """A concurrent request has already started an incompatible operation on the document."""


class Disabled(ServiceError):
    """The operation requires something that is not enabled, such as a webhook."""


class Busy(ServiceError):
    """Too many operations of a kind wait, or other writers keep changing the document. A retry may succeed."""
