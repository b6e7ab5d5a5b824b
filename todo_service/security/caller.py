"""The caller of a request, and the interface by which a bearer token is checked."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
from odmantic import ObjectId


class Caller(msgspec.Struct, frozen=True):
    """The account that makes a request, as its credential states it.

    Attributes:
        user_id: The account.
        session_id: The session, or the API key, that the token belongs to.
        expires: Seconds since the epoch after which the token is no longer valid.
        key_scope: The scope of an API key; None for a session, which may do everything.
    """

    user_id: ObjectId
    session_id: ObjectId
    expires: int
    key_scope: Literal["read", "write"] | None = None


class Credentials(Protocol):
    """Verifies bearer tokens. `accounts.credentials` implements it."""

    def identify(self, token: str) -> Caller | None:
        """Return the caller a token was issued to, without a call to the store. It may have been revoked since.

        Returns:
            The caller, or None if only the store can tell.

        Raises:
            Unauthenticated: The token is invalid, expired, or known to be revoked.
        """

    async def authenticate(self, token: str) -> Caller:
        """Return the caller of a token. The store is asked unless the answer is cached.

        Raises:
            Unauthenticated: The token is invalid, expired or revoked.
        """

    async def require_alive(self, caller: Caller, token: str) -> None:
        """Check that the session or the API key of a caller has not been revoked.

        An access token that has expired since the request began is accepted.

        Args:
            caller: The caller that was authenticated when the request began.
            token: The token that it sent.

        Raises:
            Unauthenticated: It has been revoked.
        """
