"""What a service may answer instead of a result. `web.problems` turns each into HTTP, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from todo_service.bounds.requests import ERROR_LENGTH, LISTED_ERRORS, POINTER_LENGTH


class ValidationIssue(NamedTuple):
    """One thing that is wrong with an input.

    Attributes:
        pointer: JSON pointer (RFC 6901) into the body, such as `/title`.
        detail: What is wrong, in words for the caller, without the value itself.
    """

    pointer: str
    detail: str


class ServiceError(Exception):
    """A request that a rule refuses. The message is meant for the caller."""


class NotFound(ServiceError):
    """What was asked for is not there, or belongs to someone else: the two cannot be told apart."""


class Malformed(ServiceError):
    """Input that cannot be read at all."""


class Invalid(ServiceError):
    """Well-formed input that breaks a rule.

    Args:
        issues: At least one, in the order of the input. The first `LISTED_ERRORS` are kept, and their texts are cut.
        omitted: How many more there are beside these.

    Attributes:
        issues: Those that are kept.
        omitted: How many are not.
    """

    def __init__(self, issues: Sequence[ValidationIssue], omitted: int = 0) -> None:
        self.issues = tuple(
            ValidationIssue(issue.pointer[:POINTER_LENGTH], issue.detail[:ERROR_LENGTH])
            for issue in issues[:LISTED_ERRORS]
        )
        self.omitted = omitted + len(issues) - len(self.issues)
        more = f"; {self.omitted} more errors are not listed" if self.omitted else ""
        super().__init__(f"the input is not valid{more}")

    def below(self, pointer: str) -> Invalid:
        """Return the same issues of a part of the input that stands at a pointer."""
        return Invalid([ValidationIssue(pointer + issue.pointer, issue.detail) for issue in self.issues], self.omitted)


class InvalidParameter(ServiceError):
    """A filter or another parameter that breaks a rule.

    Attributes:
        name: The parameter's name.
        detail: What is wrong, in words for the caller.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


class Duplicate(ServiceError):
    """Another document has this value in a field that must be unique.

    Attributes:
        field: The field's name in the API.
    """

    def __init__(self, field: str) -> None:
        super().__init__(f"this {field} is already taken")
        self.field = field


class Stale(ServiceError):
    """The document is no longer the one that the caller's condition (If-Match) names."""


class Gone(ServiceError):
    """What was asked for is no longer remembered."""


class Forbidden(ServiceError):
    """The caller is known, and may not do this."""


class Unauthenticated(ServiceError):
    """The caller is not known, or no longer.

    Attributes:
        reason: `invalid_token` where a token was sent (RFC 6750, section 3.1), else None.
    """

    def __init__(self, message: str = "authentication is needed", reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidGrant(ServiceError):
    """A name and password or a refresh token that is not, or no longer, good (RFC 6749, section 5.2)."""


class TooManyRequests(ServiceError):
    """The account, or all accounts together, have as many operations of a kind under way as are allowed."""


class QuotaExceeded(ServiceError):
    """The account has as much of something as it may have.

    Attributes:
        kind: Of what, in the plural.
        limit: How much that is.
    """

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(f"an account may have {limit} {kind}")
        self.kind = kind
        self.limit = limit


class Busy(ServiceError):
    """More work of a bounded kind is waiting than the service takes on; the same call may succeed later."""
