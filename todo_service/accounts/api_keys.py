"""API keys: named long-lived tokens for scripts and SDKs.

A key's text is its id and 32 random bytes; the text is shown once, stored is its hash. Beside the hash stands the
beginning of the text, by which its owner knows it again, and which holds nothing of the random part.

A deleted key leaves a tombstone for as long as the request that created it may be repeated, so that a repeat does not
bring it back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from datetime import datetime, timedelta
from typing import Final

import msgspec
from odmantic import ObjectId
from odmantic.query import desc

from todo_service.accounts import dto
from todo_service.accounts.documents import ApiKey
from todo_service.bounds.accounts import API_KEY_NAME_LENGTH, MAX_API_KEYS
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.errors import Forbidden, Gone, Invalid, NotFound, Unauthenticated, ValidationIssue
from todo_service.security.caller import Caller
from todo_service.store.base import Condition, DocumentStore, DuplicateDocument
from todo_service.store.slots import insert_into_slot
from todo_service.text import trim
from todo_service.timestamps import LATEST, Timestamp, now

MARK: Final = "todo_"
"""What every key's text begins with, so that it is told from an access token, and found where it should not be."""
TOMBSTONE_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)
"""How long a deleted key is remembered: longer than the request that created it may be repeated."""
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 12
_SHOWN: Final = len(MARK) + 8
_MEMORY_SECONDS: Final = 5.0
_MEMORY_SIZE: Final = 20_000
_NEVER: Final = 2**62


class ApiKeyPosition(msgspec.Struct, array_like=True):
    """Where a page of API keys begins: after the key with this time of creation and id."""

    created_at: str
    id: str


class _Slot(msgspec.Struct, frozen=True):
    slot: int


