"""`Idempotency-Key`: a repeated POST takes effect once (draft-ietf-httpapi-idempotency-key-header).

The middleware inserts a record before it executes the request, under an id derived from the account and the key. The
store therefore admits only one of several concurrent attempts. The record holds a random seed, from which the ids of
all effects are derived (`derive_idempotent_id`). If the process crashes after an effect but before it has stored the
response, the retry derives the same ids and finds the effect instead of repeating it.

Anonymous requests, such as registrations, share one namespace of keys. The id of their record therefore depends on the
request as well: a request with a different body has another record. That id is keyed with SECRET_KEY, because the body
may contain a password. After a rotation, the record is found under the previous key. Otherwise only the fingerprints of
bodies with secrets and the secrets that a request creates (`derive_secret`) depend on SECRET_KEY, and the record names
the key that they are derived from.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from litestar.enums import ScopeType
from odmantic import ObjectId

from todo_service.bounds.requests import IDEMPOTENCY_SECONDS, LEASE_SECONDS
from todo_service.idempotency.derivation import (
    ID_BYTES,
    SCOPE_STATE,
    Seeds,
    create_unknown_key_problem,
    derive_id_from_seed,
)
from todo_service.idempotency.documents import IdempotentRequest
from todo_service.idempotency.fingerprints import digest_request
from todo_service.idempotency.response_budget import ResponseBudget
from todo_service.idempotency.stored_responses import compress_response, decompress_response
from todo_service.leases import TAKEOVER_SECONDS, LeaseLostError, hold_lease
from todo_service.security.sealing import KeyRing, compute_mac
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.timestamps import now
from todo_service.web.problems import ProblemError, create_parameter_problem
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import CONFIDENTIAL_BODY, IDEMPOTENT, ON_REPLAY, RERUN

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

_LEASE: Final = timedelta(seconds=LEASE_SECONDS)
_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS)
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")
_STORED_HEADERS: Final = (b"content-type", b"location", b"etag")
_ADMISSION_ATTEMPTS: Final = 5
_NO_CONTENT: Final = 204
_REVOKED: Final = 401
"""The status if the caller's session ended during the request. Part of the request may have taken effect."""


class _Identity(NamedTuple):
    """What identifies a request.

    Attributes:
        owner: The account; None for an anonymous request.
        key: The `Idempotency-Key`.
        digest: The digest of the request.
        has_secrets: Whether its body contains secrets.
    """

    owner: ObjectId | None
    key: bytes
    digest: bytes
    has_secrets: bool


class _Attempt(NamedTuple):
    """An admitted request.

    Attributes:
        record: The record of the request; it has a status if an earlier attempt succeeded.
        first: Whether this is the first attempt, so that no effect can exist yet.
    """

    record: IdempotentRequest
    first: bool

    @property
    def completed(self) -> bool:
        return self.record.status is not None


