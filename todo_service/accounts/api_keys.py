"""API keys: named, long-lived tokens for scripts and SDKs.

A key consists of its id and 32 random bytes. It is shown only once. The store has its hash, and its first characters
so that the owner can recognize it. Those characters contain none of the random bytes.

A deleted key leaves a tombstone for as long as the request that created it may be repeated, so that a repeat does not
create it again.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
from odmantic import ObjectId

from todo_service.accounts import dto
from todo_service.accounts.documents import ApiKey, User
from todo_service.accounts.liveness import AccountState
from todo_service.api_types import parse_id
from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.accounts import API_KEY_NAME_LENGTH, MAX_API_KEYS
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.errors import Forbidden, Gone, Invalid, NotFound, Unauthenticated, ValidationIssue
from todo_service.security.caller import Caller
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.paging import CreationPosition, read_newest_first
from todo_service.store.slots import insert_into_slot
from todo_service.text import normalize_text
from todo_service.timestamps import LATEST, now

API_KEY_PREFIX: Final = "todo_"
"""The prefix of every key. It distinguishes keys from access tokens, and lets secret scanners find leaked keys."""
TOMBSTONE_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)
"""The lifetime of a tombstone, longer than the time in which the creation of the key may be repeated."""
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 12
_SHOWN_LENGTH: Final = len(API_KEY_PREFIX) + 8
_CACHE_SECONDS: Final = 5.0
_CACHE_SIZE: Final = 20_000
_NEVER: Final = 2**62


class _Slot(msgspec.Struct, frozen=True):
    slot: int


class _Key(msgspec.Struct, frozen=True):
    id: str


class ApiKeys:
    """The API keys of all accounts.

    A verified key is cached for 5 s, which saves a store call for each request. This process notices a deletion
    immediately, other replicas within that time.

    Args:
        store: The document store.
        on_end: Called with the ids of keys that have been deleted in this process.
    """

    def __init__(self, store: DocumentStore, on_end: Callable[[set[ObjectId]], None] = lambda _: None) -> None:
        self._store = store
        self._on_end = on_end
        self._verified: BoundedCache[str, tuple[Caller, float]] = BoundedCache(_CACHE_SIZE)
        self._revocations = 0

    async def create(self, user_id: ObjectId, data: dto.ApiKeyCreate, seed: bytes | None = None) -> dto.ApiKeyCreated:
        """Create a key.

        Args:
            user_id: The account.
            data: The fields of the key.
            seed: 32 secret bytes from which the key is derived, if the call may be repeated. A repeat returns the
                existing key.

        Raises:
            Invalid: The name is invalid, or the expiry is not in the future.
            Forbidden: The account has `MAX_API_KEYS` keys.
            Gone: An earlier attempt created the key, which has been deleted since.
        """
        key_id, text = _generate(seed)
        if seed is not None and (created := await self._find_created(user_id, key_id)) is not None:
            return dto.ApiKeyCreated.from_document(created, text)
        moment = now()
        name = _validate(data, moment)

        def build(slot: int) -> ApiKey:
            return ApiKey(
                id=key_id,
                account=user_id,
                owner=user_id,
                slot=slot,
                name=name,
                prefix=text[:_SHOWN_LENGTH],
                secret_hash=_hash(text),
                scope=data.scope,
                created_at=moment,
                expires_at=data.expires_at,
            )

        async def find_taken_slots() -> list[int]:
            found = await self._store.find(ApiKey, ApiKey.owner == user_id, sort=None, limit=MAX_API_KEYS, into=_Slot)
            return [each.slot for each in found]

        try:
            document = await insert_into_slot(self._store, build, find_taken_slots, MAX_API_KEYS)
        except DuplicateDocument:
            # a concurrent attempt of the same call has created the key
            document = await self._find_created(user_id, key_id)
        if document is None:
            raise Forbidden(f"an account may have at most {MAX_API_KEYS} API keys: delete one first")
        return dto.ApiKeyCreated.from_document(document, text)

    async def _find_created(self, user_id: ObjectId, key_id: ObjectId) -> ApiKey | None:
        """Return the key that an earlier attempt created, once it is durable.

        Raises:
            Gone: The key has been deleted since.
        """
        # a write, because an isolated MongoDB member can return data that is rolled back later
        created = await self._store.update(ApiKey, ApiKey.id == key_id, ApiKey.account == user_id, changes={})
        if created is not None and created.owner is None:
            raise Gone("this API key was created and has been deleted since")
        return created

    async def read_page(
        self, user_id: ObjectId, limit: int, after: CreationPosition | None
    ) -> tuple[list[dto.ApiKey], CreationPosition | None]:
        """Return a page of an account's keys, newest first, and the position of the next page, or None.

        Args:
            user_id: The account.
            limit: The size of the page.
            after: The position of the page; None for the first.
        """
        return await read_newest_first(
            self._store,
            ApiKey,
            ApiKey.owner == user_id,
            # the store deletes expired keys with a delay
            (ApiKey.expires_at == None) | (ApiKey.expires_at > now()),  # type: ignore[operator]  # noqa: E711  # an expression
            after=after,
            limit=limit,
            into=dto.ApiKey,
        )

    async def delete(self, user_id: ObjectId, key_id: str) -> None:
        """Delete a key.

        Raises:
            NotFound: The account has no key with this id.
        """
        identity = parse_id(key_id)
        if identity is None:
            raise NotFound("there is no such API key")
        tombstone = {
            "owner": None,
            "slot": _compute_tombstone_slot(identity),
            "name": "",
            "prefix": "",
            "secret_hash": b"",
            "expires_at": now() + TOMBSTONE_LIFETIME,
        }
        where = [ApiKey.id == identity, ApiKey.owner == user_id]
        if await self._store.update(ApiKey, *where, changes=tombstone) is None:
            raise NotFound("there is no such API key")
        self._evict({identity})

    async def revoke_all(self, user_id: ObjectId) -> None:
        """Delete all keys of an account. Each leaves a tombstone."""
        for found in await self._store.find(ApiKey, ApiKey.owner == user_id, sort=None, limit=MAX_API_KEYS, into=_Key):
            with contextlib.suppress(NotFound):  # deleted meanwhile
                await self.delete(user_id, found.id)

    async def delete_all(self, user_id: ObjectId) -> None:
        """Delete all keys and tombstones of an account."""
        await self._store.delete(ApiKey, ApiKey.account == user_id)
        self._evict({caller.session_id for caller, _ in self._verified.values() if caller.user_id == user_id})

    def identify(self, text: str) -> Caller | None:
        """Return the caller a key was issued to, without a call to the store. The key may have been deleted since.

        Returns:
            The caller, or None if the key is not cached.

        Raises:
            Unauthenticated: The key is malformed or expired.
        """
        caller, _ = self._verified.get(text, (None, 0.0))
        if caller is None and _parse_id(text) is None:
            raise Unauthenticated("the API key is not valid", "invalid_token")
        if caller is not None and caller.expires <= now().timestamp():
            raise Unauthenticated("the API key has expired", "invalid_token")
        return caller

    async def authenticate(self, text: str) -> Caller:
        """Return the caller of a key. Calls the store unless the key is cached.

        Raises:
            Unauthenticated: The key is invalid, deleted or expired.
        """
        caller, until = self._verified.get(text, (None, 0.0))
        if caller is None or until <= time.monotonic():
            caller = await self._look_up(text)
        if caller.expires <= now().timestamp():
            raise Unauthenticated("the API key has expired", "invalid_token")
        return caller

    async def _look_up(self, text: str) -> Caller:
        revocations, started = self._revocations, time.monotonic()
        key_id = _parse_id(text)
        found = await self._store.get(ApiKey, ApiKey.id == key_id) if key_id is not None else None
        if found is None or found.owner is None or not hmac.compare_digest(found.secret_hash, _hash(text)):
            self._verified.pop(text, None)
            raise Unauthenticated("the API key is not valid", "invalid_token")
        owner = await self._store.get(User, User.id == found.owner, into=AccountState)
        if owner is None:
            raise Unauthenticated("the account of the API key has been deleted", "invalid_token")
        if owner.disabled:
            raise Unauthenticated("the account of the API key is disabled", "invalid_token")
        expires = int(found.expires_at.timestamp()) if found.expires_at is not None else _NEVER
        caller = Caller(found.owner, found.id, expires, "read" if found.scope == "read" else "write")
        if revocations == self._revocations:  # otherwise this key may have been deleted during the call
            self._verified[text] = caller, started + _CACHE_SECONDS
        return caller

    def _evict(self, key_ids: set[ObjectId]) -> None:
        self._revocations += 1
        for text in [text for text, (caller, _) in self._verified.items() if caller.session_id in key_ids]:
            del self._verified[text]
        self._on_end(key_ids)


def _generate(seed: bytes | None) -> tuple[ObjectId, str]:
    """Return the id and the text of a new key, which are the same for the same seed."""
    if seed is None:
        raw = ObjectId().binary + secrets.token_bytes(_SECRET_BYTES)
    else:
        raw = hashlib.shake_256(seed).digest(_ID_BYTES + _SECRET_BYTES)
    return ObjectId(raw[:_ID_BYTES]), API_KEY_PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _validate(data: dto.ApiKeyCreate, moment: datetime) -> str:
    """Return the name of a new key, trimmed and in NFC.

    Raises:
        Invalid: The name is invalid, or the expiry is not in the future.
    """
    name, issues = data.name, []
    try:
        name = normalize_text(name, API_KEY_NAME_LENGTH)
    except ValueError as error:
        issues.append(ValidationIssue("/name", str(error)))
    if data.expires_at is not None and not moment < data.expires_at <= LATEST:
        issues.append(
            ValidationIssue("/expires_at", "Expected a time in the future, before the last day of the year 9999")
        )
    if issues:
        raise Invalid(issues)
    return name


def _compute_tombstone_slot(key_id: ObjectId) -> int:
    """Return a slot that is unique to a tombstone, and never used by a key."""
    return -1 - int.from_bytes(key_id.binary[-7:], "big")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _parse_id(text: str) -> ObjectId | None:
    """Return the id in a key, or None if it is malformed."""
    encoded = text.removeprefix(API_KEY_PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return ObjectId(raw[:_ID_BYTES]) if len(raw) == _ID_BYTES + _SECRET_BYTES else None
