"""The stored documents of accounts, sessions and API keys."""

from __future__ import annotations

from datetime import datetime

from odmantic import Field, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.api_types import redacted_repr
from todo_service.store.base import DEFAULT_FROM


class User(Model):
    """An account. Username and email are unique ignoring case, so the indexes use their case-folded forms.

    `password_generation` is incremented with each new password. A session is alive only if it started under the current
    generation, or if it is `surviving_session`, the one in which the current password was set.

    Nobody can sign in to a `disabled` account, and its API keys do not work.

    `invitation` is the id of the invitation that the account was registered with, or else its own id. It is unique, so
    that an invitation is used once (see `accounts.invitations`).

    `applied_change_ids` are the last changes of the password that may be repeated (see `applied_changes`).

    `time_zone_used` says whether a todo may depend on `time_zone`. After a change of `time_zone`, a job visits the
    todos at `next_visit_at`; None if no visit is scheduled (see `accounts.time_zones`).
    """

    username: str
    username_key: str = Field(unique=True)
    email: str
    email_key: str = Field(unique=True)
    password_hash: str
    password_generation: int = 1
    surviving_session: ObjectId | None = None
    applied_change_ids: list[ObjectId] = Field(default_factory=list)
    disabled: bool = False
    invitation: ObjectId | None = Field(default=None, json_schema_extra={DEFAULT_FROM: "id"})
    display_name: str = ""
    time_zone: str = "UTC"
    time_zone_used: bool = True
    time_zone_changed_at: datetime | None = None
    next_visit_at: datetime | None = None
    version: int = 1
    created_at: datetime
    updated_at: datetime

    model_config = {
        "collection": "users",
        "indexes": lambda: [
            Index(User.next_visit_at, User.id, name="next_visit_at"),
            Index(User.invitation, name="invitation", unique=True),
        ],
    }

    def __repr__(self) -> str:
        return redacted_repr(self, "password_hash")

    __str__ = __repr__


class Session(Model):
    """A session. It ends when it is deleted, or when it expires without being refreshed.

    `refresh_hash` is the hash of the current refresh token. `previous_hash` and `successor_salt` let a client that lost
    the response to a refresh get the same refresh token again (see `accounts.sessions`). `password_generation` is the
    account's generation at the time its password was verified.
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
    """A named, long-lived token. Only its hash and its first characters are stored, as `secret_hash` and `prefix`.

    A tombstone has no `owner` and no secret, but keeps `account` until `expires_at` (see `accounts.api_keys`).
    `slot` limits the number of keys of an account (see `store.slots`).
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


class Invitation(Model):
    """An invitation for one registration. Only its hash is stored, and its id is derived from that.

    It is deleted when an account has been registered with it (see `accounts.invitations`). `claimed_by` is the id of
    the account that a registration is creating, and `claimed_at` the time at which it claimed the invitation.
    """

    secret_hash: bytes
    created_at: datetime
    expires_at: datetime
    claimed_by: ObjectId | None = None
    claimed_at: datetime | None = None

    model_config = {
        "collection": "invitations",
        "indexes": lambda: [IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0)],
    }

    def __repr__(self) -> str:
        return redacted_repr(self, "secret_hash")

    __str__ = __repr__


class ClosedAccount(Model):
    """The tombstone of an account whose deletion has begun. It has the id of the account.

    `swept` says that late writes by other replicas have been deleted too. The tombstone outlives the period in which
    the registration of the account may be repeated.
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


class UsedTicket(Model):
    """An event ticket that has been used, by its id."""

    expires_at: datetime

    model_config = {
        "collection": "used_tickets",
        "indexes": lambda: [IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0)],
    }
