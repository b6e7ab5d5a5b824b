"""Invitations: while `REGISTRATION` is `invite`, each admits one registration.

A registration uses its invitation in three writes:

1. It claims the invitation: a compare-and-set stores the id of the account that it is about to create. One of several
   concurrent registrations succeeds, and none can once the invitation has been deleted.
2. It inserts the account, which stores the id of the invitation under a unique index.
3. It deletes the invitation.

* If the insert fails because a name is taken, the registration releases the claim.
* If the service crashes before the insert, another registration can take over the claim after
  `INVITATION_CLAIM_SECONDS`. A repeat with the same `Idempotency-Key` can do so at once, because it creates an account
  with the same id.
* If the service crashes after the insert, the account shows that the invitation has been used.

Deleting an account deletes its invitation first. Once an account has been created, its invitation is therefore either
deleted or blocked by the account.

If an insert takes longer than `INVITATION_CLAIM_SECONDS`, another registration may take over the claim meanwhile. The
unique index then admits only one of the two accounts, unless the other has been deleted by then.
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
from todo_service.bounds.accounts import INVITATION_CLAIM_SECONDS
from todo_service.errors import Forbidden
from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable
from todo_service.timestamps import now

_SECRET_BYTES: Final = 24
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_ID_BYTES: Final = 12
CLAIM_PERIOD: Final = timedelta(seconds=INVITATION_CLAIM_SECONDS)
"""How long a claim of an account that has not been created blocks the invitation. It is longer than a registration
usually takes, even if the clocks of two processes differ."""
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

    async def admit(self, text: str | None, user_id: ObjectId) -> Invitation | None:
        """Admit a registration. At most two calls to the store, and none unless `REGISTRATION` is `invite`.

        Args:
            text: The invitation; None or empty if there is none. It is ignored while registration is open.
            user_id: The id of the account to be created.

        Returns:
            The invitation to claim before the account is created, or None if registration is open.

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
        moment = now()
        found = await self._store.get(Invitation, Invitation.id == invitation_id, Invitation.expires_at > moment)
        if found is None or not hmac.compare_digest(found.secret_hash, digest):
            raise create_invitation_error()
        if found.claimed_by not in (None, user_id) and _is_recent(found.claimed_at, moment):
            raise create_invitation_error()
        # an account has used the invitation, but deleting it failed
        if await self._store.get(User, User.invitation == invitation_id, into=_UserId) is not None:
            raise create_invitation_error()
        return found

    async def claim(self, invitation: Invitation, user_id: ObjectId) -> None:
        """Claim an invitation for an account that is inserted next.

        Args:
            invitation: The invitation, as `admit` returned it.
            user_id: The id of the account.

        Raises:
            Forbidden: Another registration has claimed or used the invitation meanwhile.
        """
        claimed = await self._store.update(
            Invitation,
            Invitation.id == invitation.id,
            Invitation.claimed_by == invitation.claimed_by,
            Invitation.claimed_at == invitation.claimed_at,
            changes={"claimed_by": user_id, "claimed_at": now()},
        )
        if claimed is not None:
            return
        found = await self._store.get(Invitation, Invitation.id == invitation.id)
        # an interrupted attempt of the same registration may have claimed it for the same account
        if found is None or found.claimed_by != user_id:
            raise create_invitation_error()

    async def release(self, invitation_id: ObjectId, user_id: ObjectId) -> None:
        """Release the claim of an account that could not be created."""
        try:
            await self._store.update(
                Invitation,
                Invitation.id == invitation_id,
                Invitation.claimed_by == user_id,
                changes={"claimed_by": None, "claimed_at": None},
            )
        except StoreUnavailable as error:
            # another registration can take the claim over later
            logger.warning("failed to release an invitation", reason=str(error))

    async def discard(self, invitation_id: ObjectId) -> None:
        """Delete an invitation that an account has been registered with."""
        try:
            await self._store.delete(Invitation, Invitation.id == invitation_id)
        except StoreUnavailable as error:
            # the account blocks the invitation until the invitation expires
            logger.warning("failed to delete a used invitation", reason=str(error))


def create_invitation_error() -> Forbidden:
    """Return the error for an invitation that is unknown, expired or used."""
    return Forbidden("the invitation is not valid, or has expired or been used")


def _is_recent(claimed_at: datetime | None, moment: datetime) -> bool:
    return claimed_at is not None and claimed_at > moment - CLAIM_PERIOD


def _hash(text: str) -> bytes:
    # it has 192 random bits, so a single SHA-256 is enough
    return hashlib.sha256(text.encode()).digest()


def _derive_id(digest: bytes) -> ObjectId:
    return ObjectId(digest[:_ID_BYTES])
