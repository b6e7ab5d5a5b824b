"""Event tickets: a browser's `EventSource` cannot send an `Authorization` header, so the URL contains a ticket.

A ticket is sealed and not stored. Using it stores its id, which makes a second use fail on every replica.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from odmantic import ObjectId

from todo_service.accounts.documents import UsedTicket
from todo_service.bounds.events import TICKET_SECONDS
from todo_service.errors import Unauthenticated
from todo_service.security.caller import Caller
from todo_service.security.sealing import KeyRing
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.timestamps import now

_NEVER: Final = 2**53
_KEPT: Final = timedelta(seconds=2 * TICKET_SECONDS)
"""How long the id of a used ticket is stored."""


class _Ticket(msgspec.Struct, array_like=True, frozen=True):
    id: bytes
    account: bytes
    session: bytes
    expires: float


class Tickets:
    """Issues and redeems event tickets.

    Args:
        store: The store.
        keys: The secret keys, at least 32 bytes each. The first one seals; all of them verify.
    """

    def __init__(self, store: DocumentStore, keys: Sequence[bytes]) -> None:
        self._store = store
        self._keys = KeyRing(keys, "event tickets")

    def issue(self, caller: Caller, now: datetime) -> str:
        """Return a ticket for one stream, which ends with the session of the caller."""
        expires = now.timestamp() + TICKET_SECONDS
        ticket = _Ticket(ObjectId().binary, caller.user_id.binary, caller.session_id.binary, expires)
        return self._keys.seal_text(msgspec.msgpack.encode(ticket))

    async def redeem(self, text: str) -> Caller:
        """Use a ticket, and return the caller that it was issued to. The session may have ended since.

        Raises:
            Unauthenticated: The ticket is malformed or expired, or has been used.
        """
        try:
            ticket = msgspec.msgpack.decode(self._keys.open_text(text), type=_Ticket)
        except (ValueError, msgspec.DecodeError):
            raise Unauthenticated("the ticket is not valid", "invalid_token") from None
        if ticket.expires <= time.time():
            raise Unauthenticated("the ticket has expired", "invalid_token")
        try:
            await self._store.insert(UsedTicket(id=ObjectId(ticket.id), expires_at=now() + _KEPT))
        except DuplicateDocument:
            raise Unauthenticated("the ticket has been used", "invalid_token") from None
        return Caller(ObjectId(ticket.account), ObjectId(ticket.session), _NEVER)
