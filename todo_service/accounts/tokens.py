"""Access tokens (JWT, RFC 7519, HS256) and refresh tokens.

All keys are derived from the service's secret keys, one for each purpose. The first secret signs; the others, from
before a rotation, still verify.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import jwt
from bson.errors import InvalidId
from odmantic import ObjectId

from todo_service.errors import Unauthenticated
from todo_service.fields import redacted_repr
from todo_service.security.caller import Caller

ISSUER: Final = "todo-service"
AUDIENCE: Final = "todo-service"
_ALGORITHM: Final = "HS256"
_SECRET_BYTES: Final = 32
_SEAL_BYTES: Final = 16
_ID_BYTES: Final = 12


class AccessTokens:
    """Issues and verifies access tokens.

    Args:
        keys: The secret keys, 32 bytes or more each, the signing one first.
        lifetime: Seconds that a token is good for.
    """

    def __init__(self, keys: Sequence[bytes], lifetime: int) -> None:
        derived = [hmac.digest(key, b"todo-service access tokens", "sha256") for key in keys]
        self._keys = {hashlib.sha256(key).hexdigest()[:16]: key for key in derived}
        self._signing_id = next(iter(self._keys))
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
        """Return whom a token was issued for.

        Raises:
            Unauthenticated: it is not ours, altered or expired.
        """
        try:
            key = self._keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                # replicas' clocks differ, and clocks are set: a token from a moment ahead is good
                options={"require": ["sub", "sid", "iat", "exp", "jti", "iss", "aud"], "verify_iat": False},
            )
            return Caller(ObjectId(claims["sub"]), ObjectId(claims["sid"]), int(claims["exp"]))
        except (jwt.InvalidTokenError, InvalidId, KeyError, TypeError, ValueError) as error:
            expired = isinstance(error, jwt.ExpiredSignatureError)
            message = "the access token has expired" if expired else "the access token is not valid"
            raise Unauthenticated(message, "invalid_token") from None


class RefreshToken(NamedTuple):
    """A refresh token that this service has made.

    Attributes:
        session_id: The session that it renews.
        text: The token as the client has it.
    """

    session_id: ObjectId
    text: str

    def __repr__(self) -> str:
        return redacted_repr(self, "text")

    @property
    def hash(self) -> bytes:
        """What is stored of the token. It is random and long, so one round of SHA-256 is enough."""
        return hashlib.sha256(self.text.encode()).digest()


class RefreshTokens:
    """Makes refresh tokens, and tells those that it made from any other text without asking the store.

    A token is its session's id, a secret of 32 random bytes and a seal (HMAC-SHA256, 16 bytes) over both. So a sealed
    token that is no longer its session's current one is a spent one, and nobody can end a session by guessing.

    Args:
        keys: The secret keys, 32 bytes or more each, the sealing one first.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [hmac.digest(key, b"todo-service refresh tokens", "sha256") for key in keys]

    def first(self, session_id: ObjectId) -> RefreshToken:
        """Return the first token of a session."""
        return self._sealed(self._keys[0], session_id, secrets.token_bytes(_SECRET_BYTES))

    def successors(self, token: RefreshToken, salt: bytes) -> list[RefreshToken]:
        """Return the token that follows, one for each secret key, the present one first.

        Its secret is made from the token and from random bytes that the session remembers, so that a client that
        lost the answer can be given the same successor again, though only hashes are stored.

        Args:
            token: The token that is spent.
            salt: 32 random bytes, made for this one rotation.
        """
        return [
            self._sealed(key, token.session_id, hmac.digest(key, b"successor" + salt + token.text.encode(), "sha256"))
            for key in self._keys
        ]

    def parse(self, text: str) -> RefreshToken | None:
        """Return the token, if this service made it."""
        try:
            raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        if len(raw) != _ID_BYTES + _SECRET_BYTES + _SEAL_BYTES:
            return None
        content, seal = raw[:-_SEAL_BYTES], raw[-_SEAL_BYTES:]
        if not any(hmac.compare_digest(seal, self._seal(key, content)) for key in self._keys):
            return None
        return RefreshToken(ObjectId(content[:_ID_BYTES]), text)

    def _sealed(self, key: bytes, session_id: ObjectId, secret: bytes) -> RefreshToken:
        content = session_id.binary + secret
        return RefreshToken(session_id, base64.urlsafe_b64encode(content + self._seal(key, content)).decode())

    @staticmethod
    def _seal(key: bytes, content: bytes) -> bytes:
        return hmac.digest(key, content, "sha256")[:_SEAL_BYTES]


def refresh_deadline(now: datetime, days: int) -> datetime:
    """Return when a session that is renewed now ends unless it is renewed again."""
    return now + timedelta(days=days)