class IdempotencyMiddleware:
    """Executes a request with an `Idempotency-Key` once. It runs after authentication.

    Args:
        app: The next ASGI application.
        store: The store of the records.
        keys: The service's secret keys, the current one first.
        budget: The budget for the stored responses of each account.
    """

    def __init__(self, app: ASGIApp, store: DocumentStore, keys: Sequence[bytes], budget: ResponseBudget) -> None:
        self._app = app
        self._store = store
        self._keys = KeyRing(keys, "idempotency")
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        options = scope["route_handler"].opt if scope["type"] == ScopeType.HTTP else {}
        mode = options.get(IDEMPOTENT)
        key = _read_key(scope) if mode else None
        if key is None:
            await self._app(scope, receive, send)
            return
        request = ApiRequest(scope, receive, send)
        # Litestar caches the body for the handler
        digest = await digest_request(scope, await request.body())
        caller = scope.get("user")
        owner = caller.user_id if caller is not None else None
        attempt = await self._admit(_Identity(owner, key, digest, bool(options.get(CONFIDENTIAL_BODY))))
        if caller is not None and attempt.first:
            await self._count_record(attempt.record, caller.user_id)
        first_attempt = None if attempt.first else attempt.record.expires_at - _LIFETIME
        scope["state"][SCOPE_STATE] = Seeds(attempt.record.seed, self._derive_seed(attempt.record, key), first_attempt)
        if not attempt.completed:
            await self._execute(attempt, scope, receive, send, stored=mode != RERUN)
        elif mode == RERUN:
            await self._app(scope, receive, partial(_send_replayed, send))
        else:
            await self._replay(attempt.record, request, send)

    async def _admit(self, identity: _Identity) -> _Attempt:
        """Return an attempt that may be executed, or that was completed before.

        Raises:
            ProblemError: 409, another attempt is in progress; 422, the key was used for another request.
        """
        record_id = await self._find_record_id(identity)
        watched = False
        for _ in range(_ADMISSION_ATTEMPTS):
            record = self._build_record(record_id, identity)
            try:
                await self._store.insert(record)
            except DuplicateDocument:
                found = await self._store.get(IdempotentRequest, IdempotentRequest.id == record_id)
            else:
                return _Attempt(record, first=True)
            moment = record.renewed_at
            if found is None or await self._delete_expired(found, moment):
                continue
            fingerprint = self._compute_fingerprint(found.seed, found.secret_key_id, identity)
            if not hmac.compare_digest(found.fingerprint, fingerprint):
                raise create_parameter_problem("Idempotency-Key", "this key was used for another request")
            if found.status is not None:
                if (confirmed := await self._confirm(found)) is not None:
                    return _Attempt(confirmed, first=False)
                continue
            if found.holder is not None:
                if watched or abs(moment - found.renewed_at) < _LEASE:
                    raise _create_conflict_problem()
                watched = True
                await asyncio.sleep(TAKEOVER_SECONDS)
            if (taken := await self._take_over(found)) is not None:
                return _Attempt(taken, first=False)
        raise _create_conflict_problem()

    async def _count_record(self, record: IdempotentRequest, owner: ObjectId) -> None:
        """Count a new record against the budget of its account, and delete the record if the budget is used up.

        Raises:
            ProblemError: 429, the budget is used up.
        """
        try:
            self._budget.add_record(owner)
        except ProblemError:
            await self._store.delete(IdempotentRequest, *_build_lease_condition(record))
            raise

    async def _find_record_id(self, identity: _Identity) -> ObjectId:
        owner, key, digest, _ = identity
        if owner is not None:
            return ObjectId(hashlib.sha256(b"todo-service idempotency" + owner.binary + key).digest()[:ID_BYTES])
        ids = [ObjectId(compute_mac(secret_key, digest + key)[:ID_BYTES]) for secret_key in self._keys]
        for previous_id in ids[1:]:
            if await self._store.get(IdempotentRequest, IdempotentRequest.id == previous_id) is not None:
                return previous_id
        return ids[0]

    def _build_record(self, record_id: ObjectId, identity: _Identity) -> IdempotentRequest:
        moment = now()
        seed = secrets.token_bytes(32)
        return IdempotentRequest(
            id=record_id,
            owner=identity.owner,
            fingerprint=self._compute_fingerprint(seed, self._keys.current_id, identity),
            seed=seed,
            secret_key_id=self._keys.current_id,
            holder=ObjectId(),
            renewed_at=moment,
            expires_at=moment + _LIFETIME,
        )

    def _compute_fingerprint(self, seed: bytes, secret_key_id: bytes, identity: _Identity) -> bytes:
        if identity.owner is None:
            # the body may contain a password, so the store holds no digest of it; the id already depends on the body
            return b""
        if not identity.has_secrets:
            return compute_mac(seed, identity.digest)
        secret_key = self._keys.by_id.get(secret_key_id)
        if secret_key is None:
            raise create_unknown_key_problem()
        return compute_mac(secret_key, seed + identity.digest)

    async def _delete_expired(self, found: IdempotentRequest, moment: datetime) -> bool:
        """Delete a record if it has expired, and return whether it had."""
        if found.expires_at > moment:
            return False
        await self._store.delete(
            IdempotentRequest, IdempotentRequest.id == found.id, IdempotentRequest.seed == found.seed
        )
        return True

    async def _confirm(self, found: IdempotentRequest) -> IdempotentRequest | None:
        """Return a completed record once it is durable.

        The write is needed because an isolated MongoDB member can return data that is rolled back later.

        Returns:
            The record, or None if it has changed.
        """
        return await self._store.update(
            IdempotentRequest,
            IdempotentRequest.id == found.id,
            IdempotentRequest.seed == found.seed,
            IdempotentRequest.status == found.status,
            changes={},
        )

    async def _take_over(self, found: IdempotentRequest) -> IdempotentRequest | None:
        """Take a lease that is free, or that its holder has failed to renew.

        Returns:
            The record, or None if it has changed.
        """
        return await self._store.update(
            IdempotentRequest,
            IdempotentRequest.id == found.id,
            IdempotentRequest.seed == found.seed,
            IdempotentRequest.holder == found.holder,
            IdempotentRequest.renewed_at == found.renewed_at,
            IdempotentRequest.status == None,  # noqa: E711  # an expression
            changes={"holder": ObjectId(), "renewed_at": now()},
        )

    async def _execute(self, attempt: _Attempt, scope: Scope, receive: Receive, send: Send, *, stored: bool) -> None:
        response = _BufferedResponse()
        record = attempt.record
        try:
            async with hold_lease(partial(self._update_held, record, {}, renew=True)):
                await self._app(scope, receive, response.buffer)
        except LeaseLostError:
            raise _create_conflict_problem() from None
        except Exception:
            await self._update_held(record, {"holder": None})
            raise
        # a cancelled request keeps its lease, because a write in flight may still succeed
        await self._finish(attempt, response, stored=stored)
        for message in response.messages:
            await send(message)

    async def _finish(self, attempt: _Attempt, response: _BufferedResponse, *, stored: bool) -> None:
        record = attempt.record
        if 400 <= response.status < 500 and response.status != _REVOKED and attempt.first:
            # there was no effect, so the key may be used again, even for another request
            await self._store.delete(IdempotentRequest, *_build_lease_condition(record))
            if record.owner is not None:
                self._budget.remove_record(record.owner)
            return
        changes: dict[str, Any] = {"holder": None}
        if 0 < response.status < 400:
            changes["status"] = response.status
            if stored:
                changes["headers"] = [
                    f"{name.decode()}: {value.decode('latin-1')}"
                    for name, value in response.headers
                    if name in _STORED_HEADERS
                ]
                changes["body"] = await compress_response(response.body) or b""
                if record.owner is not None:
                    self._budget.add(record.owner, len(changes["body"]))
        await self._update_held(record, changes)

    async def _update_held(self, record: IdempotentRequest, changes: Mapping[str, Any], *, renew: bool = False) -> bool:
        """Update a record if this attempt still holds its lease, and return whether it does."""
        changes = {**changes, "renewed_at": now()} if renew else changes
        updated = await self._store.update(IdempotentRequest, *_build_lease_condition(record), changes=changes)
        return updated is not None

    def _derive_seed(self, record: IdempotentRequest, key: bytes) -> bytes | None:
        secret_key = self._keys.by_id.get(record.secret_key_id)
        return compute_mac(secret_key, record.seed + key) if secret_key is not None else None

    async def _replay(self, record: IdempotentRequest, request: ApiRequest, send: Send) -> None:
        if not record.body:
            raise ProblemError("gone", "this request succeeded, but its response was too large to store")
        body = decompress_response(record.body)
        if (check := request.scope["route_handler"].opt.get(ON_REPLAY)) is not None:
            body = await check(request, self._store, partial(derive_id_from_seed, record.seed), body)
        headers = [
            (name.encode(), value.encode("latin-1"))
            for name, _, value in (header.partition(": ") for header in record.headers)
        ]
        if record.status != _NO_CONTENT:
            headers.append((b"content-length", str(len(body)).encode()))
        start: Any = {"type": "http.response.start", "status": record.status, "headers": headers}
        await _send_replayed(send, start)
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _BufferedResponse:
    """A response buffered until its record is stored."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def buffer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.lower(), value) for name, value in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
        self.messages.append(message)


def _build_lease_condition(record: IdempotentRequest) -> list[Any]:
    """Return the condition that the attempt which read the record still holds its lease."""
    return [
        IdempotentRequest.id == record.id,
        IdempotentRequest.seed == record.seed,
        IdempotentRequest.holder == record.holder,
        IdempotentRequest.status == None,  # noqa: E711  # an expression
    ]


def _create_conflict_problem() -> ProblemError:
    return ProblemError("in-progress", "another attempt of this request is in progress", headers={"Retry-After": "1"})


async def _send_replayed(send: Send, message: Message) -> None:
    """Send a message of a replayed response, with `Idempotency-Replayed` if it is a success."""
    if message["type"] == "http.response.start" and message["status"] < 400:
        message["headers"] = [*message.get("headers", ()), (b"idempotency-replayed", b"true")]
    await send(message)


def _read_key(scope: Scope) -> bytes | None:
    values: list[bytes] = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise create_parameter_problem("Idempotency-Key", "Expected 1 to 255 visible ASCII characters, once")
    return values[0]