class ApiKeys:
    """The API keys of all accounts.

    That a key is good is remembered for 5 s, so that a request costs no look-up; here its end is known at once, on
    every other replica within that time.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._good: dict[str, tuple[Caller, float]] = {}
        self._ends = 0

    async def create(self, user_id: ObjectId, given: dto.ApiKeyCreate, seed: bytes | None = None) -> dto.ApiKeyCreated:
        """Create a key.

        Args:
            user_id: The account.
            given: The key's fields.
            seed: 32 secret bytes, where the call may be repeated: the key is derived from them, and a repeat returns
                the key that is there already.

        Raises:
            Invalid: the name breaks a rule, or the key would have expired already.
            Forbidden: the account has `MAX_API_KEYS` keys.
            Gone: the same call has created the key before, and it has been deleted since.
        """
        key_id, text = _generate(seed)
        if seed is not None and (made := await self._find_created(user_id, key_id)) is not None:
            return dto.ApiKeyCreated.of(made, text)
        moment = now()
        name = _check(given, moment)

        def build(slot: int) -> ApiKey:
            return ApiKey(
                id=key_id,
                account=user_id,
                owner=user_id,
                slot=slot,
                name=name,
                prefix=text[:_SHOWN],
                secret_hash=_hash(text),
                scope=given.scope,
                created_at=moment,
                expires_at=given.expires_at,
            )

        async def taken_slots() -> list[int]:
            found = await self._store.find(ApiKey, ApiKey.owner == user_id, sort=None, limit=MAX_API_KEYS, into=_Slot)
            return [each.slot for each in found]

        try:
            document = await insert_into_slot(self._store, build, taken_slots, MAX_API_KEYS)
        except DuplicateDocument:
            # another attempt of the same call was faster
            document = await self._find_created(user_id, key_id)
        if document is None:
            raise Forbidden(f"an account may have at most {MAX_API_KEYS} API keys: delete one first")
        return dto.ApiKeyCreated.of(document, text)

    async def _find_created(self, user_id: ObjectId, key_id: ObjectId) -> ApiKey | None:
        """Return the key that an earlier attempt has created, durably.

        Raises:
            Gone: it has been deleted since.
        """
        # a write tells, even where a cut-off member of MongoDB shows what is rolled back
        made = await self._store.update(ApiKey, ApiKey.id == key_id, ApiKey.account == user_id, changes={})
        if made is not None and made.owner is None:
            raise Gone("this API key was created and has been deleted since")
        return made

    async def page(
        self, user_id: ObjectId, limit: int, after: ApiKeyPosition | None
    ) -> tuple[list[dto.ApiKey], ApiKeyPosition | None]:
        """Return a page of an account's keys, the newest first, and where the next page begins, or None."""
        key_ranges: list[list[Condition]] = [[]]
        if after is not None:
            made = Timestamp.parse(after.created_at)
            key_ranges = [[ApiKey.created_at == made, ApiKey.id < ObjectId(after.id)], [ApiKey.created_at < made]]
        found: list[dto.ApiKey] = []
        # one that has expired may be there still, for a while
        where = [ApiKey.owner == user_id, (ApiKey.expires_at == None) | (ApiKey.expires_at > now())]  # type: ignore[operator]  # noqa: E711  # an expression
        order = (desc(ApiKey.created_at), desc(ApiKey.id))
        for key_range in key_ranges:
            found += await self._store.find(
                ApiKey, *where, *key_range, sort=order, limit=limit + 1 - len(found), into=dto.ApiKey
            )
            if len(found) > limit:
                break
        page = found[:limit]
        return page, ApiKeyPosition(page[-1].created_at, page[-1].id) if len(found) > limit else None

    async def delete(self, user_id: ObjectId, key_id: str) -> None:
        """Delete a key; it is no longer good.

        Raises:
            NotFound: there is none with this id, or it is another account's.
        """
        if not (len(key_id) == 24 and ObjectId.is_valid(key_id)):
            raise NotFound("there is no such API key")
        tombstone = {
            "owner": None,
            "slot": _tombstone_slot(ObjectId(key_id)),
            "name": "",
            "prefix": "",
            "secret_hash": b"",
            "expires_at": now() + TOMBSTONE_LIFETIME,
        }
        where = [ApiKey.id == ObjectId(key_id), ApiKey.owner == user_id]
        if await self._store.update(ApiKey, *where, changes=tombstone) is None:
            raise NotFound("there is no such API key")
        self._forget({ObjectId(key_id)})

    async def delete_all(self, user_id: ObjectId) -> None:
        """Delete every key of an account, and every tombstone."""
        await self._store.delete(ApiKey, ApiKey.account == user_id)
        self._forget({caller.session_id for caller, _ in self._good.values() if caller.user_id == user_id})

    def identify(self, text: str) -> Caller | None:
        """Return who a key was issued to, without asking the store; it may have been deleted since.

        Returns:
            The caller, or None for a key that this process has not seen yet.

        Raises:
            Unauthenticated: it has not the form of a key, or has expired.
        """
        caller, _ = self._good.get(text, (None, 0.0))
        if caller is None and _id_in(text) is None:
            raise Unauthenticated("the API key is not valid", "invalid_token")
        if caller is not None and caller.expires <= now().timestamp():
            raise Unauthenticated("the API key has expired", "invalid_token")
        return caller

    async def authenticate(self, text: str) -> Caller:
        """Return who a key speaks for.

        Raises:
            Unauthenticated: it is no key of ours, or has been deleted or expired.
        """
        caller, until = self._good.get(text, (None, 0.0))
        if caller is None or until <= time.monotonic():
            caller = await self._look_up(text)
        if caller.expires <= now().timestamp():
            raise Unauthenticated("the API key has expired", "invalid_token")
        return caller

    async def _look_up(self, text: str) -> Caller:
        ends, asked = self._ends, time.monotonic()
        key_id = _id_in(text)
        found = await self._store.get(ApiKey, ApiKey.id == key_id) if key_id is not None else None
        if found is None or found.owner is None or not hmac.compare_digest(found.secret_hash, _hash(text)):
            self._good.pop(text, None)
            raise Unauthenticated("the API key is not valid", "invalid_token")
        expires = int(found.expires_at.timestamp()) if found.expires_at is not None else _NEVER
        caller = Caller(found.owner, found.id, expires, "read" if found.scope == "read" else "write")
        if ends == self._ends:  # else it may be this one that was deleted while the store answered
            self._good.pop(text, None)  # so that it becomes the newest entry
            if len(self._good) >= _MEMORY_SIZE:
                self._good.pop(next(iter(self._good)))
            self._good[text] = caller, asked + _MEMORY_SECONDS
        return caller

    def _forget(self, key_ids: set[ObjectId]) -> None:
        self._ends += 1
        self._good = {text: good for text, good in self._good.items() if good[0].session_id not in key_ids}


def _generate(seed: bytes | None) -> tuple[ObjectId, str]:
    """Return the id and the text of a new key, the same ones for the same seed."""
    if seed is None:
        raw = ObjectId().binary + secrets.token_bytes(_SECRET_BYTES)
    else:
        raw = hashlib.shake_256(seed).digest(_ID_BYTES + _SECRET_BYTES)
    return ObjectId(raw[:_ID_BYTES]), MARK + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _check(given: dto.ApiKeyCreate, moment: datetime) -> str:
    """Return the name of a new key.

    Raises:
        Invalid: the name breaks a rule, or the key would have expired already.
    """
    name, issues = given.name, []
    try:
        name = trim(name, API_KEY_NAME_LENGTH)
    except ValueError as error:
        issues.append(ValidationIssue("/name", str(error)))
    if given.expires_at is not None and not moment < given.expires_at <= LATEST:
        issues.append(
            ValidationIssue("/expires_at", "Expected a moment in the future, before the last day of the year 9999")
        )
    if issues:
        raise Invalid(issues)
    return name


def _tombstone_slot(key_id: ObjectId) -> int:
    """Return a slot for a tombstone: unlike any other, and none of those that keys have."""
    return -1 - int.from_bytes(key_id.binary[-7:], "big")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _id_in(text: str) -> ObjectId | None:
    encoded = text.removeprefix(MARK)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return ObjectId(raw[:_ID_BYTES]) if len(raw) == _ID_BYTES + _SECRET_BYTES else None
