"""The rules of accounts."""

from __future__ import annotations

import contextlib
import re
import zoneinfo
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

import structlog
from email_validator import SPECIAL_USE_DOMAIN_NAMES, validate_email
from msgspec import UNSET
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.accounts import dto
from todo_service.accounts.api_keys import ApiKeys
from todo_service.accounts.documents import ClosedAccount, User
from todo_service.accounts.passwords import Passwords, find_password_issues
from todo_service.accounts.sessions import Client, Sessions, Tokens
from todo_service.bounds.accounts import ACCOUNT_CHANGES_WAITING, DISPLAY_NAME_LENGTH, EMAIL_KEY_BYTES
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.errors import Duplicate, Forbidden, Gone, Invalid, InvalidGrant, NotFound, Stale, ValidationIssue
from todo_service.lists.service import Lists
from todo_service.locks import KeyedLocks
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.errors import DuplicateDocument, StoreUnavailable
from todo_service.store.optimistic import Attempts
from todo_service.text import check_marks, trim
from todo_service.timestamps import now
from todo_service.todos.service import Todos

_USERNAME: Final = re.compile(r"[A-Za-z0-9._-]{3,32}")
CLOSING: Final = timedelta(hours=1)
"""How long after its deletion nothing can be written for an account any more: longer than any replica takes an ended
session for alive, and than a request takes."""
_CLOSED_ACCOUNT_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)
_AT_ONCE: Final = 100
_MISMATCH: Final = "the current password is wrong"
_UNIQUE_FIELDS: Final = {"username_key": "username", "email_key": "email"}
logger = structlog.get_logger(__name__)


# people run this service at home and in companies, where .local and .internal names are real ones
SPECIAL_USE_DOMAIN_NAMES.clear()


