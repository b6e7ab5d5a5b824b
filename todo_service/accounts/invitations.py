"""Invitations: while `REGISTRATION` is `invite`, each admits one registration.

The account stores the id of its invitation under a unique index. Inserting the account therefore decides which of
several concurrent registrations uses the invitation. A registration that fails, because a name is taken or because the
service crashes, leaves the invitation unused. Deleting the invitation after the registration is only cleanup: if that
fails, the account still blocks the invitation until it expires.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec
import structlog
from odmantic import ObjectId

from todo_service.accounts.documents import Invitation, User
from todo_service.api_types import redacted_repr
from todo_service.errors import Forbidden
from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable
from todo_service.timestamps import now

_SECRET_BYTES: Final = 24
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_ID_BYTES: Final = 12
logger = structlog.get_logger(__name__)

Registration = Literal["open", "invite", "closed"]
"""Who may register: everybody, those with an invitation, or nobody."""


class NewInvitation(NamedTuple):
    """A new invitation.

    Attributes:
        text: The invitation, which is shown only once.
        expires_at: When it expires.
    """

    text: str
    expires_at: datetime

    def __repr__(self) -> str:
        return redacted_repr(self, "text")


class _UserId(msgspec.Struct, frozen=True):
    id: str


class Invitations:
    """Creates invitations, and admits registrations.

    Args:
        store: The document store.
        registration: Who may register.
    """

    def __init__(self, store: DocumentStore, registration: Registration) -> None:
        self._store = store
        self._registration = registration

    async def create(self, lifetime: timedelta) -> NewInvitation:
        """Create an invitation for one registration within its lifetime."""
        text = secrets.token_urlsafe(_SECRET_BYTES)
        digest = _hash(text)
        moment = now()
        invitation = Invitation(
            id=_derive_id(digest), secret_hash=digest, created_at=moment, expires_at=moment + lifetime
        )
        await self._store.insert(invitation)
        return NewInvitation(text, invitation.expires_at)

    async def admit(self, text: str | None) -> ObjectId | None:
        """Admit a registration. At most two calls to the store, and none unless `REGISTRATION` is `invite`.

        Args:
            text: The invitation; None or empty if there is none. It is ignored while registration is open.

        Returns:
            The id of the invitation to store in the account, or None if registration is open.

        Raises:
            Forbidden: Registration is closed, or the invitation is missing or not valid.
        """
        match self._registration:
            case "open":
                return None
            case "closed":
                raise Forbidden("registration is closed")
        if not (text := (text or "").strip()):
            raise Forbidden("registration requires an invitation")
        if not _TEXT.fullmatch(text):
            raise create_invitation_error()
        digest = _hash(text)
        invitation_id = _derive_id(digest)
        found = await self._store.get(Invitation, Invitation.id == invitation_id, Invitation.expires_at > now())
        if found is None or not hmac.compare_digest(found.secret_hash, digest):
            raise create_invitation_error()
        # an account has used the invitation, but deleting it failed
        if await self._store.get(User, User.invitation == invitation_id, into=_UserId) is not None:
            raise create_invitation_error()
        return invitation_id

    async def discard(self, invitation_id: ObjectId) -> None:
        """Delete an invitation that an account has been registered with."""
        try:
            await self._store.delete(Invitation, Invitation.id == invitation_id)
        except StoreUnavailable as error:
            # the account blocks it until it expires
            logger.warning("failed to delete a used invitation", reason=str(error))


def create_invitation_error() -> Forbidden:
    """Return the error for an invitation that is unknown, expired or used."""
    return Forbidden("the invitation is not valid, or has expired or been used")


def _hash(text: str) -> bytes:
    # it has 192 random bits, so a single SHA-256 is enough
    return hashlib.sha256(text.encode()).digest()


def _derive_id(digest: bytes) -> ObjectId:
    return ObjectId(digest[:_ID_BYTES])
