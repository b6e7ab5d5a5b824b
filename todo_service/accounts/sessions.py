"""Sessions and the rotation of their refresh tokens (RFC 6749, RFC 7009, RFC 9700 section 4.14).

A session has one current refresh token. Refreshing replaces it with its successor, in one atomic update on the
condition that the token is still current. Presenting a used token ends the session, because the token may have been
stolen. Within `GRACE_PERIOD` of the rotation it returns the same successor instead, for clients that lost the response.
Using the successor ends the grace period, because that rotation replaces the previous token.

A session belongs to the `password_generation` of the account under which it started. Setting a new password increments
that number, so a single atomic write ends every session except the one it names, even sessions that are being inserted
concurrently. Deleting them afterwards is only cleanup.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from odmantic import ObjectId

from todo_service.accounts import dto
from todo_service.accounts.documents import Session, User
from todo_service.accounts.liveness import AccountState
from todo_service.accounts.tokens import AccessTokens, RefreshToken, RefreshTokens, compute_session_expiry
from todo_service.api_types import redacted_repr
from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.accounts import MAX_SESSIONS
from todo_service.errors import InvalidGrant, NotFound, Unauthenticated
from todo_service.security.caller import Caller
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.errors import StoreUnavailable
from todo_service.store.paging import CreationPosition, read_newest_first, sort_newest_first
from todo_service.timestamps import now

GRACE_PERIOD: Final = timedelta(seconds=60)
"""How long a client that lost the response to a refresh may repeat it."""
_CACHE_SECONDS: Final = 5.0
_CACHE_SIZE: Final = 20_000
_SALT_BYTES: Final = 32
_USER_AGENT_LENGTH: Final = 256
logger = structlog.get_logger(__name__)


class Client(NamedTuple):
    """The client of a session.

    Attributes:
        address: The IP address.
        user_agent: The `User-Agent` header; empty if there is none.
    """

    address: str
    user_agent: str


class _SessionId(msgspec.Struct, frozen=True):
    id: str


class _Alive(NamedTuple):
    """The cached result of a check that a session is alive.

    Attributes:
        owner: The account of the session.
        until: When the result expires, by the monotonic clock.
    """

    owner: ObjectId
    until: float


class Tokens(NamedTuple):
    """The tokens of a session, as issued to a client.

    Attributes:
        access: The access token.
        refresh: The refresh token.
        expires_in: The lifetime of the access token, in seconds.
    """

    access: str
    refresh: str
    expires_in: int

    def __repr__(self) -> str:
        return redacted_repr(self, "access", "refresh")


class Sessions:
    """The sessions of all accounts.

    The result of a check that a session is alive is cached for 5 s, which saves a store call for each request. This
    process notices the end of a session immediately, other replicas within that time.

    Args:
        store: The document store.
        access_tokens: Issues and verifies access tokens.
        refresh_tokens: Issues and verifies refresh tokens.
        refresh_days: The lifetime of a session that is not refreshed, in days.
        on_change: Called with `created`, `refreshed` or `ended`, and the number of sessions.
        on_end: Called with the ids of sessions that have ended in this process.
    """

    def __init__(
        self,
        store: DocumentStore,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        refresh_days: int,
        on_change: Callable[[str, int], None] = lambda _, __: None,
        on_end: Callable[[set[ObjectId]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._on_change = on_change
        self._on_end = on_end
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._refresh_days = refresh_days
        self._alive: BoundedCache[ObjectId, _Alive] = BoundedCache(_CACHE_SIZE)
        self._verified: BoundedCache[str, Caller] = BoundedCache(_CACHE_SIZE)
        self._ended: BoundedCache[ObjectId, float] = BoundedCache(_CACHE_SIZE)
        self._revocations = 0

    async def start(self, user_id: ObjectId, password_generation: int, client: Client) -> Tokens:
        """Start a session. The account's oldest sessions end if it has more than `MAX_SESSIONS`.

        Args:
            user_id: The account, whose password has been verified.
            password_generation: The generation of the verified password.
            client: The client that signs in.
        """
        moment = now()
        session_id = ObjectId()
        token = self._refresh_tokens.issue(session_id)
        await self._store.insert(
            Session(
                id=session_id,
                owner=user_id,
                password_generation=password_generation,
                refresh_hash=token.hash,
                address=client.address,
                user_agent=client.user_agent[:_USER_AGENT_LENGTH],
                created_at=moment,
                last_used_at=moment,
                expires_at=compute_session_expiry(moment, self._refresh_days),
            )
        )
        self._on_change("created", 1)
        await self._end_oldest(user_id)
        return self._issue_tokens(user_id, session_id, token, moment)

    async def _end_oldest(self, user_id: ObjectId) -> None:
        """End the oldest sessions of an account that has more than `MAX_SESSIONS`."""
        mine = Session.owner == user_id
        if await self._store.count(Session, mine, limit=MAX_SESSIONS + 1) <= MAX_SESSIONS:
            return
        sort = sort_newest_first(Session)
        found = await self._store.find(Session, mine, sort=sort, limit=2 * MAX_SESSIONS, into=_SessionId)
        for session in found[MAX_SESSIONS:]:
            await self._end(ObjectId(session.id))

    async def refresh(self, text: str, client: Client) -> Tokens:
        """Exchange a refresh token for a new access token and the next refresh token.

        Args:
            text: The refresh token.
            client: The client that sends it.

        Raises:
            InvalidGrant: The token is invalid, its session has ended, or it was used before, which ends its session.
        """
        token = self._refresh_tokens.parse(text)
        if token is None:
            raise InvalidGrant("the refresh token is not valid")
        moment = now()
        salt = secrets.token_bytes(_SALT_BYTES)
        successor = self._refresh_tokens.derive_successors(token, salt)[0]
        session = await self._store.update(
            Session,
            Session.id == token.session_id,
            Session.refresh_hash == token.hash,
            Session.expires_at > moment,
            changes={
                "refresh_hash": successor.hash,
                "previous_hash": token.hash,
                "successor_salt": salt,
                "rotated_at": moment,
                "last_used_at": moment,
                "expires_at": compute_session_expiry(moment, self._refresh_days),
                "address": client.address,
                "user_agent": client.user_agent[:_USER_AGENT_LENGTH],
            },
        )
        rotated = session is not None
        if session is None:
            session, successor = await self._replay_rotation(token, moment)
        if not await self._is_alive(session):
            await self._end(session.id)
            raise InvalidGrant("the refresh token is not valid")
        if rotated:
            self._on_change("refreshed", 1)
        return self._issue_tokens(session.owner, session.id, successor, moment)

    async def _replay_rotation(self, token: RefreshToken, moment: datetime) -> tuple[Session, RefreshToken]:
        """Return the session and the successor of a token rotated within the grace period.

        Raises:
            InvalidGrant: The token was used before, which ends its session, or the session has ended.
        """
        # a write, because an isolated MongoDB member can return a rotation that is rolled back later
        session = await self._store.update(Session, Session.id == token.session_id, changes={})
        if session is not None and session.expires_at > moment:
            if (
                session.previous_hash == token.hash
                and session.successor_salt is not None
                and session.rotated_at is not None
                and moment - session.rotated_at <= GRACE_PERIOD
            ):
                for successor in self._refresh_tokens.derive_successors(token, session.successor_salt):
                    if hmac.compare_digest(successor.hash, session.refresh_hash):
                        return session, successor
            await self._end(session.id)
        raise InvalidGrant("the refresh token is not valid")

    async def revoke(self, text: str) -> None:
        """End the session of a refresh token or an access token. Any other text is ignored (RFC 7009)."""
        token = self._refresh_tokens.parse(text)
        if token is not None:
            await self._end(token.session_id)
            return
        try:
            caller = self._access_tokens.verify(text)
        except Unauthenticated:
            return
        await self._end(caller.session_id)

    async def read_page(
        self, caller: Caller, limit: int, after: CreationPosition | None
    ) -> tuple[list[dto.Session], CreationPosition | None]:
        """Return a page of the caller's sessions, newest first, and the position of the next page, or None.

        Args:
            caller: The caller.
            limit: The size of the page.
            after: The position of the page; None for the first.
        """
        page, position = await read_newest_first(
            self._store,
            Session,
            Session.owner == caller.user_id,
            Session.expires_at > now(),
            *await self._build_alive_conditions(caller.user_id),
            after=after,
            limit=limit,
            into=dto.Session,
        )
        own = str(caller.session_id)
        return [msgspec.structs.replace(session, current=session.id == own) for session in page], position

    async def end(self, user_id: ObjectId, session_id: str) -> None:
        """End one session of an account.

        Raises:
            NotFound: The account has no session with this id.
        """
        if not (len(session_id) == 24 and ObjectId.is_valid(session_id)):
            raise NotFound("there is no such session")
        ended = await self._store.delete(Session, Session.id == ObjectId(session_id), Session.owner == user_id)
        if not ended:
            raise NotFound("there is no such session")
        self._on_change("ended", ended)
        self._evict({ObjectId(session_id)})
        self._on_end({ObjectId(session_id)})

    async def end_all(self, user_id: ObjectId) -> None:
        """End all sessions of an account."""
        self._on_change("ended", await self._store.delete(Session, Session.owner == user_id))
        self._on_end(self.evict_all(user_id))

    async def delete_ended(self, user: User) -> None:
        """Delete the sessions that new passwords have ended. If the store is unavailable, they expire later.

        Args:
            user: The account. Sessions that start under its password are kept, even if they start during the call.
        """
        where: list[Any] = [Session.owner == user.id, Session.password_generation < user.password_generation]
        if user.surviving_session is not None:
            where.append(Session.id != user.surviving_session)
        try:
            found = await self._store.find(Session, *where, sort=None, limit=2 * MAX_SESSIONS, into=_SessionId)
            ended = await self._store.delete(Session, *where)
        except StoreUnavailable as error:
            logger.warning("failed to delete ended sessions", reason=str(error))
            return
        self._on_change("ended", ended)
        session_ids = {ObjectId(each.id) for each in found}
        self._evict(session_ids)
        self._on_end(session_ids)

    def evict_all(self, user_id: ObjectId, except_id: ObjectId | None = None) -> set[ObjectId]:
        """Evict the sessions of an account from the cache, so that the next requests call the store.

        Returns:
            The ids of the evicted sessions. The account may have others that this process has not seen.
        """
        # once an access token has expired, only `_alive` still has its session
        known = {caller.session_id for caller in self._verified.values() if caller.user_id == user_id}
        known |= {session_id for session_id, alive in self._alive.items() if alive.owner == user_id}
        known -= {except_id}
        self._evict(known)
        return known

    def identify(self, text: str) -> Caller:
        """Return the caller an access token was issued to, without a call to the store. Its session may have ended.

        Raises:
            Unauthenticated: The token is invalid or expired, or its session is known to have ended.
        """
        moment = time.time()
        caller = self._verified.get(text)
        if caller is None or caller.expires <= moment:
            self._verified.pop(text, None)
            caller = self._access_tokens.verify(text)
            self._verified[text] = caller
        if self._ended and self._ended.get(caller.session_id, 0.0) > time.monotonic():
            raise Unauthenticated("the session has ended", "invalid_token")
        return caller

    async def authenticate(self, text: str) -> Caller:
        """Return the caller of an access token. Calls the store unless the session is cached.

        Raises:
            Unauthenticated: The token is invalid or expired, or its session has ended.
        """
        caller = self.identify(text)
        await self.require_alive(caller.session_id)
        return caller

    async def require_alive(self, session_id: ObjectId) -> None:
        """Check that a session has not ended. Calls the store unless the session is cached.

        Raises:
            Unauthenticated: The session has ended.
        """
        alive = self._alive.get(session_id)
        if alive is None or alive.until <= time.monotonic():
            await self._look_up(session_id)

    async def confirm_alive(self, session_id: ObjectId) -> None:
        """Check in the store, not in the cache, that a session has not ended.

        Raises:
            Unauthenticated: The session has ended.
        """
        await self._look_up(session_id)

    async def _look_up(self, session_id: ObjectId) -> None:
        revocations, started = self._revocations, time.monotonic()
        session = await self._store.get(Session, Session.id == session_id)
        if session is None or not await self._is_alive(session):
            self._alive.pop(session_id, None)
            self._ended[session_id] = started + _CACHE_SECONDS
            raise Unauthenticated("the session has ended", "invalid_token")
        if revocations == self._revocations:  # otherwise this session may have ended during the call
            self._alive[session_id] = _Alive(session.owner, started + _CACHE_SECONDS)

    async def _is_alive(self, session: Session) -> bool:
        account = await self._store.get(User, User.id == session.owner, into=AccountState)
        return account is not None and account.allows(str(session.id), session.password_generation)

    async def _build_alive_conditions(self, user_id: ObjectId) -> list[Condition]:
        """Return the conditions for the account's sessions that are alive."""
        account = await self._store.get(User, User.id == user_id, into=AccountState) or AccountState(str(user_id))
        current = Session.password_generation == account.password_generation
        if account.surviving_session is None:
            return [current]
        return [current | (Session.id == ObjectId(account.surviving_session))]

    async def _end(self, session_id: ObjectId) -> None:
        self._on_change("ended", await self._store.delete(Session, Session.id == session_id))
        self._evict({session_id})
        self._on_end({session_id})

    def _evict(self, session_ids: set[ObjectId]) -> None:
        self._revocations += 1
        for session_id in session_ids:
            self._alive.pop(session_id, None)

    def _issue_tokens(self, user_id: ObjectId, session_id: ObjectId, token: RefreshToken, moment: datetime) -> Tokens:
        return Tokens(self._access_tokens.issue(user_id, session_id, moment), token.text, self._access_tokens.lifetime)
