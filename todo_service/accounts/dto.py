"""The requests and responses for accounts, sessions and API keys."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.accounts.documents import ApiKey as ApiKeyDocument
from todo_service.accounts.documents import User as UserDocument
from todo_service.api_types import (
    SHOWN,
    Id,
    NextCursor,
    Time,
    TimeZone,
    Version,
    constrain_text,
    describe_text_bounds,
    redacted_repr,
)
from todo_service.bounds.accounts import (
    API_KEY_NAME_LENGTH,
    DISPLAY_NAME_LENGTH,
    EMAIL_LENGTH,
    GIVEN_PASSWORD_LENGTH,
    INVITATION_LENGTH,
    PASSWORD_LENGTH,
    USERNAME_LENGTH,
)
from todo_service.bounds.requests import FORM_FIELD_LENGTH
from todo_service.bounds.texts import UNTRIMMED_FACTOR
from todo_service.decoding import declare_read_only
from todo_service.store.structs import build_struct
from todo_service.timestamps import Timestamp, format_timestamp

DEFAULT_TIME_ZONE: Final = "UTC"
Username = Annotated[
    str,
    Meta(
        description="3 to 32 of the characters A-Z a-z 0-9 . _ -, unique ignoring case.",
        examples=["ada"],
        max_length=USERNAME_LENGTH * UNTRIMMED_FACTOR,
        extra_json_schema={SHOWN: {"pattern": "^[A-Za-z0-9._-]{3,32}$", "minLength": 3, "maxLength": USERNAME_LENGTH}},
    ),
]
Email = Annotated[
    str,
    Meta(
        description="Unique ignoring case.",
        examples=["ada@example.com"],
        max_length=EMAIL_LENGTH,
        extra_json_schema={"format": "email"},
    ),
]
Password = Annotated[
    str,
    Meta(
        description=(
            "12 to 128 characters, not containing the username. Prepared as an OpaqueString (RFC 8265): "
            "normalized to NFC, and rejected if it has a character that the profile disallows, such as a control "
            "character."
        ),
        examples=["correct horse battery"],
        max_length=GIVEN_PASSWORD_LENGTH,
        extra_json_schema={SHOWN: {"format": "password", "minLength": 12, "maxLength": PASSWORD_LENGTH}},
    ),
]
CurrentPassword = Annotated[
    str,
    Meta(
        description="The current password.",
        examples=["correct horse battery"],
        max_length=GIVEN_PASSWORD_LENGTH,
        extra_json_schema={"format": "password"},
    ),
]
DisplayName = Annotated[
    str,
    Meta(
        description=f"The name shown to people. {describe_text_bounds(DISPLAY_NAME_LENGTH)}",
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
    display_name: DisplayName = ""
    time_zone: Annotated[
        TimeZone,
        Meta(
            description=(
                "The time zone in which days begin and recurring todos recur, a name of the IANA database. Send the "
                "zone of the user's device: the default is UTC."
            )
        ),
    ] = DEFAULT_TIME_ZONE
    invitation: (
        Annotated[
            str,
            Meta(
                description=(
                    "The invitation from the operator of the service; null for none. It is required if the service "
                    "accepts only invited users, and ignored if everybody may register."
                ),
                examples=["kq3Lw1nBz0Xr7TfYv5HdJc8Gs2Mp9Ea4"],
                max_length=INVITATION_LENGTH,
                extra_json_schema={"format": "password"},  # it is a secret
            ),
        ]
        | None
    ) = None

    def __repr__(self) -> str:
        return redacted_repr(self, "password", "invitation")


class UserUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of an account."""

    email: Email | UnsetType = UNSET
    display_name: DisplayName | UnsetType | None = UNSET
    time_zone: TimeZone | UnsetType | None = UNSET


class UserDelete(msgspec.Struct, forbid_unknown_fields=True):
    """The password, which confirms the deletion of an account."""

    password: CurrentPassword

    def __repr__(self) -> str:
        return redacted_repr(self, "password")


class User(msgspec.Struct, frozen=True):
    """An account."""

    id: Id
    username: Username
    email: Email
    display_name: DisplayName
    time_zone: TimeZone
    version: Version
    created_at: Time
    updated_at: Time

    @classmethod
    def from_document(cls, document: UserDocument) -> User:
        """Return the account stored in a document."""
        return build_struct(document, cls)


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """The current and the new password."""

    current_password: CurrentPassword
    new_password: Password

    def __repr__(self) -> str:
        return redacted_repr(self, "current_password", "new_password")


