"""`Idempotency-Key`: a POST that is sent again has one effect (draft-ietf-httpapi-idempotency-key-header).

A record is inserted before the request is carried out, under an id made from the account and the key, so that the store
admits one of several concurrent twins. The record holds a random seed, from which the ids of all effects are derived
(`identity_of`). When a crash comes between an effect and the record of its answer, the repeat derives the same ids and
finds the first effect instead of making a second one.

A request without an account, such as a registration, shares its key with strangers. The id of its record is therefore
made from the request as well: another body is another record. That id is keyed with SECRET_KEY, because the body may
hold a password; after a rotation the record is found under the previous key. Nothing else depends on SECRET_KEY but
the secrets that a request creates (`derive_secret`), and the record names the key that they are derived with.
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
from odmantic import Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.bounds.requests import IDEMPOTENCY_SECONDS, LEASE_SECONDS
from todo_service.fields import redacted_repr
from todo_service.idempotency.answer_budget import AnswerBudget
from todo_service.idempotency.fingerprints import digest_request
from todo_service.idempotency.leases import TAKEOVER_SECONDS, LeaseLostError, hold_lease
from todo_service.idempotency.stored_answers import compress_answer, decompress_answer
from todo_service.store.base import DocumentStore, DuplicateDocument
from todo_service.timestamps import now
from todo_service.web.problems import ProblemError, create_parameter_problem
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import IDEMPOTENT, ON_REPLAY, RERUN

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

_LEASE: Final = timedelta(seconds=LEASE_SECONDS)
_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS)
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")
_KEPT_HEADERS: Final = (b"content-type", b"location", b"etag")
_ID_BYTES: Final = 12
_ADMISSION_ATTEMPTS: Final = 5
_BROKEN_OFF: Final = 401
"""The status where the caller's session ended while the request was carried out: a part of it may have been done."""


