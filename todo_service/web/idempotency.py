"""`Idempotency-Key`: a POST that is sent again has one effect (draft-ietf-httpapi-idempotency-key-header).

What is stored of a request is written before it is carried out, under an id that is made from the account and the key,
so of concurrent twins the store lets one in. With it stands a seed, from which every id is made that the request gives
(`identity_of`). So when a crash comes between the effect and the record of its answer, the repeat makes the same ids,
and finds the first effect instead of making a second one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from litestar.enums import ScopeType
from odmantic import Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.fields import text_without
from todo_service.store.base import DocumentStore, DuplicateDocument
from todo_service.timestamps import now
from todo_service.web.deadline import UNHURRIED
from todo_service.web.problems import ProblemError, invalid_parameter
from todo_service.web.requests import ApiRequest

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

IDEMPOTENT: Final = "idempotent"
"""The handler option of what takes an `Idempotency-Key`: True, or `RERUN`."""
RERUN: Final = "rerun"
"""The answer holds a secret and is not stored: a repeat is carried out again, and finds the first effect."""
REMEMBERED: Final = timedelta(hours=24)
LEASE: Final = timedelta(seconds=8)
LONG_LEASE: Final = timedelta(seconds=60)
"""How long a request, and an unhurried one, may take before it is taken for one that a crash broke off."""
_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")
_KEPT: Final = (b"content-type", b"location", b"etag")
_ID_BYTES: Final = 12


class IdempotentRequest(Model):
    """What is remembered of a request with a key. Its id is made from the account and the key.

    `started_at` is None when nobody is carrying it out; `status` is None as long as it has no answer.
    """

    owner: ObjectId | None
    fingerprint: bytes
    seed: bytes
    started_at: datetime | None
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
        return text_without(self, "seed", "headers", "body")

    __str__ = __repr__


class Idempotency:
    """Lets a request with a key be carried out once; comes after whoever asks is known.

    Args:
        app: What comes next.
        store: Where requests are remembered.
        keys: The service's secret keys, the present one first.
    """

    def __init__(self, app: ASGIApp, store: DocumentStore, keys: Sequence[bytes]) -> None:
        self._app = app
        self._store = store
        self._key = hmac.digest(keys[0], b"todo-service idempotency", "sha256")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mode = scope["route_handler"].opt.get(IDEMPOTENT) if scope["type"] == ScopeType.HTTP else None
        key = _key_of(scope) if mode else None
        if key is None:
            await self._app(scope, receive, send)
            return
        request = ApiRequest(scope, receive, send)
        # Litestar keeps the body for the handler
        body = await request.body()
        caller = scope.get("user")
        owner = caller.user_id if caller is not None else None
        lease = LONG_LEASE if scope["route_handler"].opt.get(UNHURRIED) else LEASE
        record, answered = await self._admit(owner, key, self._fingerprint(scope, body), lease)
        if answered and mode != RERUN:
            await _replay(record, send)
            return
        scope["state"]["seed"] = hmac.digest(self._key, record.seed + key, "sha256")
        response = _Response(send, replayed=answered)
        try:
            await self._app(scope, receive, response)
        except Exception:
            await self._finish(record, response, stored=mode != RERUN)
            raise
        # an answer of the service's own failure is no answer: the key is free for another try at once; where the
        # request was broken off it may still be carried out, so that the key is free when its lease has ended
        await self._finish(record, response, stored=mode != RERUN)
        await response.release()

    async def _admit(
        self, owner: ObjectId | None, key: bytes, fingerprint: bytes, lease: timedelta
    ) -> tuple[IdempotentRequest, bool]:
        """Return the request's record, and whether it has been answered; else it is ours to carry out.

        Raises:
            ProblemError: 409, it is being carried out; 422, the key was used for another request.
        """
        account = owner.binary if owner is not None else b""
        digest = hmac.digest(self._key, len(account).to_bytes(1, "big") + account + key, "sha256")
        record_id = ObjectId(digest[:_ID_BYTES])
        while True:
            moment = now()
            record = IdempotentRequest(
                id=record_id,
                owner=owner,
                fingerprint=fingerprint,
                seed=secrets.token_bytes(32),
                started_at=moment,
                expires_at=moment + REMEMBERED,
            )
            try:
                await self._store.insert(record)
            except DuplicateDocument:
                found = await self._store.get(IdempotentRequest, IdempotentRequest.id == record_id)
            else:
                return record, False
            if found is None:
                continue
            if found.expires_at <= moment:
                await self._store.delete(
                    IdempotentRequest, IdempotentRequest.id == record_id, IdempotentRequest.seed == found.seed
                )
                continue
            if not hmac.compare_digest(found.fingerprint, fingerprint):
                raise invalid_parameter("Idempotency-Key", "this key was used for another request")
            if found.status is not None:
                # a member of MongoDB that was cut off may show what will be taken back; a write tells
                kept = await self._store.update(
                    IdempotentRequest,
                    IdempotentRequest.id == record_id,
                    IdempotentRequest.seed == found.seed,
                    IdempotentRequest.status == found.status,
                    changes={},
                )
                if kept is None:
                    continue
                return kept, True
            # whichever way the clock was set meanwhile
            if found.started_at is not None and abs(moment - found.started_at) < lease:
                raise ProblemError("in-progress", "this request is being carried out", headers={"Retry-After": "1"})
            taken = await self._store.update(
                IdempotentRequest,
                IdempotentRequest.id == record_id,
                IdempotentRequest.seed == found.seed,
                IdempotentRequest.started_at == found.started_at,
                IdempotentRequest.status == None,  # noqa: E711  # an expression
                changes={"started_at": moment},
            )
            if taken is not None:
                return taken, False

    async def _finish(self, record: IdempotentRequest, response: _Response, *, stored: bool) -> None:
        changes: dict[str, Any] = {"started_at": None}
        # after a 429 the same request may be sent again, too
        if 0 < response.status < 500 and response.status != 429:
            changes["status"] = response.status
            if stored:
                changes["headers"] = [
                    f"{name.decode()}: {value.decode('latin-1')}" for name, value in response.headers if name in _KEPT
                ]
                changes["body"] = zlib.compress(response.body, 1)
        await self._store.update(
            IdempotentRequest,
            IdempotentRequest.id == record.id,
            IdempotentRequest.seed == record.seed,
            changes=changes,
        )

    def _fingerprint(self, scope: Scope, body: bytes) -> bytes:
        # keyed, since a body may hold a password
        parts = (scope["path"].encode(), scope["query_string"], body)
        return hmac.digest(self._key, b"".join(len(part).to_bytes(4, "big") + part for part in parts), "sha256")


class _Response:
    """The answer, held back until it is remembered."""

    def __init__(self, send: Send, *, replayed: bool) -> None:
        self._send = send
        self._replayed = replayed
        self._messages: list[Message] = []
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            if self._replayed:
                message["headers"] = [*message.get("headers", ()), (b"idempotency-replayed", b"true")]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
        self._messages.append(message)

    async def release(self) -> None:
        for message in self._messages:
            await self._send(message)


async def _replay(record: IdempotentRequest, send: Send) -> None:
    body = zlib.decompress(record.body)
    headers = [
        (name.encode(), value.encode("latin-1"))
        for name, _, value in (header.partition(": ") for header in record.headers)
    ]
    headers += [(b"idempotency-replayed", b"true"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": record.status or 500, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _key_of(scope: Scope) -> bytes | None:
    values: list[bytes] = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise invalid_parameter("Idempotency-Key", "Expected 1 to 255 visible ASCII characters, once")
    return values[0]


async def forget(store: DocumentStore, owner: ObjectId) -> None:
    """Forget every request of an account that has been deleted."""
    await store.delete(IdempotentRequest, IdempotentRequest.owner == owner)


def seed_of(request: ApiRequest) -> bytes | None:
    """Return the request's seed, 32 bytes that a repeat has too; None without an `Idempotency-Key`."""
    seed: bytes | None = request.scope["state"].get("seed")
    return seed


def identity_of(request: ApiRequest, index: int = 0) -> ObjectId | None:
    """Return the id of one effect of the request, which a repeat makes again; None without an `Idempotency-Key`.

    Args:
        request: The request.
        index: Which of its effects.
    """
    seed = seed_of(request)
    if seed is None:
        return None
    return ObjectId(hashlib.sha256(seed + index.to_bytes(4, "big")).digest()[:_ID_BYTES])
