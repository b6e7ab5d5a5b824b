"""The rules for the values of an account."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from email_validator import SPECIAL_USE_DOMAIN_NAMES
from email_validator import validate_email as parse_email
from msgspec import UNSET

from todo_service.accounts import dto
from todo_service.accounts.passwords import prepare_new_password
from todo_service.api_types import redacted_repr
from todo_service.bounds.accounts import DISPLAY_NAME_LENGTH, EMAIL_KEY_BYTES
from todo_service.errors import Invalid, ValidationIssue
from todo_service.text import check_marks, normalize_text
from todo_service.timestamps import check_time_zone

_USERNAME: Final = re.compile(r"[A-Za-z0-9._-]{3,32}")

# self-hosted services have users with addresses in .local and .internal
SPECIAL_USE_DOMAIN_NAMES.clear()


class ValidRegistration(NamedTuple):
    """The normalized values of a registration. The password is prepared, but not yet hashed."""

    username: str
    email: str
    password: str
    display_name: str
    time_zone: str

    def __repr__(self) -> str:
        return redacted_repr(self, "password")


def validate_registration(registration: dto.UserCreate) -> ValidRegistration:
    """Return the values of a registration, normalized.

    Raises:
        Invalid: Lists every value that breaks a rule.
    """
    issues: list[ValidationIssue] = []
    username = registration.username.strip(" ")
    if not _USERNAME.fullmatch(username):
        issues.append(ValidationIssue("/username", "Expected 3 to 32 of the characters A-Z a-z 0-9 . _ -"))
    email = _normalize_email(registration.email, issues)
    password = _prepare_password(registration.password, username, issues)
    display_name = _normalize_display_name(registration.display_name, issues)
    time_zone = _check_time_zone(registration.time_zone, issues)
    if issues:
        raise Invalid(issues)
    return ValidRegistration(username, email, password, display_name, time_zone)


def validate_patch(patch: dto.UserUpdate) -> dict[str, Any]:
    """Return the changes of a merge patch, as they are stored.

    Raises:
        Invalid: Lists every value that breaks a rule.
    """
    changes: dict[str, Any] = {}
    issues: list[ValidationIssue] = []
    if patch.email is not UNSET:
        email = _normalize_email(patch.email, issues)
        changes |= {"email": email, "email_key": email.casefold()}
    if patch.display_name is not UNSET:
        changes["display_name"] = _normalize_display_name(patch.display_name or "", issues)
    if patch.time_zone is not UNSET:
        changes["time_zone"] = _check_time_zone(
            dto.DEFAULT_TIME_ZONE if patch.time_zone is None else patch.time_zone, issues
        )
    if issues:
        raise Invalid(issues)
    return changes


def _prepare_password(text: str, username: str, issues: list[ValidationIssue]) -> str:
    try:
        return prepare_new_password(text, username)
    except ValueError as error:
        issues.append(ValidationIssue("/password", str(error)))
        return text


def _normalize_email(text: str, issues: list[ValidationIssue]) -> str:
    try:
        check_marks(text)
        email = parse_email(text, check_deliverability=False).normalized
    except ValueError:  # includes EmailNotValidError
        issues.append(ValidationIssue("/email", "Expected an email address, such as ada@example.com"))
        return text
    # case folding can turn one character into three
    if len(email.casefold().encode()) > EMAIL_KEY_BYTES:
        detail = f"Expected an address of at most {EMAIL_KEY_BYTES} bytes in lower case"
        issues.append(ValidationIssue("/email", detail))
    return email


def _normalize_display_name(text: str, issues: list[ValidationIssue]) -> str:
    try:
        return normalize_text(text, DISPLAY_NAME_LENGTH, shortest=0)
    except ValueError as error:
        issues.append(ValidationIssue("/display_name", str(error)))
        return text


def _check_time_zone(name: str, issues: list[ValidationIssue]) -> str:
    try:
        check_time_zone(name)
    except ValueError as error:
        issues.append(ValidationIssue("/time_zone", str(error)))
    return name