class IdempotentRequest(Model):
    """The record of a request with a key. Its id is made from the account and the key.

    `status` is None until there is an answer, and `body` is empty where the answer was too large to be kept. `holder`
    is the attempt that is carrying the request out, None when nobody is; its lease began or was renewed at
    `renewed_at`. `secret_key_id` names the secret key that secrets are derived with.
    """

    owner: ObjectId | None
    fingerprint: bytes
    seed: bytes
    secret_key_id: bytes
    holder: ObjectId | None
    renewed_at: datetime
    status: int | None = None
    headers: list[str] = []
    body: bytes = b""
    expires_at: datetime

    model_config = {
        "collection": "idempotent_requests",
        "indexes": lambda: [
            Index(IdempotentRequest.owner, IdempotentRequest.id, name="owner"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }

    def __repr__(self) -> str:
        return redacted_repr(self, "seed", "headers", "body")

    __str__ = __repr__


class _Attempt(NamedTuple):
    """An admitted request.

    Attributes:
        record: Its record; where it has a status, the request has been answered before.
        first: Whether no other attempt was made before, so that nothing can have been done yet.
    """

    record: IdempotentRequest
    first: bool

    @property
    def answered(self) -> bool:
        return self.record.status is not None


class Idempotency:
    """Middleware that carries a request with a key out once; it comes after authentication.

    Args:
        app: The next application.
        store: The store of the records.
        keys: The service's secret keys, the present one first.
        answers: How much may be stored for each account.
    """

    def __init__(self, app: ASGIApp, store: DocumentStore, keys: Sequence[bytes], answers: AnswerBudget) -> None:
        self._app = app
        self._store = store
        derived = [hmac.digest(key, b"todo-service idempotency", "sha256") for key in keys]
        self._secret_keys = {hashlib.sha256(key).digest()[:8]: key for key in derived}
        self._present_key_id = next(iter(self._secret_keys))
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mode = scope["route_handler"].opt.get(IDEMPOTENT) if scope["type"] == ScopeType.HTTP else None
        key = _read_key(scope) if mode else None
        if key is None:
            await self._app(scope, receive, send)
            return
        request = ApiRequest(scope, receive, send)
        # Litestar keeps the body for the handler
        digest = await digest_request(scope, await request.body())
        caller = scope.get("user")
        attempt = await self._admit(caller.user_id if caller is not None else None, key, digest)
        if caller is not None and attempt.first:
            await self._require_room(attempt.record, caller.user_id)
        scope["state"]["idempotency"] = _Seeds(attempt.record.seed, self._derive_seed(attempt.record, key))
        if not attempt.answered:
            await self._carry_out(attempt, scope, receive, send, stored=mode != RERUN)
        elif mode == RERUN:
            await self._app(scope, receive, partial(_send_replayed, send))
        else:
            await self._replay(attempt.record, request, send)

    async def _admit(self, owner: ObjectId | None, key: bytes, digest: bytes) -> _Attempt:
        """Return an attempt that may be carried out, or that has been answered.

        Raises:
            ProblemError: 409, another attempt is being carried out; 422, the key was used for another request.
        """
        record_id = await self._find_record_id(owner, key, digest)
        watched = False
        for _ in range(_ADMISSION_ATTEMPTS):
            record = self._new_record(record_id, owner, digest)
            try:
                await self._store.insert(record)
            except DuplicateDocument:
                found = await self._store.get(IdempotentRequest, IdempotentRequest.id == record_id)
            else:
                return _Attempt(record, first=True)
            moment = record.renewed_at
            if found is None or await self._delete_expired(found, moment):
                continue
            if not hmac.compare_digest(found.fingerprint, _fingerprint(found.seed, owner, digest)):
                raise create_parameter_problem("Idempotency-Key", "this key was used for another request")
            if found.status is not None:
                if (confirmed := await self._confirm(found)) is not None:
                    return _Attempt(confirmed, first=False)
                continue
            if found.holder is not None:
                if watched or abs(moment - found.renewed_at) < _LEASE:
                    raise ProblemError("in-progress", "this request is being carried out", headers={"Retry-After": "1"})
                watched = True
                await asyncio.sleep(TAKEOVER_SECONDS)
            if (taken := await self._take_over(found)) is not None:
                return _Attempt(taken, first=False)
        raise ProblemError("in-progress", "this request is being carried out", headers={"Retry-After": "1"})

    async def _require_room(self, record: IdempotentRequest, owner: ObjectId) -> None:
        """Free the key of a request that has just been admitted, and raise, if its answer may not be stored."""
        try:
            self._answers.require_room(owner)
        except ProblemError:
            await self._store.delete(IdempotentRequest, *_held_by(record))
            raise

    async def _find_record_id(self, owner: ObjectId | None, key: bytes, digest: bytes) -> ObjectId:
        if owner is not None:
            return ObjectId(hashlib.sha256(b"todo-service idempotency" + owner.binary + key).digest()[:_ID_BYTES])
        ids = [
            ObjectId(hmac.digest(secret_key, digest + key, "sha256")[:_ID_BYTES])
            for secret_key in self._secret_keys.values()
        ]
        for previous_id in ids[1:]:
            if await self._store.get(IdempotentRequest, IdempotentRequest.id == previous_id) is not None:
                return previous_id
        return ids[0]

    def _new_record(self, record_id: ObjectId, owner: ObjectId | None, digest: bytes) -> IdempotentRequest:
        moment = now()
        seed = secrets.token_bytes(32)
        return IdempotentRequest(
            id=record_id,
            owner=owner,
            fingerprint=_fingerprint(seed, owner, digest),
            seed=seed,
            secret_key_id=self._present_key_id,
            holder=ObjectId(),
            renewed_at=moment,
            expires_at=moment + _LIFETIME,
        )

    async def _delete_expired(self, found: IdempotentRequest, moment: datetime) -> bool:
        """Delete a record that has expired, and return whether it had."""
        if found.expires_at > moment:
            return False
        await self._store.delete(
            IdempotentRequest, IdempotentRequest.id == found.id, IdempotentRequest.seed == found.seed
        )
        return True

    async def _confirm(self, found: IdempotentRequest) -> IdempotentRequest | None:
        """Return an answered record once it is durable: a cut-off member of MongoDB may show what is rolled back."""
        return await self._store.update(
            IdempotentRequest,
            IdempotentRequest.id == found.id,
            IdempotentRequest.seed == found.seed,
            IdempotentRequest.status == found.status,
            changes={},
        )

    async def _take_over(self, found: IdempotentRequest) -> IdempotentRequest | None:
        """Take the lease of a record that nobody holds, or whose holder has not renewed it; None if it has changed."""
        return await self._store.update(
            IdempotentRequest,
            IdempotentRequest.id == found.id,
            IdempotentRequest.seed == found.seed,
            IdempotentRequest.holder == found.holder,
            IdempotentRequest.renewed_at == found.renewed_at,
            IdempotentRequest.status == None,  # noqa: E711  # an expression
            changes={"holder": ObjectId(), "renewed_at": now()},
        )

    async def _carry_out(self, attempt: _Attempt, scope: Scope, receive: Receive, send: Send, *, stored: bool) -> None:
        response = _BufferedResponse()
        record = attempt.record
        try:
            async with hold_lease(partial(self._update_held, record, {}, renew=True)):
                await self._app(scope, receive, response.buffer)
        except LeaseLostError:
            raise ProblemError(
                "in-progress", "another attempt is carrying out this request", headers={"Retry-After": "1"}
            ) from None
        except Exception:
            await self._update_held(record, {"holder": None})
            raise
        # a cancelled request keeps its lease: a write that was under way may still be carried out
        await self._finish(attempt, response, stored=stored)
        for message in response.messages:
            await send(message)

    async def _finish(self, attempt: _Attempt, response: _BufferedResponse, *, stored: bool) -> None:
        record = attempt.record
        if 400 <= response.status < 500 and response.status != _BROKEN_OFF and attempt.first:
            # nothing was done, so that the key is free, also for another request
            await self._store.delete(IdempotentRequest, *_held_by(record))
            return
        changes: dict[str, Any] = {"holder": None}
        if 0 < response.status < 400:
            changes["status"] = response.status
            if stored:
                changes["headers"] = [
                    f"{name.decode()}: {value.decode('latin-1')}"
                    for name, value in response.headers
                    if name in _KEPT_HEADERS
                ]
                changes["body"] = await compress_answer(response.body) or b""
                if record.owner is not None:
                    self._answers.add(record.owner, len(changes["body"]))
        await self._update_held(record, changes)

    async def _update_held(self, record: IdempotentRequest, changes: Mapping[str, Any], *, renew: bool = False) -> bool:
        """Change a record whose lease this attempt holds, and return whether it holds it."""
        changes = {**changes, "renewed_at": now()} if renew else changes
        updated = await self._store.update(IdempotentRequest, *_held_by(record), changes=changes)
        return updated is not None

    def _derive_seed(self, record: IdempotentRequest, key: bytes) -> bytes | None:
        secret_key = self._secret_keys.get(record.secret_key_id)
        return hmac.digest(secret_key, record.seed + key, "sha256") if secret_key is not None else None

    async def _replay(self, record: IdempotentRequest, request: ApiRequest, send: Send) -> None:
        if not record.body:
            raise ProblemError("gone", "this request was carried out; its answer was too large to be kept")
        body = decompress_answer(record.body)
        if (check := request.scope["route_handler"].opt.get(ON_REPLAY)) is not None:
            body = await check(request, self._store, partial(_derive_id, record.seed), body)
        headers = [
            (name.encode(), value.encode("latin-1"))
            for name, _, value in (header.partition(": ") for header in record.headers)
        ]
        headers.append((b"content-length", str(len(body)).encode()))
        start: Any = {"type": "http.response.start", "status": record.status, "headers": headers}
        await _send_replayed(send, start)
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _BufferedResponse:
    """A response that is held back until its record has been stored."""

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


class _Seeds(NamedTuple):
    """The seed of a request's ids, and that of its secrets, None where the secret key is not known here."""

    ids: bytes
    secrets: bytes | None


def _held_by(record: IdempotentRequest) -> list[Any]:
    return [
        IdempotentRequest.id == record.id,
        IdempotentRequest.seed == record.seed,
        IdempotentRequest.holder == record.holder,
        IdempotentRequest.status == None,  # noqa: E711  # an expression
    ]


async def _send_replayed(send: Send, message: Message) -> None:
    """Send a message of a replayed response, marked as such where it succeeds."""
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


def _fingerprint(seed: bytes, owner: ObjectId | None, digest: bytes) -> bytes:
    # an anonymous body may hold a password, so that nothing may tell it to who reads the store; the id says it all
    return hmac.digest(seed, digest, "sha256") if owner is not None else b""


async def forget(store: DocumentStore, owner: ObjectId) -> None:
    """Forget every request of an account that has been deleted."""
    await store.delete(IdempotentRequest, IdempotentRequest.owner == owner)


def derive_secret(request: ApiRequest) -> bytes | None:
    """Return 32 secret bytes that a repeat of the request derives too; None without an `Idempotency-Key`.

    Raises:
        ProblemError: 503, the first attempt derived them with a secret key that this process does not have.
    """
    seeds: _Seeds | None = request.scope["state"].get("idempotency")
    if seeds is None:
        return None
    if seeds.secrets is None:
        raise ProblemError(
            "unavailable",
            "this request was begun under a secret key that is not known here",
            headers={"Retry-After": "1"},
        )
    return seeds.secrets


def identity_of(request: ApiRequest, index: int = 0) -> ObjectId | None:
    """Return the id of one effect of the request, which a repeat derives too; None without an `Idempotency-Key`.

    Args:
        request: The request.
        index: Which of its effects.
    """
    seeds: _Seeds | None = request.scope["state"].get("idempotency")
    return _derive_id(seeds.ids, index) if seeds is not None else None


def _derive_id(seed: bytes, index: int) -> ObjectId:
    return ObjectId(hashlib.sha256(seed + index.to_bytes(4, "big")).digest()[:_ID_BYTES])
