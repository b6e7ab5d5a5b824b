"""Registration: the creation of accounts."""

from __future__ import annotations

from typing import Final

from odmantic import ObjectId

from todo_service.accounts import dto
from todo_service.accounts.documents import ClosedAccount, User
from todo_service.accounts.invitations import Invitations, create_invitation_error
from todo_service.accounts.passwords import Passwords
from todo_service.accounts.validation import validate_registration
from todo_service.errors import Duplicate, Forbidden, Gone
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.timestamps import now

UNIQUE_FIELDS: Final = {"username_key": "username", "email_key": "email"}
"""The field of the API for each unique field of an account."""


class Registrations:
    """Creates accounts.

    Args:
        store: The document store.
        passwords: Hashes passwords.
        invitations: Admits registrations.
    """

    def __init__(self, store: DocumentStore, passwords: Passwords, invitations: Invitations) -> None:
        self._store = store
        self._passwords = passwords
        self._invitations = invitations

    async def register(self, registration: dto.UserCreate, idempotent_id: ObjectId | None = None) -> dto.User:
        """Create an account if `REGISTRATION` permits it.

        Args:
            registration: The username, the email and the password; the display name, the time zone and the invitation.
            idempotent_id: The id of the account if the call may be repeated. A repeat returns the existing account.

        Raises:
            Forbidden: Registration is closed, or requires a valid invitation.
            Invalid: A value is invalid.
            Duplicate: Another account has the username or the email.
            Gone: An earlier attempt created the account, which has been deleted since.
            Busy: Too many passwords are waiting to be hashed.
        """
        if idempotent_id is None:
            return dto.User.from_document(await self._register(registration, ObjectId()))
        user = await self._find_created(idempotent_id)
        if user is None:
            try:
                user = await self._register(registration, idempotent_id)
            except (Duplicate, Forbidden):
                # the writes of an interrupted attempt may have been in flight
                user = await self._find_created(idempotent_id)
                if user is None:
                    raise
        return dto.User.from_document(user)

    async def create(self, registration: dto.UserCreate) -> User:
        """Create an account, regardless of `REGISTRATION`.

        Args:
            registration: As for `register`; the invitation is ignored.

        Raises:
            Invalid: A value is invalid.
            Duplicate: Another account has the username or the email.
            Busy: Too many passwords are waiting to be hashed.
        """
        user_id = ObjectId()
        user = await self._build(registration, user_id, invitation_id=user_id)
        await self._insert(user)
        return user

    async def _register(self, registration: dto.UserCreate, user_id: ObjectId) -> User:
        """Create an account if `REGISTRATION` permits it. See `register`."""
        invitation = await self._invitations.admit(registration.invitation, user_id)
        user = await self._build(registration, user_id, invitation.id if invitation is not None else user_id)
        if invitation is None:
            await self._insert(user)
            return user
        await self._invitations.claim(invitation, user_id)
        try:
            await self._insert(user)
        except (Duplicate, Forbidden):
            await self._invitations.release(invitation.id, user_id)
            raise
        await self._invitations.discard(invitation.id)
        return user

    async def _build(self, registration: dto.UserCreate, user_id: ObjectId, invitation_id: ObjectId) -> User:
        """Return the document of a new account. Without an invitation, `invitation_id` is the account's own id."""
        valid = validate_registration(registration)
        # the unique indexes decide; checking first saves a hash, and reports the username before the email
        for field, condition in (
            ("username", User.username_key == valid.username.casefold()),
            ("email", User.email_key == valid.email.casefold()),
        ):
            if await self._store.get(User, condition) is not None:
                raise Duplicate(field)
        moment = now()
        return User(
            id=user_id,
            invitation=invitation_id,
            username=valid.username,
            username_key=valid.username.casefold(),
            email=valid.email,
            email_key=valid.email.casefold(),
            password_hash=await self._passwords.hash(valid.password),
            display_name=valid.display_name,
            time_zone=valid.time_zone,
            time_zone_used=False,
            created_at=moment,
            updated_at=moment,
        )

    async def _insert(self, user: User) -> None:
        """Insert an account.

        Raises:
            Forbidden: Another account has the invitation.
            Duplicate: Another account has the username or the email.
        """
        try:
            await self._store.insert(user)
        except DuplicateDocument as error:
            if error.field == "invitation":
                raise create_invitation_error() from None
            # if it is the id, an interrupted attempt has inserted the account, with the same username
            raise Duplicate(UNIQUE_FIELDS.get(error.field, "username")) from None

    async def _find_created(self, idempotent_id: ObjectId) -> User | None:
        """Return the account that an earlier attempt of a registration created.

        Raises:
            Gone: The account has been deleted since.
        """
        # a write, because an isolated MongoDB member can return data that is rolled back later
        created = await self._store.update(User, User.id == idempotent_id, changes={})
        if created is None and await self._store.get(ClosedAccount, ClosedAccount.id == idempotent_id) is not None:
            raise Gone("this account was created and has been deleted since")
        return created
