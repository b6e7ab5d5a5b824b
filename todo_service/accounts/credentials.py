"""Bearer tokens: the access tokens of sessions, and API keys."""

from __future__ import annotations

from todo_service.accounts.api_keys import API_KEY_PREFIX, ApiKeys
from todo_service.accounts.sessions import Sessions
from todo_service.security.caller import Caller


class Credentials:
    """Verifies bearer tokens of both kinds. Implements `CredentialVerifier`.

    Args:
        sessions: Verifies access tokens.
        api_keys: Verifies API keys.
    """

    def __init__(self, sessions: Sessions, api_keys: ApiKeys) -> None:
        self._sessions = sessions
        self._api_keys = api_keys

    def identify(self, token: str) -> Caller | None:
        """See `CredentialVerifier.identify`."""
        return self._api_keys.identify(token) if token.startswith(API_KEY_PREFIX) else self._sessions.identify(token)

    async def authenticate(self, token: str) -> Caller:
        """See `CredentialVerifier.authenticate`."""
        if token.startswith(API_KEY_PREFIX):
            return await self._api_keys.authenticate(token)
        return await self._sessions.authenticate(token)

    async def require_alive(self, caller: Caller, token: str) -> None:
        """See `CredentialVerifier.require_alive`."""
        if caller.key_scope is None:
            await self._sessions.require_alive(caller.session_id)
        else:
            await self._api_keys.authenticate(token)
