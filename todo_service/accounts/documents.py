"""What is stored of accounts, sessions and API keys."""

from __future__ import annotations

from datetime import datetime

from odmantic import Field, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.fields import text_without


class User(Model):
    """An account. Name and email are unique whatever the case, so their folded forms are what the indexes see."""

    username: str
    username_key: str = Field(unique=True)
    email: str
    email_key: str = Field(unique=True)
    password_hash: str
    display_name: str = ""
    time_zone: str = "UTC"
    version: int = 1
    created_at: datetime
    updated_at: datetime

    model_config = {"collection": "users"}

    def __repr__(self) -> str:
        return text_without(self, "password_hash")

    __str__ = __repr__


class Session(Model):
    """A sign-in, for as long as it is renewed. It is ended by deleting it.

    `refresh_hash` is that of the one refresh token that is good; `previous_hash` and `successor_salt` serve a client
    that lost the answer in which it got it (see `accounts.sessions`).
    """

    owner: ObjectId
    refresh_hash: bytes
    previous_hash: bytes | None = None
    successor_salt: bytes | None = None
    rotated_at: datetime | None = None
    address: str
    user_agent: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime

    model_config = {
        "collection": "sessions",
        "indexes": lambda: [
            Index(Session.owner, Session.created_at, Session.id, name="owner_created_at"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }

    def __repr__(self) -> str:
        return text_without(self, "refresh_hash", "previous_hash", "successor_salt")

    __str__ = __repr__


class ApiKey(Model):
    """A named long-lived token. Its text is not stored: `secret_hash` is its hash, `prefix` its beginning."""

    owner: ObjectId
    name: str
    prefix: str
    secret_hash: bytes
    scope: str
    created_at: datetime
    expires_at: datetime | None

    model_config = {
        "collection": "api_keys",
        "indexes": lambda: [
            Index(ApiKey.owner, ApiKey.created_at, ApiKey.id, name="owner_created_at"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }

    def __repr__(self) -> str:
        return text_without(self, "secret_hash")

    __str__ = __repr__


class ClosedAccount(Model):
    """An account that is being deleted, or was deleted just now. Its id is the account's."""

    closed_at: datetime

    model_config = {
        "collection": "closed_accounts",
        "indexes": lambda: [Index(ClosedAccount.closed_at, ClosedAccount.id, name="closed_at")],
    }