class Accounts:
    """Registers accounts and looks after them.

    Args:
        store: Where they are kept.
        passwords: Hashes and checks passwords.
        sessions: Where accounts are signed in.
        api_keys: The accounts' API keys.
    """

    def __init__(self, store: DocumentStore, passwords: Passwords, sessions: Sessions, api_keys: ApiKeys) -> None:
        self._api_keys = api_keys
        self._locks = KeyedLocks(waiting=ACCOUNT_CHANGES_WAITING)
        self._store = store
        self._passwords = passwords
        self._sessions = sessions

    async def register(self, registration: dto.UserCreate, identity: ObjectId | None = None) -> dto.User:
        """Make an account.

        Args:
            registration: The name, the email and the password.
            identity: Its id, where the call may be repeated: then the account that is there already is the answer.

        Raises:
            Invalid: the name, the email or the password breaks a rule.
            Duplicate: another account has the name or the email.
            Gone: the same call has made the account before, and it has been deleted since.
            Busy: too many passwords are waiting to be hashed.
        """
        issues = []
        if not _USERNAME.fullmatch(registration.username):
            issues.append(ValidationIssue("/username", "Expected 3 to 32 of A-Z a-z 0-9 . _ -"))
        email, found = _checked_email(registration.email)
        issues += found + find_password_issues(registration.password, registration.username, "/password")
        if issues:
            raise Invalid(issues)
        if (
            identity is not None
            and (made := await self._store.update(User, User.id == identity, changes={})) is not None
        ):
            return dto.User.of(made)
        if identity is not None and await self._store.get(ClosedAccount, ClosedAccount.id == identity) is not None:
            raise Gone("this account was made and has been deleted since")
        # the index decides in the end; asking first spares a hash, and gives a name's clash before an email's
        for field, condition in (
            ("username", User.username_key == registration.username.casefold()),
            ("email", User.email_key == email.casefold()),
        ):
            if await self._store.get(User, condition) is not None:
                raise Duplicate(field)
        moment = now()
        user = User(
            id=identity or ObjectId(),
            username=registration.username,
            username_key=registration.username.casefold(),
            email=email,
            email_key=email.casefold(),
            password_hash=await self._passwords.hash(registration.password),
            created_at=moment,
            updated_at=moment,
        )
        try:
            await self._store.insert(user)
        except DuplicateDocument as error:
            raise Duplicate(_UNIQUE_FIELDS[error.field]) from None
        return dto.User.of(user)

    async def find_id(self, name: str) -> ObjectId | None:
        """Return the id of the account that signs in with a username or an email, or None."""
        user = await self._find(name)
        return user.id if user is not None else None

    async def sign_in(self, name: str, password: str, client: Client) -> Tokens:
        """Begin a session.

        Args:
            name: The username or the email, whatever the case and the white space around it.
            password: The password.
            client: Where this comes from.

        Raises:
            InvalidGrant: the name or the password is wrong; which of them cannot be told, not by the time either.
            Busy: too many passwords are waiting to be checked.
        """
        user = await self._find(name)
        if not await self._passwords.verify(user.password_hash if user else None, password) or user is None:
            raise InvalidGrant("the name or the password is wrong")
        if self._passwords.outdated(user.password_hash):
            await self._store.update(
                User,
                User.id == user.id,
                User.password_hash == user.password_hash,
                changes={"password_hash": await self._passwords.hash(password)},
            )
        return await self._sessions.start(user.id, user.password_generation, client)

    async def account(self, user_id: ObjectId) -> dto.User:
        """Return an account.

        Raises:
            NotFound: it has been deleted.
        """
        return dto.User.of(await self._user(user_id))

    async def time_zone(self, user_id: ObjectId) -> str:
        """Return an account's time zone, an IANA name.

        Raises:
            NotFound: it has been deleted.
        """
        return (await self._user(user_id)).time_zone

    async def update(self, user_id: ObjectId, patch: dto.UserUpdate, versions: frozenset[int] | None) -> dto.User:
        """Change an account by a merge patch; one that changes nothing leaves its version as it is.

        Args:
            user_id: The account.
            patch: What to change.
            versions: The versions that the caller accepts, or None for any.

        Raises:
            Invalid: a value breaks a rule.
            Duplicate: another account has the email.
            Stale: the account has another version.
            NotFound: it has been deleted.
            Busy: too many changes of the account are waiting.
        """
        changes = _checked_changes(patch)

        def decide(user: User) -> dict[str, Any]:
            if versions is not None and user.version not in versions:
                raise Stale
            return {name: value for name, value in changes.items() if getattr(user, name) != value}

        try:
            return dto.User.of(await self._change(user_id, decide))
        except DuplicateDocument as error:
            raise Duplicate(_UNIQUE_FIELDS[error.field]) from None

    async def change_password(self, user_id: ObjectId, current: str, new: str, session_id: ObjectId) -> None:
        """Set another password, and end every session but the one in which it is set, in one atomic step.

        Args:
            user_id: The account.
            current: The password as it is.
            new: The password as it is to be.
            session_id: The session that goes on.

        Raises:
            Forbidden: the current password is wrong.
            Invalid: the new password breaks a rule.
            NotFound: the account has been deleted.
            Busy: too many passwords are waiting to be checked, or too many changes of the account.
        """
        before = await self._user(user_id)
        if not await self._passwords.verify(before.password_hash, current):
            raise Forbidden(_MISMATCH)
        if issues := find_password_issues(new, before.username, "/new_password"):
            raise Invalid(issues)
        password_hash = await self._passwords.hash(new)

        def decide(user: User) -> dict[str, Any]:
            if user.password_generation != before.password_generation:
                raise Forbidden(_MISMATCH)
            return {
                "password_hash": password_hash,
                "password_generation": user.password_generation + 1,
                "surviving_session": session_id,
            }

        try:
            await self._change(user_id, decide)
        finally:
            # a write that was not answered may have been carried out
            self._sessions.forget_all(user_id, but=session_id)
        try:
            await self._sessions.end_all(user_id, but=session_id)
        except StoreUnavailable as error:
            # they are dead already, and expire
            logger.warning("ended sessions could not be deleted", reason=str(error))

    async def delete(self, user_id: ObjectId, password: str, versions: frozenset[int] | None) -> None:
        """Delete an account and all that it owns.

        Its sessions and API keys end first, so that nothing writes for the account any more, and the account itself
        goes last: its owner can sign in again and repeat a call that broke off. Another replica may take the sessions
        for alive for some seconds more, and let them write what nobody would own. So the deletion is recorded before
        anything else, and `finish_deletions` sweeps once more when that time is over. It also finishes a call that
        broke off and was not repeated.

        Raises:
            Forbidden: the password is wrong.
            Stale: the account has another version.
            NotFound: it has been deleted.
        """
        user = await self._user(user_id)
        if not await self._passwords.verify(user.password_hash, password):
            raise Forbidden("the password is wrong")
        if versions is not None and user.version not in versions:
            raise Stale
        with contextlib.suppress(DuplicateDocument):
            moment = now()
            await self._store.insert(
                ClosedAccount(id=user_id, closed_at=moment, expires_at=moment + _CLOSED_ACCOUNT_LIFETIME)
            )
        await self._delete_all(user_id)

    async def finish_deletions(self, moment: datetime) -> None:
        """Delete once more whatever accounts own that were closed a while ago.

        Args:
            moment: The present moment.
        """
        after: list[Condition] = []
        while True:
            due = [ClosedAccount.swept == False, ClosedAccount.closed_at < moment - CLOSING, *after]  # noqa: E712  # an expression
            closed = await self._store.find(ClosedAccount, *due, sort=asc(ClosedAccount.closed_at), limit=_AT_ONCE)
            for account in closed:
                try:
                    await self._delete_all(account.id)
                    await self._store.update(ClosedAccount, ClosedAccount.id == account.id, changes={"swept": True})
                except StoreUnavailable:
                    raise
                except Exception:
                    # it must not hold up the others; the next run tries it again
                    logger.exception("an account could not be deleted", account=str(account.id))
            if len(closed) < _AT_ONCE:
                return
            after = [ClosedAccount.closed_at > closed[-1].closed_at]

    async def _delete_all(self, user_id: ObjectId) -> None:
        # first, so that nothing that writes for the account goes on
        await self._sessions.end_all(user_id)
        await self._api_keys.delete_all(user_id)
        todos = Todos(self._store, user_id, lambda: self.time_zone(user_id))
        await todos.delete_all()
        await Lists(self._store, user_id, todos).delete_all()
        await self._store.delete(User, User.id == user_id)

    async def _change(self, user_id: ObjectId, decide: Callable[[User], dict[str, Any]]) -> User:
        """Change an account as `decide` says from its present state; without changes its version stays.

        Changes of one account take turns in this process, so that only another replica can be faster.

        Raises:
            Busy: others were faster too often, or too many wait for their turn.
            DuplicateDocument: another account has the name or the email.
            NotFound: it has been deleted.
        """
        async with self._locks.hold(user_id):
            async for _ in Attempts():
                user = await self._user(user_id)
                changes = decide(user)
                if changes:
                    changes |= {"version": user.version + 1, "updated_at": max(now(), user.updated_at)}
                changed = await self._store.update(
                    User, User.id == user_id, User.version == user.version, changes=changes
                )
                if changed is not None:
                    return changed
        raise AssertionError  # `Attempts` ends by an error

    async def _find(self, name: str) -> User | None:
        key = name.strip().casefold()
        # a username holds no @, so a name with one is an email
        return await self._store.get(User, User.email_key == key if "@" in key else User.username_key == key)

    async def _user(self, user_id: ObjectId) -> User:
        user = await self._store.get(User, User.id == user_id)
        if user is None:
            raise NotFound("the account has been deleted")
        return user


