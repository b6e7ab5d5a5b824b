"""Bearer tokens: the access tokens of sessions, and API keys."""

from __future__ import annotations

from todo_service.accounts.api_keys import API_KEY_PREFIX, ApiKeys
from todo_service.accounts.sessions import Sessions
from todo_service.security.caller import Caller


class Credentials:
    """Verifies bearer tokens of both kinds. Implements `security.caller.Credentials`.

    Args:
        sessions: Verifies access tokens.
        api_keys: Verifies API keys.
    """

    def __init__(self, sessions: Sessions, api_keys: ApiKeys) -> None:
        self._sessions = sessions
        self._api_keys = api_keys

    def identify(self, token: str) -> Caller | None:
        """Return the caller a token was issued to, without a call to the store. It may have been revoked since.

        Returns:
            The caller, or None for an API key that is not cached: only the store can tell.

        Raises:
            Unauthenticated: The token is invalid, expired, or known to be revoked.
        """
        return self._api_keys.identify(token) if token.startswith(API_KEY_PREFIX) else self._sessions.identify(token)

    async def authenticate(self, token: str) -> Caller:
        """Return the caller of a token. Calls the store unless the result is cached.

        Raises:
            Unauthenticated: The token is invalid, expired or revoked.
        """
        if token.startswith(API_KEY_PREFIX):
            return await self._api_keys.authenticate(token)
        return await self._sessions.authenticate(token)

    async def require_alive(self, caller: Caller, token: str) -> None:
        """Check that the session or the API key of a caller has not been revoked.

        An access token that has expired since the request began is accepted.

        Args:
            caller: The caller that was authenticated when the request began.
            token: The token that the request carries.

        Raises:
            Unauthenticated: It has been revoked.
        """
        if caller.key_scope is None:
            await self._sessions.require_alive(caller.session_id)
        else:
            await self._api_keys.authenticate(token)
