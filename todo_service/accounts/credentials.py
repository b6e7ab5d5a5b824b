"""Bearer tokens of either kind: the access tokens of sessions and the secrets of API keys."""

from __future__ import annotations

from todo_service.accounts.api_keys import MARK, ApiKeys
from todo_service.accounts.sessions import Sessions
from todo_service.security.caller import Caller


class Credentials:
    """Tells who a bearer token speaks for.

    Args:
        sessions: Knows access tokens.
        api_keys: Knows API keys.
    """

    def __init__(self, sessions: Sessions, api_keys: ApiKeys) -> None:
        self._sessions = sessions
        self._api_keys = api_keys

    def identify(self, token: str) -> Caller | None:
        """Return who a token was issued to, without asking the store; it may have been ended since.

        Returns:
            The caller, or None for an API key that this process has not seen yet: only the store can tell.

        Raises:
            Unauthenticated: it is no token of ours, or known to have expired or ended.
        """
        return self._api_keys.identify(token) if token.startswith(MARK) else self._sessions.identify(token)

    async def authenticate(self, token: str) -> Caller:
        """Return who a token speaks for. The store is asked where that is not remembered.

        Raises:
            Unauthenticated: it is no token of ours, or has expired or ended.
        """
        if token.startswith(MARK):
            return await self._api_keys.authenticate(token)
        return await self._sessions.authenticate(token)

    async def require_alive(self, caller: Caller, token: str) -> None:
        """Return if the session or the API key of a caller has not ended, even where an access token has expired since.

        Args:
            caller: Who was authenticated when the request began.
            token: The token that was sent.

        Raises:
            Unauthenticated: it has ended.
        """
        if caller.key_scope is None:
            await self._sessions.require_alive(caller.session_id)
        else:
            await self._api_keys.authenticate(token)
