"""What is stored of accounts, sessions and API keys."""

from __future__ import annotations

from datetime import datetime

from odmantic import Field, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.fields import redacted_repr


class User(Model):
    """An account. Name and email are unique whatever the case, so their folded forms are what the indexes see.

    `password_generation` counts the passwords that were set. A session is alive only if it began under the present
    one, or if it is `surviving_session`, in which the present one was set.
    """

    username: str
    username_key: str = Field(unique=True)
    email: str
    email_key: str = Field(unique=True)
    password_hash: str
    password_generation: int = 1
    surviving_session: ObjectId | None = None
    display_name: str = ""
    time_zone: str = "UTC"
    version: int = 1
    created_at: datetime
    updated_at: datetime

    model_config = {"collection": "users"}

    def __repr__(self) -> str:
        return redacted_repr(self, "password_hash")

    __str__ = __repr__


class Session(Model):
    """A sign-in, for as long as it is renewed. It is ended by deleting it.

    `refresh_hash` is that of the one refresh token that is good; `previous_hash` and `successor_salt` serve a client
    that lost the answer in which it got it (see `accounts.sessions`). `password_generation` is that of the account when
    its password was checked.
    """

    owner: ObjectId
    password_generation: int = 1
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
        return redacted_repr(self, "refresh_hash", "previous_hash", "successor_salt")

    __str__ = __repr__


class ApiKey(Model):
    """A named long-lived token. Its text is not stored: `secret_hash` is its hash, `prefix` its beginning.

    A deleted key has lost its `owner` and its secret; `account` stays until `expires_at` (see `accounts.api_keys`).
    `slot` bounds how many keys an account has (see `slots`).
    """

    account: ObjectId
    owner: ObjectId | None
    slot: int
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
            Index(ApiKey.owner, ApiKey.slot, name="owner_slot", unique=True),
            Index(ApiKey.account, ApiKey.id, name="account"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }

    def __repr__(self) -> str:
        return redacted_repr(self, "secret_hash")

    __str__ = __repr__


class ClosedAccount(Model):
    """An account that is being deleted, or was deleted lately. Its id is the account's.

    `swept` says that what other replicas may have written for it meanwhile has been deleted too. It is remembered for
    longer than the request that registered the account may be repeated.
    """

    closed_at: datetime
    swept: bool = False
    expires_at: datetime

    model_config = {
        "collection": "closed_accounts",
        "indexes": lambda: [
            Index(ClosedAccount.swept, ClosedAccount.closed_at, ClosedAccount.id, name="swept_closed_at"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }
