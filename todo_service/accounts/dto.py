"""What the API says and hears of accounts and sessions."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.accounts.documents import ApiKey as ApiKeyDocument
from todo_service.accounts.documents import User as UserDocument
from todo_service.bounds.accounts import (
    API_KEY_NAME_LENGTH,
    DISPLAY_NAME_LENGTH,
    EMAIL_LENGTH,
    GIVEN_PASSWORD_LENGTH,
    PASSWORD_LENGTH,
    USERNAME_LENGTH,
)
from todo_service.bounds.requests import FORM_FIELD_LENGTH
from todo_service.bounds.texts import UNTRIMMED_FACTOR
from todo_service.fields import (
    DEFAULT_LIMIT,
    SHOWN,
    Cursor,
    Id,
    Limit,
    NextCursor,
    Time,
    TimeZone,
    Version,
    constrain_text,
    redacted_repr,
)
from todo_service.timestamps import Timestamp, format_timestamp

Username = Annotated[
    str,
    Meta(
        description="3 to 32 of A-Z a-z 0-9 . _ -, unique whatever the case.",
        examples=["ada"],
        max_length=USERNAME_LENGTH * UNTRIMMED_FACTOR,
        extra_json_schema={SHOWN: {"pattern": "^[A-Za-z0-9._-]{3,32}$", "minLength": 3, "maxLength": USERNAME_LENGTH}},
    ),
]
Email = Annotated[
    str,
    Meta(
        description="Unique whatever the case.",
        examples=["ada@example.com"],
        max_length=EMAIL_LENGTH,
        extra_json_schema={"format": "email"},
    ),
]
Password = Annotated[
    str,
    Meta(
        description="12 to 128 characters, not containing the username.",
        examples=["correct horse battery"],
        max_length=GIVEN_PASSWORD_LENGTH,
        extra_json_schema={SHOWN: {"format": "password", "minLength": 12, "maxLength": PASSWORD_LENGTH}},
    ),
]
PresentPassword = Annotated[
    str,
    Meta(
        description="The password as it is.",
        examples=["correct horse battery"],
        max_length=GIVEN_PASSWORD_LENGTH,
        extra_json_schema={"format": "password"},
    ),
]
DisplayName = Annotated[
    str,
    Meta(
        description="How the person is called; up to 100 characters.",
        examples=["Ada"],
        max_length=DISPLAY_NAME_LENGTH * UNTRIMMED_FACTOR,
        extra_json_schema={SHOWN: {"maxLength": DISPLAY_NAME_LENGTH}},
    ),
]


class UserCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A registration."""

    username: Username
    email: Email
    password: Password

    def __repr__(self) -> str:
        return redacted_repr(self, "password")


class UserUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of an account."""

    email: Email | UnsetType = UNSET
    display_name: DisplayName | UnsetType | None = UNSET
    time_zone: TimeZone | UnsetType | None = UNSET


class UserDelete(msgspec.Struct, forbid_unknown_fields=True):
    """The password, to confirm that the account is to be deleted."""

    password: PresentPassword

    def __repr__(self) -> str:
        return redacted_repr(self, "password")


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
            created_at=format_timestamp(document.created_at),
            updated_at=format_timestamp(document.updated_at),
        )


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """The password as it is, and as it is to be."""

    current_password: PresentPassword
    new_password: Password

    def __repr__(self) -> str:
        return redacted_repr(self, "current_password", "new_password")


class Session(msgspec.Struct):
    """A sign-in, as its owner sees it."""

    id: Id
    created_at: Time
    last_used_at: Annotated[Time, Meta(description="When it was last renewed.")]
    expires_at: Annotated[Time, Meta(description="When it ends unless it is renewed.")]
    address: Annotated[str, Meta(description="The IP address from which it was last renewed.", examples=["192.0.2.1"])]
    user_agent: Annotated[str, Meta(description="The client that renewed it last.", examples=["curl/8.5.0"])]
    current: Annotated[bool, Meta(description="Whether this request is made in it.", examples=[True])] = False


class SessionPage(msgspec.Struct):
    """A page of sessions, the newest first."""

    items: Annotated[list[Session], Meta(description="The sessions of this page.")]
    next_cursor: NextCursor


class SessionQuery(msgspec.Struct, frozen=True):
    """The page of the sessions."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET


KeyName = Annotated[str, constrain_text(API_KEY_NAME_LENGTH, "1 to 100 characters after trimming.", "backup script")]
Scope = Annotated[
    Literal["read", "write"],
    Meta(title="Scope", description="Whether a key may only read, or read and write.", examples=["read"]),
]


class ApiKeyCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new API key. One that may only read is refused where something would change."""

    name: KeyName
    scope: Scope
    expires_at: Annotated[
        Timestamp | None,
        Meta(description="When it is no longer good, in the future; null for never.", examples=[None]),
    ] = None


class ApiKey(msgspec.Struct):
    """An API key, without its secret."""

    id: Id
    name: KeyName
    prefix: Annotated[str, Meta(description="How the secret begins.", examples=["todo_K3b9"])]
    scope: Scope
    created_at: Time
    expires_at: Annotated[Time | None, Meta(description="When it is no longer good; null for never.", examples=[None])]


class ApiKeyCreated(ApiKey):
    """A new API key, with its secret."""

    secret: Annotated[
        str, Meta(description="The bearer token. It is shown this once.", examples=["todo_K3b9w2Xc7RjQm5Vn8Zt1Ld6Hs4"])
    ]

    @classmethod
    def of(cls, document: ApiKeyDocument, secret: str) -> ApiKeyCreated:
        """Return what the API shows of a key that has just been made."""
        return cls(
            id=str(document.id),
            name=document.name,
            prefix=document.prefix,
            scope="read" if document.scope == "read" else "write",
            created_at=format_timestamp(document.created_at),
            expires_at=format_timestamp(document.expires_at) if document.expires_at else None,
            secret=secret,
        )

    def __repr__(self) -> str:
        return redacted_repr(self, "secret")


class ApiKeyPage(msgspec.Struct):
    """A page of API keys, the newest first."""

    items: Annotated[list[ApiKey], Meta(description="The keys of this page.")]
    next_cursor: NextCursor


class ApiKeyQuery(msgspec.Struct, frozen=True):
    """The page of the API keys."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET


class TokenPair(msgspec.Struct):
    """A successful answer of the token endpoint (RFC 6749, section 5.1)."""

    access_token: Annotated[
        str, Meta(description="The bearer token of every call.", examples=["eyJhbGciOiJIUzI1NiJ9.e30.x"])
    ]
    token_type: Annotated[Literal["Bearer"], Meta(description="Always `Bearer`.")]
    expires_in: Annotated[int, Meta(ge=1, description="Seconds until the access token expires.", examples=[600])]
    refresh_token: Annotated[
        str, Meta(description="Gets the next pair, once, when the access token has expired.", examples=["9s8Yt2Vb"])
    ]

    def __repr__(self) -> str:
        return redacted_repr(self, "access_token", "refresh_token")


FormField = Annotated[str, Meta(max_length=FORM_FIELD_LENGTH)]


class TokenRequest(msgspec.Struct):
    """The form of the token endpoint: a name and password, or a refresh token (RFC 6749, sections 4.3.2 and 6)."""

    grant_type: Annotated[
        Literal["password", "refresh_token"],
        Meta(title="GrantType", description="What is given for tokens.", examples=["password"]),
    ]
    username: Annotated[
        FormField | UnsetType, Meta(description="The name or the email; for `password`.", examples=["ada"])
    ] = UNSET
    password: Annotated[
        FormField | UnsetType,
        Meta(
            description="For `password`.", examples=["correct horse battery"], extra_json_schema={"format": "password"}
        ),
    ] = UNSET
    refresh_token: Annotated[FormField | UnsetType, Meta(description="For `refresh_token`.")] = UNSET

    def __repr__(self) -> str:
        return redacted_repr(self, "password", "refresh_token")


class TokenRevocation(msgspec.Struct):
    """The form of the revocation endpoint (RFC 7009)."""

    token: Annotated[FormField, Meta(min_length=1, description="A refresh or an access token.", examples=["9s8Yt2Vb"])]

    def __repr__(self) -> str:
        return redacted_repr(self, "token")
