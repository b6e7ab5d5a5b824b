"""The rules for accounts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from odmantic import ObjectId

from todo_service.accounts import dto
from todo_service.accounts.api_keys import ApiKeys
from todo_service.accounts.documents import ClosedAccount, Invitation, User
from todo_service.accounts.passwords import Passwords, prepare_new_password
from todo_service.accounts.registrations import UNIQUE_FIELDS
from todo_service.accounts.sessions import Client, Sessions, Tokens
from todo_service.accounts.time_zones import TimeZones, schedule_visits
from todo_service.accounts.validation import validate_patch
from todo_service.applied_changes import AppliedChanges
from todo_service.background import process_each
from todo_service.bounds.accounts import ACCOUNT_CHANGES_WAITING
from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.errors import Duplicate, Forbidden, Invalid, InvalidGrant, NotFound, ValidationIssue
from todo_service.idempotency.documents import IdempotentRequest
from todo_service.lists.service import Lists
from todo_service.locks import KeyedLocks
from todo_service.reminders.documents import Firing
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.optimistic import Attempts
from todo_service.store.paging import iterate_sorted
from todo_service.text import compose, fold_login
from todo_service.timestamps import now
from todo_service.todos.service import Todos
from todo_service.versions import check_version
from todo_service.webhooks.documents import Webhook, WebhookDelivery

CLOSING_PERIOD: Final = timedelta(hours=1)
"""How long to wait until nothing can still write for a deleted account: longer than a replica caches a session, and
longer than any request takes."""
_CLOSED_ACCOUNT_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)
_MISMATCH: Final = "the current password is wrong"


class Accounts:
    """Signs users in, and reads, updates and deletes accounts.

    Args:
        store: The document store.
        passwords: Hashes and verifies passwords.
        sessions: The sessions of all accounts.
        api_keys: The API keys of all accounts.
    """

    def __init__(
        self,
        store: DocumentStore,
        passwords: Passwords,
        sessions: Sessions,
        api_keys: ApiKeys,
    ) -> None:
        self._api_keys = api_keys
        self._locks = KeyedLocks(waiting=ACCOUNT_CHANGES_WAITING)
        self._store = store
        self._passwords = passwords
        self._sessions = sessions

    async def find_id(self, name: str) -> ObjectId | None:
        """Return the id of the account with this username or email, or None."""
        user = await self._find_by_login(name)
        return user.id if user is not None else None

    async def sign_in(self, name: str, password: str, client: Client) -> Tokens:
        """Start a session.

        Args:
            name: The username or the email. Case and surrounding whitespace are ignored.
            password: The password.
            client: The client that signs in.

        Raises:
            InvalidGrant: The name or the password is wrong, or the account is disabled. Neither the error nor the time
                it takes tells which.
            Busy: Too many passwords are waiting to be verified.
        """
        user = await self._find_by_login(name)
        if user is not None and user.disabled:
            user = None
        valid, new_hash = await self._passwords.verify_and_update(user.password_hash if user else None, password)
        if not valid or user is None:
            raise InvalidGrant("the name or the password is wrong")
        if new_hash is not None:
            unchanged = User.password_hash == user.password_hash
            await self._store.update(User, User.id == user.id, unchanged, changes={"password_hash": new_hash})
        return await self._sessions.start(user.id, user.password_generation, client)

    async def get(self, user_id: ObjectId) -> dto.User:
        """Return an account.

        Raises:
            NotFound: The account has been deleted.
        """
        return dto.User.from_document(await self._get_user(user_id))

    async def update(self, user_id: ObjectId, patch: dto.UserUpdate, versions: Container[int] | None) -> dto.User:
        """Update an account with a merge patch. A patch without changes leaves the version unchanged.

        Args:
            user_id: The account.
            patch: The merge patch.
            versions: The versions that the caller accepts, or None for any.

        Raises:
            Invalid: A value is invalid.
            Duplicate: Another account has the email.
            Stale: The account has another version.
            NotFound: The account has been deleted.
            Busy: Too many changes to the account are waiting.
        """
        changes = validate_patch(patch)

        def decide(user: User) -> dict[str, Any]:
            check_version(user.version, versions)
            found = {name: value for name, value in changes.items() if getattr(user, name) != value}
            return found | schedule_visits(now()) if "time_zone" in found else found

        try:
            return dto.User.from_document(await self.change(user_id, decide))
        except DuplicateDocument as error:
            raise Duplicate(UNIQUE_FIELDS[error.field]) from None

    async def change_password(
        self,
        user_id: ObjectId,
        data: dto.PasswordChange,
        session_id: ObjectId,
        versions: Container[int] | None,
        change_id: ObjectId | None = None,
        first_attempt: datetime | None = None,
    ) -> None:
        """Set a new password, and end all sessions except one, in a single atomic write.

        The write also records the id of the change. A repeat of the request finds it, even if the password has been
        changed again since, and ends no session.

        Args:
            user_id: The account.
            data: The current password and the new one.
            session_id: The session that survives.
            versions: The versions that the caller accepts, or None for any.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.
            first_attempt: When the first attempt of the request began, if this is a later one.

        Raises:
            Forbidden: The current password is wrong.
            Stale: The account has another version.
            Invalid: The new password is invalid.
            NotFound: The account has been deleted.
            Gone: See `AppliedChanges.includes`.
            Busy: Too many passwords are waiting to be verified, or too many changes to the account.
        """
        applied_changes = AppliedChanges(first_attempt)
        before = await self._get_user(user_id)
        applied = applied_changes.includes(before, change_id)
        password_hash = None if applied else await self._hash_new_password(before, data)

        def decide(user: User) -> dict[str, Any]:
            if applied_changes.includes(user, change_id):
                return {}
            if password_hash is None or user.password_generation != before.password_generation:
                raise Forbidden(_MISMATCH)
            check_version(user.version, versions)
            changes = {
                "password_hash": password_hash,
                "password_generation": user.password_generation + 1,
                "surviving_session": session_id,
            }
            if change_id is not None:
                changes["applied_change_ids"] = applied_changes.record(user, now(), change_id)
            return changes

        try:
            changed = await self.change(user_id, decide)
        finally:
            # a write that failed without a response may have succeeded
            self._sessions.evict_all(user_id, except_id=session_id)
        await self._sessions.delete_ended(changed)

    async def _hash_new_password(self, user: User, data: dto.PasswordChange) -> str:
        """Verify the current password, and return the hash of the new one.

        Raises:
            Forbidden: The current password is wrong.
            Invalid: The new password is invalid.
        """
        if not await self._passwords.verify(user.password_hash, data.current_password):
            raise Forbidden(_MISMATCH)
        try:
            prepared = prepare_new_password(data.new_password, user.username)
        except ValueError as error:
            raise Invalid([ValidationIssue("/new_password", str(error))]) from None
        return await self._passwords.hash(prepared)

    async def delete(self, user_id: ObjectId, password: str, versions: Container[int] | None) -> None:
        """Delete an account and everything it owns, if the password is right.

        Args:
            user_id: The account.
            password: Its password.
            versions: The versions that the caller accepts, or None for any.

        Raises:
            Forbidden: The password is wrong.
            Stale: The account has another version.
            NotFound: The account has been deleted.
        """
        user = await self._get_user(user_id)
        if not await self._passwords.verify(user.password_hash, password):
            raise Forbidden("the password is wrong")
        if versions is not None:
            await self._claim(user_id, versions)
        await self.delete_without_password(user_id)

    async def _claim(self, user_id: ObjectId, versions: Container[int]) -> None:
        """Increment the version of an account, so that no other writer with the same entity tag succeeds.

        Raises:
            Stale: The account has another version.
        """

        def decide(user: User) -> dict[str, Any]:
            check_version(user.version, versions)
            return {"version": user.version + 1}  # nothing else changes

        await self.change(user_id, decide)

    async def delete_without_password(self, user_id: ObjectId) -> None:
        """Delete an account and everything it owns.

        Sessions and API keys go first, so that nobody can write for the account any more. The account itself goes last,
        so that its owner can sign in and retry an interrupted call. Another replica may still accept the cached
        sessions for a few seconds, and write documents for an account that no longer exists. The deletion is therefore
        recorded before anything else, and `finish_deletions` deletes everything again after `CLOSING_PERIOD`. It
        also finishes calls that were interrupted and not retried.
        """
        with contextlib.suppress(DuplicateDocument):
            moment = now()
            await self._store.insert(
                ClosedAccount(id=user_id, closed_at=moment, expires_at=moment + _CLOSED_ACCOUNT_LIFETIME)
            )
        await self._delete_all(user_id)

    async def finish_deletions(self, moment: datetime) -> None:
        """Delete again everything owned by accounts whose deletion began at least `CLOSING_PERIOD` ago.

        Args:
            moment: The current time.
        """

        async def delete(account: ClosedAccount) -> None:
            await self._delete_all(account.id)
            await self._store.update(ClosedAccount, ClosedAccount.id == account.id, changes={"swept": True})

        due = (ClosedAccount.swept == False, ClosedAccount.closed_at < moment - CLOSING_PERIOD)  # noqa: E712  # expressions
        pages = iterate_sorted(self._store, ClosedAccount, *due, by="closed_at")
        await process_each(pages, delete, "failed to delete an account", "account")

    async def _delete_all(self, user_id: ObjectId) -> None:
        # first, so that nobody can write for the account any more
        await self._sessions.end_all(user_id)
        await self._api_keys.delete_all(user_id)
        await self._store.delete(Webhook, Webhook.account == user_id)
        await self._store.delete(WebhookDelivery, WebhookDelivery.account == user_id)
        todos = Todos(self._store, user_id, partial(TimeZones(self._store).get, user_id))
        await todos.delete_all()
        await Lists(self._store, user_id, todos).delete_all()
        await self._store.delete(Firing, Firing.account == user_id)
        await self._store.delete(IdempotentRequest, IdempotentRequest.owner == user_id)
        user = await self._store.get(User, User.id == user_id)
        if user is not None:
            # without the account, nothing would show that the invitation has been used
            await self._store.delete(Invitation, Invitation.id == user.invitation)
        await self._store.delete(User, User.id == user_id)

    async def change(self, user_id: ObjectId, decide: Callable[[User], dict[str, Any]]) -> User:
        """Update an account with optimistic locking. Without changes, the version stays the same.

        Changes to one account are serialized in this process, so only other replicas can conflict.

        Args:
            user_id: The account.
            decide: Returns the changes to make to the current account.

        Raises:
            Busy: Too many conflicts, or too many changes are waiting.
            DuplicateDocument: Another account has the email.
            NotFound: The account has been deleted.
        """
        async with self._locks.hold(user_id):
            async for _ in Attempts():
                user = await self._get_user(user_id)
                changes = decide(user)
                if changes:
                    # an earlier release stored names as they were sent
                    changes = {"display_name": compose(user.display_name)} | changes
                    changes |= {"version": user.version + 1, "updated_at": max(now(), user.updated_at)}
                changed = await self._store.update(
                    User, User.id == user_id, User.version == user.version, changes=changes
                )
                if changed is not None:
                    return changed
        raise AssertionError  # `Attempts` ends with an error

    async def _find_by_login(self, name: str) -> User | None:
        key = fold_login(name)
        # usernames contain no @
        return await self._store.get(User, User.email_key == key if "@" in key else User.username_key == key)

    async def _get_user(self, user_id: ObjectId) -> User:
        user = await self._store.get(User, User.id == user_id)
        if user is None:
            raise NotFound("the account has been deleted")
        return user
