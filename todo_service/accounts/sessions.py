"""Sessions: signing in, staying signed in, and the end of it (RFC 6749, RFC 7009, RFC 9700 section 4.14).

A session has one good refresh token. Renewing it spends the token and makes its successor, in one atomic update on
the condition that the token is still the current one. A spent token ends the session, since someone else may hold it,
but for `GRACE` after the rotation: a client that lost the answer sends it again and is given the same successor. Once
the successor has been used, the token before it is no longer the previous one, and the grace is over.

A session belongs to the password under which it began: to the account's `password_generation`. Setting another password
raises that number, so that one atomic write ends every session but the one it names, also those that are just being
inserted. Deleting them afterwards only tidies up.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from odmantic import ObjectId
from odmantic.query import desc

from todo_service.accounts import dto
from todo_service.accounts.documents import Session, User
from todo_service.accounts.tokens import AccessTokens, RefreshToken, RefreshTokens, refresh_deadline
from todo_service.bounds.accounts import MAX_SESSIONS
from todo_service.errors import InvalidGrant, NotFound, Unauthenticated
from todo_service.fields import redacted_repr
from todo_service.security.caller import Caller
from todo_service.store.base import Condition, DocumentStore
from todo_service.timestamps import Timestamp, now

GRACE: Final = timedelta(seconds=10)
_MEMORY_SECONDS: Final = 5.0
_MEMORY_SIZE: Final = 20_000
_SALT_BYTES: Final = 32
_USER_AGENT_LENGTH: Final = 256


class Client(NamedTuple):
    """Where a sign-in comes from.

    Attributes:
        address: The IP address.
        user_agent: The User-Agent header, or empty.
    """

    address: str
    user_agent: str


class SessionPosition(msgspec.Struct, array_like=True):
    """Where a page of sessions begins: after the session with this time of creation and id."""

    created_at: str
    id: str


class _Password(msgspec.Struct, frozen=True):
    """Which sessions of an account are alive."""

    password_generation: int = 1
    surviving_session: str | None = None

    def keeps(self, session: Session) -> bool:
        """Return whether a session is alive under this password."""
        return session.password_generation == self.password_generation or str(session.id) == self.surviving_session


class _SessionId(msgspec.Struct, frozen=True):
    id: str


class Tokens(NamedTuple):
    """A session's tokens, as a client is given them.

    Attributes:
        access: The access token.
        refresh: The refresh token.
        expires_in: Seconds that the access token is good for.
    """

    access: str
    refresh: str
    expires_in: int

    def __repr__(self) -> str:
        return redacted_repr(self, "access", "refresh")


class Sessions:
    """The sessions of all accounts.

    That a session has not ended is remembered for 5 s, so that a request costs no look-up; here its end is known at
    once, on every other replica within that time.

    Args:
        store: Where the sessions are kept.
        access: Issues and verifies access tokens.
        refresh: Makes and knows refresh tokens.
        refresh_days: Days that a session lasts without being renewed.
        changed: Hears how many sessions were `created`, `refreshed` or `ended`.
    """

    def __init__(
        self,
        store: DocumentStore,
        access: AccessTokens,
        refresh: RefreshTokens,
        refresh_days: int,
        changed: Callable[[str, int], None] = lambda _, __: None,
    ) -> None:
        self._store = store
        self._changed = changed
        self._access = access
        self._refresh = refresh
        self._refresh_days = refresh_days
        self._alive: dict[ObjectId, float] = {}
        self._verified: dict[str, Caller] = {}
        self._ended: dict[ObjectId, float] = {}
        self._ends = 0

    async def start(self, user_id: ObjectId, password_generation: int, client: Client) -> Tokens:
        """Begin a session of an account whose password has been checked. Beyond `MAX_SESSIONS` the oldest ones end.

        Args:
            user_id: The account.
            password_generation: The generation of the password that was checked.
            client: Where the sign-in comes from.
        """
        moment = now()
        session_id = ObjectId()
        token = self._refresh.first(session_id)
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
                expires_at=refresh_deadline(moment, self._refresh_days),
            )
        )
        self._changed("created", 1)
        await self._end_oldest(user_id)
        return self._tokens(user_id, session_id, token, moment)

    async def _end_oldest(self, user_id: ObjectId) -> None:
        """End the sessions that an account has beyond `MAX_SESSIONS`."""
        mine = Session.owner == user_id
        if await self._store.count(Session, mine, limit=MAX_SESSIONS + 1) <= MAX_SESSIONS:
            return
        newest_first = (desc(Session.created_at), desc(Session.id))
        found = await self._store.find(Session, mine, sort=newest_first, limit=2 * MAX_SESSIONS, into=_SessionId)
        for session in found[MAX_SESSIONS:]:
            await self._end(ObjectId(session.id))

    async def renew(self, text: str, client: Client) -> Tokens:
        """Spend a refresh token for a new access token and the next refresh token.

        Raises:
            InvalidGrant: the token is not ours, or spent (then its session has been ended), or its session is over.
        """
        token = self._refresh.parse(text)
        if token is None:
            raise InvalidGrant("the refresh token is not valid")
        moment = now()
        salt = secrets.token_bytes(_SALT_BYTES)
        successor = self._refresh.successors(token, salt)[0]
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
                "expires_at": refresh_deadline(moment, self._refresh_days),
                "address": client.address,
                "user_agent": client.user_agent[:_USER_AGENT_LENGTH],
            },
        )
        rotated = session is not None
        if session is None:
            session, successor = await self._again(token, moment)
        if not await self._is_alive(session):
            await self._end(session.id)
            raise InvalidGrant("the refresh token is not valid")
        if rotated:
            self._changed("refreshed", 1)
        return self._tokens(session.owner, session.id, successor, moment)

    async def _again(self, token: RefreshToken, moment: datetime) -> tuple[Session, RefreshToken]:
        """Return the session and the successor of a token that was spent just now, or end the session."""
        session = await self._store.get(Session, Session.id == token.session_id)
        if session is not None and session.expires_at > moment:
            if (
                session.previous_hash == token.hash
                and session.successor_salt is not None
                and session.rotated_at is not None
                and moment - session.rotated_at <= GRACE
            ):
                for successor in self._refresh.successors(token, session.successor_salt):
                    if hmac.compare_digest(successor.hash, session.refresh_hash):
                        return session, successor
            await self._end(session.id)
        raise InvalidGrant("the refresh token is not valid")

    async def revoke(self, text: str) -> None:
        """End the session that a refresh or an access token belongs to; any other text is ignored (RFC 7009)."""
        token = self._refresh.parse(text)
        if token is not None:
            await self._end(token.session_id)
            return
        try:
            caller = self._access.verify(text)
        except Unauthenticated:
            return
        await self._end(caller.session_id)

    async def page(
        self, caller: Caller, limit: int, after: SessionPosition | None
    ) -> tuple[list[dto.Session], SessionPosition | None]:
        """Return a page of the caller's sessions, the newest first, and where the next page begins, or None."""
        key_ranges: list[list[Condition]] = [[]]
        if after is not None:
            begun = Timestamp.parse(after.created_at)
            beyond = Session.id < ObjectId(after.id)
            key_ranges = [[Session.created_at == begun, beyond], [Session.created_at < begun]]
        found: list[dto.Session] = []
        where = [Session.owner == caller.user_id, Session.expires_at > now(), *await self._alive_where(caller.user_id)]
        order = (desc(Session.created_at), desc(Session.id))
        for key_range in key_ranges:
            found += await self._store.find(
                Session, *where, *key_range, sort=order, limit=limit + 1 - len(found), into=dto.Session
            )
            if len(found) > limit:
                break
        own = str(caller.session_id)
        page = [msgspec.structs.replace(session, current=session.id == own) for session in found[:limit]]
        return page, SessionPosition(page[-1].created_at, page[-1].id) if len(found) > limit else None

    async def end(self, user_id: ObjectId, session_id: str) -> None:
        """End one session of an account.

        Raises:
            NotFound: there is none with this id, or it is another account's.
        """
        if not (len(session_id) == 24 and ObjectId.is_valid(session_id)):
            raise NotFound("there is no such session")
        ended = await self._store.delete(Session, Session.id == ObjectId(session_id), Session.owner == user_id)
        if not ended:
            raise NotFound("there is no such session")
        self._changed("ended", ended)
        self._forget({ObjectId(session_id)})

    async def end_all(self, user_id: ObjectId, but: ObjectId | None = None) -> None:
        """End every session of an account, but one if it is named."""
        where: list[Condition] = [Session.owner == user_id]
        if but is not None:
            where.append(Session.id != but)
        self._changed("ended", await self._store.delete(Session, *where))
        self.forget_all(user_id, but)

    def forget_all(self, user_id: ObjectId, but: ObjectId | None = None) -> None:
        """Forget that sessions of an account were alive, so that the store is asked again."""
        ended = {caller.session_id for caller in self._verified.values() if caller.user_id == user_id}
        self._forget(ended - {but})

    def identify(self, text: str) -> Caller:
        """Return who an access token was issued to, without asking the store; its session may have ended.

        Raises:
            Unauthenticated: the token is not ours, altered or expired, or its session is known to have ended.
        """
        moment = time.time()
        caller = self._verified.get(text)
        if caller is None or caller.expires <= moment:
            self._verified.pop(text, None)
            caller = self._access.verify(text)
            _make_room(self._verified)
            self._verified[text] = caller
        if self._ended and self._ended.get(caller.session_id, 0.0) > time.monotonic():
            raise Unauthenticated("the session has ended", "invalid_token")
        return caller

    async def authenticate(self, text: str) -> Caller:
        """Return who an access token speaks for.

        Raises:
            Unauthenticated: the token is not ours, altered or expired, or its session has ended.
        """
        caller = self.identify(text)
        await self.require_alive(caller.session_id)
        return caller

    async def require_alive(self, session_id: ObjectId) -> None:
        """Return if a session has not ended, as far as this process knows or the store says.

        Raises:
            Unauthenticated: it has ended.
        """
        if self._alive.get(session_id, 0.0) <= time.monotonic():
            await self._look_up(session_id)

    async def _look_up(self, session_id: ObjectId) -> None:
        ends, asked = self._ends, time.monotonic()
        session = await self._store.get(Session, Session.id == session_id)
        if session is None or not await self._is_alive(session):
            self._alive.pop(session_id, None)
            _make_room(self._ended)
            self._ended[session_id] = asked + _MEMORY_SECONDS
            raise Unauthenticated("the session has ended", "invalid_token")
        if ends == self._ends:  # else it may be this one that was ended while the store answered
            _make_room(self._alive)
            self._alive[session_id] = asked + _MEMORY_SECONDS

    async def _is_alive(self, session: Session) -> bool:
        password = await self._store.get(User, User.id == session.owner, into=_Password)
        return password is not None and password.keeps(session)

    async def _alive_where(self, user_id: ObjectId) -> list[Condition]:
        """Return the conditions that an account's living sessions meet."""
        password = await self._store.get(User, User.id == user_id, into=_Password) or _Password()
        present = Session.password_generation == password.password_generation
        if password.surviving_session is None:
            return [present]
        return [present | (Session.id == ObjectId(password.surviving_session))]

    async def _end(self, session_id: ObjectId) -> None:
        self._changed("ended", await self._store.delete(Session, Session.id == session_id))
        self._forget({session_id})

    def _forget(self, session_ids: set[ObjectId]) -> None:
        self._ends += 1
        for session_id in session_ids:
            self._alive.pop(session_id, None)

    def _tokens(self, user_id: ObjectId, session_id: ObjectId, token: RefreshToken, moment: datetime) -> Tokens:
        return Tokens(self._access.issue(user_id, session_id, moment), token.text, self._access.lifetime)


def _make_room(memory: dict[Any, Any]) -> None:
    """Forget the oldest entry of a full memory (dictionaries keep the order of insertion)."""
    if len(memory) >= _MEMORY_SIZE:
        memory.pop(next(iter(memory)))
