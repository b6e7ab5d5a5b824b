"""Access tokens (JWT, RFC 7519, HS256) and refresh tokens.

Both use keys derived from the service's secret keys, a different one for each purpose.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import jwt
from bson.errors import InvalidId
from odmantic import ObjectId

from todo_service.api_types import redacted_repr
from todo_service.errors import Unauthenticated
from todo_service.security.caller import Caller
from todo_service.security.sealing import SEAL_BYTES, KeyRing, compute_mac, seal

ISSUER: Final = "todo-service"
AUDIENCE: Final = "todo-service"
_ALGORITHM: Final = "HS256"
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 12


class AccessTokens:
    """Issues and verifies access tokens.

    Args:
        keys: The secret keys, at least 32 bytes each. The first signs; all verify.
        lifetime: The lifetime of a token, in seconds.
    """

    def __init__(self, keys: Sequence[bytes], lifetime: int) -> None:
        key_ring = KeyRing(keys, "access tokens")
        self._keys = {key_id.hex(): key for key_id, key in key_ring.by_id.items()}
        self._signing_id = key_ring.current_id.hex()
        self.lifetime = lifetime

    def issue(self, user_id: ObjectId, session_id: ObjectId, now: datetime) -> str:
        """Return a new access token for a session."""
        issued = int(now.timestamp())
        claims = {
            "sub": str(user_id),
            "sid": str(session_id),
            "iat": issued,
            "exp": issued + self.lifetime,
            "jti": secrets.token_hex(16),
            "iss": ISSUER,
            "aud": AUDIENCE,
        }
        return jwt.encode(claims, self._keys[self._signing_id], _ALGORITHM, headers={"kid": self._signing_id})

    def verify(self, token: str) -> Caller:
        """Return the caller that a token was issued to.

        Raises:
            Unauthenticated: The token is invalid or expired.
        """
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                # the clocks of replicas differ, so a token may have been issued slightly in the future
                options={"require": ["sub", "sid", "iat", "exp", "jti", "iss", "aud"], "verify_iat": False},
            )
            return Caller(ObjectId(claims["sub"]), ObjectId(claims["sid"]), int(claims["exp"]))
        except (jwt.InvalidTokenError, InvalidId, KeyError, TypeError, ValueError) as error:
            expired = isinstance(error, jwt.ExpiredSignatureError)
            message = "the access token has expired" if expired else "the access token is not valid"
            raise Unauthenticated(message, "invalid_token") from None


class RefreshToken(NamedTuple):
    """A refresh token issued by this service.

    Attributes:
        session_id: The session that the token refreshes.
        text: The token as the client has it.
    """

    session_id: ObjectId
    text: str

    def __repr__(self) -> str:
        return redacted_repr(self, "text")

    @property
    def hash(self) -> bytes:
        """The hash to store. The token has 256 random bits, so a single SHA-256 is enough."""
        return hashlib.sha256(self.text.encode()).digest()


class RefreshTokens:
    """Issues refresh tokens, and recognizes them without a call to the store.

    A token consists of its session's id, a secret of 32 random bytes, and a seal over both. A sealed token that is not
    the current one of its session has therefore been used before, and nobody can end a session by guessing tokens.

    Args:
        keys: The secret keys, at least 32 bytes each. The first seals; all verify.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = KeyRing(keys, "refresh tokens")

    def issue(self, session_id: ObjectId) -> RefreshToken:
        """Return the first token of a session."""
        return _build_token(self._keys.current, session_id, secrets.token_bytes(_SECRET_BYTES))

    def derive_successors(self, token: RefreshToken, salt: bytes) -> list[RefreshToken]:
        """Return the successor of a token under each secret key, the current key first.

        The successor's secret is derived from the token and the salt stored in the session. A client that lost the
        response can therefore get the same successor again, although the service stores only hashes.

        Args:
            token: The token being rotated.
            salt: 32 random bytes, unique to this rotation.
        """
        return [
            _build_token(key, token.session_id, compute_mac(key, b"successor" + salt + token.text.encode()))
            for key in self._keys
        ]

    def parse(self, text: str) -> RefreshToken | None:
        """Return the token, or None if this service did not issue it."""
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        if len(raw) != _ID_BYTES + _SECRET_BYTES + SEAL_BYTES:
            return None
        content, given = raw[:-SEAL_BYTES], raw[-SEAL_BYTES:]
        if not self._keys.verify(content, given):
            return None
        return RefreshToken(ObjectId(content[:_ID_BYTES]), text)


def _build_token(key: bytes, session_id: ObjectId, secret: bytes) -> RefreshToken:
    content = session_id.binary + secret
    return RefreshToken(session_id, base64.urlsafe_b64encode(content + seal(key, content)).decode())


def compute_session_expiry(now: datetime, days: int) -> datetime:
    """Return the expiry of a session that is created or refreshed now.

    Args:
        now: The current time.
        days: The lifetime of a session that is not refreshed, in days.
    """
    return now + timedelta(days=days)
