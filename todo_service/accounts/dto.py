"""What the API says and hears of accounts and sessions."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.accounts.documents import ApiKey as ApiKeyDocument
from todo_service.accounts.documents import User as UserDocument
from todo_service.fields import DEFAULT_LIMIT, Cursor, Id, Limit, NextCursor, Time, Version
from todo_service.timestamps import Timestamp, text_of

Username = Annotated[
    str,
    Meta(
        description="3 to 32 of A-Z a-z 0-9 . _ -, unique whatever the case.",
        extra_json_schema={"pattern": "^[A-Za-z0-9._-]{3,32}$", "minLength": 3, "maxLength": 32},
    ),
]
Email = Annotated[
    str,
    Meta(description="Unique whatever the case.", extra_json_schema={"format": "email", "maxLength": 254}),
]
Password = Annotated[
    str,
    Meta(
        description="12 to 128 characters, not containing the username.",
        extra_json_schema={"format": "password", "minLength": 12, "maxLength": 128},
    ),
]
DisplayName = Annotated[str, Meta(extra_json_schema={"maxLength": 100})]
TimeZone = Annotated[str, Meta(description="A name of the IANA time zone database, such as Europe/Berlin.")]


class UserCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A registration."""

    username: Username
    email: Email
    password: Password


class UserUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of an account."""

    email: Email | UnsetType = UNSET
    display_name: DisplayName | UnsetType | None = UNSET
    time_zone: TimeZone | UnsetType | None = UNSET


class UserDelete(msgspec.Struct, forbid_unknown_fields=True):
    """The password, to confirm that the account is to be deleted."""

    password: Annotated[str, Meta(extra_json_schema={"format": "password"})]


class User(msgspec.Struct):
    """An account, as its owner sees it."""

    id: Id
    username: Username
    email: Email
    display_name: DisplayName
    time_zone: TimeZone
    version: Version
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, document: UserDocument) -> User:
        """Return what the API shows of a stored account."""
        return cls(
            id=str(document.id),
            username=document.username,
            email=document.email,
            display_name=document.display_name,
            time_zone=document.time_zone,
            version=document.version,
            created_at=text_of(document.created_at),
            updated_at=text_of(document.updated_at),
        )


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """The password as it is, and as it is to be."""

    current_password: Annotated[str, Meta(extra_json_schema={"format": "password"})]
    new_password: Password


class Session(msgspec.Struct):
    """A sign-in, as its owner sees it."""

    id: Id
    created_at: Time
    last_used_at: Annotated[Time, Meta(description="When it was last renewed.")]
    expires_at: Annotated[Time, Meta(description="When it ends unless it is renewed.")]
    address: Annotated[str, Meta(description="The IP address from which it was last renewed.")]
    user_agent: Annotated[str, Meta(description="The client that renewed it last.")]
    current: Annotated[bool, Meta(description="Whether this request is made in it.")] = False


class SessionPage(msgspec.Struct):
    """A page of sessions, the newest first."""

    items: list[Session]
    next_cursor: NextCursor


class SessionQuery(msgspec.Struct, frozen=True):
    """The page of the sessions."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET


KeyName = Annotated[
    str,
    Meta(
        description="1 to 100 characters after trimming.",
        extra_json_schema={"minLength": 1, "maxLength": 100, "pattern": "\\S"},
    ),
]
Scope = Literal["read", "write"]


class ApiKeyCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new API key. One that may only read is refused where something would change."""

    name: KeyName
    scope: Scope
    expires_at: Timestamp | None = None


class ApiKey(msgspec.Struct):
    """An API key, without its secret."""

    id: Id
    name: KeyName
    prefix: Annotated[str, Meta(description="How the secret begins.")]
    scope: Scope
    created_at: Time
    expires_at: Time | None


class ApiKeyCreated(ApiKey):
    """A new API key, with its secret."""

    secret: Annotated[str, Meta(description="The bearer token. It is shown this once.")]

    @classmethod
    def of(cls, document: ApiKeyDocument, secret: str) -> ApiKeyCreated:
        """Return what the API shows of a key that has just been made."""
        return cls(
            id=str(document.id),
            name=document.name,
            prefix=document.prefix,
            scope="read" if document.scope == "read" else "write",
            created_at=text_of(document.created_at),
            expires_at=text_of(document.expires_at) if document.expires_at else None,
            secret=secret,
        )


class ApiKeyPage(msgspec.Struct):
    """A page of API keys, the newest first."""

    items: list[ApiKey]
    next_cursor: NextCursor


class ApiKeyQuery(msgspec.Struct, frozen=True):
    """The page of the API keys."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET


class TokenPair(msgspec.Struct):
    """A successful answer of the token endpoint (RFC 6749, section 5.1)."""

    access_token: str
    token_type: Annotated[str, Meta(description="Always `Bearer`.")]
    expires_in: Annotated[int, Meta(ge=1, description="Seconds until the access token expires.")]
    refresh_token: str
