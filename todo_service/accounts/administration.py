"""Account administration by an operator, who does not need the password of an account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any, Final

from odmantic import ObjectId

from todo_service.accounts import dto
from todo_service.accounts.api_keys import ApiKeys
from todo_service.accounts.documents import User
from todo_service.accounts.invitations import Invitations, NewInvitation
from todo_service.accounts.passwords import Passwords, prepare_new_password
from todo_service.accounts.registrations import Registrations
from todo_service.accounts.service import Accounts
from todo_service.accounts.sessions import Sessions
from todo_service.errors import Invalid, NotFound, ValidationIssue
from todo_service.security.caller import Caller
from todo_service.store.base import DocumentStore
from todo_service.store.paging import iterate_pages
from todo_service.store.structs import build_struct

_PAGE_SIZE: Final = 100


class AdministeredUser(dto.User, frozen=True):
    """An account, as an operator sees it."""

    disabled: bool = False

    @classmethod
    def from_document(cls, document: User) -> AdministeredUser:
        """Return the account stored in a document."""
        return build_struct(document, cls)


class AccountAdministration:
    """Administers accounts. Changes take effect at once in the store, and within 10 s in every running service.

    Args:
        store: The document store.
        accounts: The accounts.
        registrations: Creates accounts.
        passwords: Hashes passwords.
        sessions: The sessions of all accounts.
        api_keys: The API keys of all accounts.
        invitations: The invitations.
    """

    def __init__(
        self,
        store: DocumentStore,
        accounts: Accounts,
        registrations: Registrations,
        passwords: Passwords,
        sessions: Sessions,
        api_keys: ApiKeys,
        invitations: Invitations,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._registrations = registrations
        self._passwords = passwords
        self._sessions = sessions
        self._api_keys = api_keys
        self._invitations = invitations

    async def find(self, name: str) -> AdministeredUser:
        """Return the account with this username or email, ignoring case and surrounding whitespace.

        Raises:
            NotFound: There is none.
        """
        user_id = await self._accounts.find_id(name)
        user = await self._store.get(User, User.id == user_id) if user_id is not None else None
        if user is None:
            raise NotFound(f"there is no account {name}")
        return AdministeredUser.from_document(user)

    async def scan(self) -> AsyncIterator[AdministeredUser]:
        """Iterate over all accounts, with few in memory at a time."""
        async for user in self._store.scan(User):
            yield AdministeredUser.from_document(user)

    async def create(self, registration: dto.UserCreate) -> AdministeredUser:
        """Create an account. Raises the errors of `Registrations.create`."""
        return AdministeredUser.from_document(await self._registrations.create(registration))

    async def invite(self, lifetime: timedelta) -> NewInvitation:
        """Create an invitation for one registration within its lifetime."""
        return await self._invitations.create(lifetime)

    async def set_password(self, user: AdministeredUser, password: str) -> AdministeredUser:
        """Set a new password, and end all sessions in the same atomic write.

        Raises:
            Invalid: The password breaks a rule.
            NotFound: The account has been deleted.
        """
        try:
            prepared = prepare_new_password(password, user.username)
        except ValueError as error:
            raise Invalid([ValidationIssue("/password", str(error))]) from None
        password_hash = await self._passwords.hash(prepared)
        changed = await self._accounts.change(
            ObjectId(user.id), lambda found: {"password_hash": password_hash} | _end_sessions(found)
        )
        await self._sessions.delete_ended(changed)
        return AdministeredUser.from_document(changed)

    async def disable(self, user: AdministeredUser) -> AdministeredUser:
        """Disable an account, and end its sessions and API keys for good.

        One atomic write does both. The rest is cleanup; if it is interrupted, a repeat finishes it.

        Raises:
            NotFound: The account has been deleted.
        """
        changed = await self._accounts.change(
            ObjectId(user.id), lambda found: {} if found.disabled else {"disabled": True} | _end_sessions(found)
        )
        await self._sessions.end_all(changed.id)
        await self._api_keys.revoke_all(changed.id)
        return AdministeredUser.from_document(changed)

    async def enable(self, user: AdministeredUser) -> AdministeredUser:
        """Enable an account again. Its sessions and API keys do not come back.

        Raises:
            NotFound: The account has been deleted.
        """
        if user.disabled:
            # `disable` may have been interrupted before it revoked them
            await self._api_keys.revoke_all(ObjectId(user.id))
        changed = await self._accounts.change(
            ObjectId(user.id), lambda found: {"disabled": False} if found.disabled else {}
        )
        return AdministeredUser.from_document(changed)

    async def delete(self, user: AdministeredUser) -> None:
        """Delete an account and everything it owns."""
        await self._accounts.delete_without_password(ObjectId(user.id))

    async def list_sessions(self, user: AdministeredUser) -> list[dto.Session]:
        """Return the sessions of an account, newest first."""
        user_id = ObjectId(user.id)
        nobody = Caller(user_id, ObjectId(), 0)
        pages = iterate_pages(partial(self._sessions.read_page, nobody, _PAGE_SIZE))
        return [session async for page in pages for session in page]

    async def end_sessions(self, user: AdministeredUser) -> None:
        """End all sessions of an account. Its API keys remain."""
        await self._sessions.end_all(ObjectId(user.id))


def _end_sessions(user: User) -> dict[str, Any]:
    """Return the changes to an account that end all of its sessions."""
    return {"password_generation": user.password_generation + 1, "surviving_session": None}
