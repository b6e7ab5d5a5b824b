"""The caller of a request, and the interface that verifies its bearer token."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec
from odmantic import ObjectId


class Caller(msgspec.Struct, frozen=True):
    """The account that makes a request, as stated by its credential.

    Attributes:
        user_id: The id of the account.
        session_id: The id of the session or the API key that the token belongs to.
        expires: When the token expires, in seconds since the epoch.
        key_scope: The scope of an API key; None for a session, which has no restrictions.
    """

    user_id: ObjectId
    session_id: ObjectId
    expires: int
    key_scope: Literal["read", "write"] | None = None


class CredentialVerifier(Protocol):
    """Verifies bearer tokens. `accounts.credentials` implements it."""

    def identify(self, token: str) -> Caller | None:
        """Return the caller a token was issued to, without a call to the store. It may have been revoked since.

        Returns:
            The caller, or None if only the store can tell.

        Raises:
            Unauthenticated: The token is invalid, expired, or known to be revoked.
        """

    async def authenticate(self, token: str) -> Caller:
        """Return the caller of a token. Calls the store unless the result is cached.

        Raises:
            Unauthenticated: The token is invalid, expired or revoked.
        """

    async def require_alive(self, caller: Caller, token: str) -> None:
        """Check that the session or the API key of a caller has not been revoked.

        An access token that has expired since the request began is accepted.

        Args:
            caller: The caller that was authenticated when the request began.
            token: The token that the request carries.

        Raises:
            Unauthenticated: It has been revoked.
        """