def _checked_email(text: str) -> tuple[str, list[ValidationIssue]]:
    try:
        check_marks(text)
        email = validate_email(text, check_deliverability=False).normalized
    except ValueError:  # EmailNotValidError is one
        return text, [ValidationIssue("/email", "Expected an email address, such as ada@example.com")]
    # without case a character may be three
    if len(email.casefold().encode()) > EMAIL_KEY_BYTES:
        return text, [
            ValidationIssue("/email", f"Expected an address of {EMAIL_KEY_BYTES} bytes at most without upper case")
        ]
    return email, []


def _checked_changes(patch: dto.UserUpdate) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    issues: list[ValidationIssue] = []
    if patch.email is not UNSET:
        email, issues = _checked_email(patch.email)
        changes |= {"email": email, "email_key": email.casefold()}
    if patch.display_name is not UNSET:
        try:
            changes["display_name"] = trim(patch.display_name or "", DISPLAY_NAME_LENGTH, shortest=0)
        except ValueError as error:
            issues.append(ValidationIssue("/display_name", str(error)))
    if patch.time_zone is not UNSET:
        changes["time_zone"] = patch.time_zone or "UTC"
        if changes["time_zone"] not in _time_zones():
            issues.append(ValidationIssue("/time_zone", "Expected a name of the IANA time zone database"))
    if issues:
        raise Invalid(issues)
    return changes


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - {"localtime"})
