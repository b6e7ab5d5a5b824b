"""Makes a single attempt to send a delivery to its receiver.

The name in the URL is resolved once, every address is checked, and the connection is made to a checked address, with
the name in `Host` and in TLS. Redirects are not followed, and proxy environment variables are ignored.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

import httpcore
import httpx
from odmantic import ObjectId

from todo_service import __version__
from todo_service.bounds.webhooks import (
    ATTEMPT_SECONDS,
    CONCURRENT_FIRST_ATTEMPTS,
    CONCURRENT_QUICK_ATTEMPTS,
    CONCURRENT_SLOW_ATTEMPTS,
    RESPONSE_BYTES,
    RESPONSE_HEAD_BYTES,
)
from todo_service.webhooks.lanes import Lane, Speed
from todo_service.webhooks.network import Allowance, BoundedBackend
from todo_service.webhooks.receivers import AddressRefusedError, Receiver, Receivers
from todo_service.webhooks.resolver import Resolver

LONGEST_RETRY_AFTER: Final = timedelta(days=1)
_CONCURRENT_ATTEMPTS: Final = {
    Speed.UNKNOWN: CONCURRENT_FIRST_ATTEMPTS,
    Speed.QUICK: CONCURRENT_QUICK_ATTEMPTS,
    Speed.SLOW: CONCURRENT_SLOW_ATTEMPTS,
}
_CONNECT_SECONDS: Final = 5.0
_TRIED_ADDRESSES: Final = 3
_BODY_SECONDS: Final = 1.0
"""How long to wait for the body of a response. Its content has no meaning."""
_USER_AGENT: Final = f"todo-service/{__version__}"
_NO_RESPONSE: Final = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError)
_NOT_CONNECTED: Final = (httpcore.ConnectError, httpcore.ConnectTimeout)


class AttemptOutcome(NamedTuple):
    """The outcome of an attempt: a status code or an error.

    Attributes:
        status_code: The status code of the response.
        error: Why there was no response.
        retry_after: The delay until the next attempt that the receiver asks for.
    """

    status_code: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has accepted the delivery."""
        return self.status_code is not None and 200 <= self.status_code < 300


class Sender:
    """Sends deliveries.

    Args:
        receivers: Checks the receivers.
        create_resolver: Creates the resolver of a lane.
        tls: Creates the TLS context in a thread, on first use; by default one that verifies certificates.
        seconds: The timeout of an attempt, in seconds.
    """

    def __init__(
        self,
        receivers: Receivers,
        create_resolver: Callable[[], Resolver] = Resolver,
        tls: Callable[[], ssl.SSLContext] = httpx.create_ssl_context,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._receivers = receivers
        self._create_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._tls_lock = asyncio.Lock()
        self._seconds = seconds
        self._lanes = {speed: Lane(attempts, create_resolver()) for speed, attempts in _CONCURRENT_ATTEMPTS.items()}

    @asynccontextmanager
    async def enter_lane(self, account: ObjectId, speed: Speed) -> AsyncIterator[Lane]:
        """Hold a slot of a lane for the duration of a block.

        The wait may be long, so read the delivery inside the block.

        Args:
            account: The account of the webhook.
            speed: The speed of its receiver.
        """
        lane = self._lanes[speed]
        async with lane.enter(account):
            yield lane

    async def send(self, lane: Lane, url: str, headers: Mapping[str, str], body: bytes) -> AttemptOutcome:
        """Make an attempt.

        Args:
            lane: A lane that the caller has entered.
            url: The URL of the receiver.
            headers: The headers that sign the delivery.
            body: The body.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(url, headers, body, lane.resolver)
        except TimeoutError:
            return AttemptOutcome(error=f"the receiver did not respond within {self._seconds:g} s")

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes, resolver: Resolver) -> AttemptOutcome:
        try:
            receiver = await self._receivers.resolve(url, resolver)
        except (AddressRefusedError, ValueError):
            return AttemptOutcome(error="the URL or an address of its host is not allowed")
        except OSError:
            return AttemptOutcome(error="the name cannot be resolved")
        *others, last = receiver.addresses[:_TRIED_ADDRESSES]
        for address in others:
            try:
                return await self._post(receiver, address, headers, body)
            except _NOT_CONNECTED:
                continue
            except _NO_RESPONSE as error:
                return AttemptOutcome(error=_describe(error))
        try:
            return await self._post(receiver, last, headers, body)
        except _NO_RESPONSE as error:
            return AttemptOutcome(error=_describe(error))

    async def _post(self, receiver: Receiver, address: str, headers: Mapping[str, str], body: bytes) -> AttemptOutcome:
        """Send a request to a checked address.

        Raises:
            *_NO_RESPONSE: There was no response.
        """
        target = receiver.target
        fields = {
            "Host": target.authority,
            "User-Agent": _USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }
        request = httpcore.Request(
            "POST",
            httpcore.URL(scheme=target.scheme, host=address, port=target.port, target=target.path),
            headers=[(name.encode(), value.encode()) for name, value in fields.items()],
            content=body,
            extensions={
                "sni_hostname": target.host,
                "timeout": httpx.Timeout(self._seconds, connect=_CONNECT_SECONDS).as_dict(),
            },
        )
        context = await self._get_tls() if target.scheme == "https" else _NO_TLS
        allowance = Allowance(RESPONSE_HEAD_BYTES)
        # a pool of its own, so that no connection is shared; it follows no redirects and knows no cookies or proxies
        async with httpcore.AsyncConnectionPool(context, network_backend=BoundedBackend(allowance)) as pool:
            response = await pool.handle_async_request(request)
            allowance.left = RESPONSE_BYTES
            try:
                await _read_start(response)
            finally:
                await response.aclose()
        retry_after = next((value for name, value in response.headers if name.lower() == b"retry-after"), None)
        return AttemptOutcome(response.status, retry_after=_parse_retry_after(retry_after))

    async def _get_tls(self) -> ssl.SSLContext:
        """Return the TLS context, which is created once. A thread loads its certificates."""
        async with self._tls_lock:
            if self._tls is None:
                self._tls = await asyncio.to_thread(self._create_tls)
            return self._tls


_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A context that trusts no certificate, for requests without TLS. Loading certificates would be slow."""


async def _read_start(response: httpcore.Response) -> None:
    """Read the first `RESPONSE_BYTES` of the body, so that most receivers finish their response. The rest is not
    read."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for _ in response.aiter_stream():
                pass
    except (TimeoutError, *_NO_RESPONSE):
        return  # the status has arrived, and determines the outcome


def _describe(error: Exception) -> str:
    """Return why there was no response, without details of the network."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the certificate of the receiver is not valid"
        if isinstance(cause, ssl.SSLError):
            return "the TLS connection failed"
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpcore.ConnectError() | httpcore.ConnectTimeout():
            return "the connection to the receiver failed"
        case httpcore.RemoteProtocolError():
            return "the receiver closed the connection, or its response was too large or not valid HTTP"
        case _:
            return "the connection to the receiver broke"


def _parse_retry_after(value: bytes | None) -> timedelta | None:
    """Return the delay in a `Retry-After` header (RFC 9110, section 10.2.3), at most `LONGEST_RETRY_AFTER`."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(timedelta(), min(moment - datetime.now(UTC), LONGEST_RETRY_AFTER))
