"""Checks in the store which sessions and API keys have ended, and which accounts are disabled.

Requests check their session in a cache that may be a few seconds old, because any process can end a session. Event
streams and webhooks outlive a request, so they check the store. One check covers all event streams of a process.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from odmantic import ObjectId

from todo_service.accounts.documents import ApiKey, Session, User
from todo_service.security.caller import Caller
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now

_BATCH: Final = 100
"""The maximum number of ids in a call, because an index serves at most 100 key ranges (`store.base`)."""


class AccountState(msgspec.Struct, frozen=True):
    """The fields of an account that decide which of its sessions and API keys are alive."""

    id: str
    password_generation: int = 1
    surviving_session: str | None = None
    disabled: bool = False

    def allows(self, session_id: str, password_generation: int) -> bool:
        """Return whether a session that started under a generation of the password is alive."""
        return password_generation == self.password_generation or session_id == self.surviving_session


class _SessionState(msgspec.Struct, frozen=True):
    id: str
    expires_at: datetime
    password_generation: int = 1


class _KeyState(msgspec.Struct, frozen=True):
    id: str
    owner: str | None


StateT = TypeVar("StateT", AccountState, _SessionState, _KeyState)


async def find_ended(store: DocumentStore, callers: Collection[Caller]) -> set[ObjectId]:
    """Return the ids of the sessions and API keys of some callers that have ended.

    Makes one call to the store for each hundred accounts, for each hundred sessions and for each hundred API keys.

    Args:
        store: The store.
        callers: The callers. The expiry of their tokens is ignored.
    """
    moment = now()
    accounts = await _read(store, User, {each.user_id for each in callers}, AccountState)
    by_session = [each for each in callers if each.key_scope is None]
    sessions = await _read(store, Session, {each.session_id for each in by_session}, _SessionState)
    by_key = [each for each in callers if each.key_scope is not None]
    keys = await _read(store, ApiKey, {each.session_id for each in by_key}, _KeyState)

    def is_alive(caller: Caller) -> bool:
        account, credential = accounts.get(str(caller.user_id)), str(caller.session_id)
        if account is None:
            return False
        if caller.key_scope is not None:
            return not account.disabled and credential in keys and keys[credential].owner is not None
        session = sessions.get(credential)
        return (
            session is not None
            and session.expires_at > moment
            and account.allows(session.id, session.password_generation)
        )

    return {each.session_id for each in callers if not is_alive(each)}


async def is_disabled(store: DocumentStore, user_id: ObjectId) -> bool:
    """Return whether an account is disabled."""
    account = await store.get(User, User.id == user_id, into=AccountState)
    return account is not None and account.disabled


async def _read(store: DocumentStore, model: Any, ids: Collection[ObjectId], into: type[StateT]) -> dict[str, StateT]:
    """Return the documents that have these ids, by id."""
    ordered = sorted(ids)
    found: dict[str, StateT] = {}
    for start in range(0, len(ordered), _BATCH):
        wanted = model.id.in_(ordered[start : start + _BATCH])
        found |= {each.id: each for each in await store.find(model, wanted, sort=None, limit=_BATCH, into=into)}
    return found