class Session(msgspec.Struct, frozen=True):
    """A session."""

    id: Id
    created_at: Time
    last_used_at: Annotated[Time, Meta(description="When the session was last refreshed.")]
    expires_at: Annotated[Time, Meta(description="When the session expires unless it is refreshed.")]
    address: Annotated[str, Meta(description="The IP address that last refreshed the session.", examples=["192.0.2.1"])]
    user_agent: Annotated[str, Meta(description="The client that last refreshed the session.", examples=["curl/8.5.0"])]
    current: Annotated[bool, Meta(description="Whether this is the session of the request.", examples=[True])] = False


class SessionPage(msgspec.Struct, frozen=True):
    """A page of sessions, newest first."""

    items: Annotated[list[Session], Meta(description="The sessions of this page.")]
    next_cursor: NextCursor


KeyName = Annotated[str, constrain_text(API_KEY_NAME_LENGTH, "The name.", "backup script")]
Scope = Annotated[
    Literal["read", "write"],
    Meta(title="Scope", description="What a key may do: only read, or read and write.", examples=["read"]),
]


class ApiKeyCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new API key. A key with the scope `read` cannot make changes."""

    name: KeyName
    scope: Scope
    expires_at: Annotated[
        Timestamp | None,
        Meta(description="When the key expires, in the future; null for never.", examples=[None]),
    ] = None


class ApiKey(msgspec.Struct, frozen=True):
    """An API key, without its secret."""

    id: Id
    name: KeyName
    prefix: Annotated[str, Meta(description="The first characters of the secret.", examples=["todo_K3b9w2Xc"])]
    scope: Scope
    created_at: Time
    expires_at: Annotated[Time | None, Meta(description="When the key expires; null for never.", examples=[None])]


class ApiKeyCreated(ApiKey, frozen=True):
    """A new API key, with its secret."""

    secret: Annotated[
        str, Meta(description="The bearer token. It is shown only once.", examples=["todo_K3b9w2Xc7RjQm5Vn8Zt1Ld6Hs4"])
    ]

    @classmethod
    def from_document(cls, document: ApiKeyDocument, secret: str) -> ApiKeyCreated:
        """Return the new key stored in a document."""
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


class ApiKeyPage(msgspec.Struct, frozen=True):
    """A page of API keys, newest first."""

    items: Annotated[list[ApiKey], Meta(description="The keys of this page.")]
    next_cursor: NextCursor


class TokenPair(msgspec.Struct, frozen=True):
    """A successful response of the token endpoint (RFC 6749, section 5.1)."""

    access_token: Annotated[
        str, Meta(description="The bearer token for requests.", examples=["eyJhbGciOiJIUzI1NiJ9.e30.x"])
    ]
    token_type: Annotated[Literal["Bearer"], Meta(description="Always `Bearer`.")]
    expires_in: Annotated[int, Meta(ge=1, description="Seconds until the access token expires.", examples=[600])]
    refresh_token: Annotated[
        str, Meta(description="Exchanged for the next pair of tokens. It can be used once.", examples=["9s8Yt2Vb"])
    ]

    def __repr__(self) -> str:
        return redacted_repr(self, "access_token", "refresh_token")


FormField = Annotated[str, Meta(max_length=FORM_FIELD_LENGTH)]


class TokenRequest(msgspec.Struct, frozen=True):
    """The form of the token endpoint: a username and password, or a refresh token (RFC 6749, sections 4.3.2 and 6).

    Further fields, such as `client_id`, `client_secret` and `scope`, are ignored.
    """

    grant_type: Annotated[
        Literal["password", "refresh_token"],
        Meta(description="The credential to exchange for tokens.", examples=["password"]),
    ]
    username: Annotated[
        FormField | UnsetType, Meta(description="The username or the email; for `password`.", examples=["ada"])
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


class TokenRevocation(msgspec.Struct, frozen=True):
    """The form of the revocation endpoint (RFC 7009). Further fields, such as `token_type_hint`, are ignored."""

    token: Annotated[
        FormField, Meta(min_length=1, description="A refresh token or an access token.", examples=["9s8Yt2Vb"])
    ]

    def __repr__(self) -> str:
        return redacted_repr(self, "token")


declare_read_only(User, UserCreate, UserUpdate)
declare_read_only(ApiKeyCreated, ApiKeyCreate)
