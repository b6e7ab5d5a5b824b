"""Makes a single attempt to send a delivery to its receiver.

The name in the URL is resolved once, every address is checked, and the connection is made to a checked address, with
the name in `Host` and in TLS. Redirects are not followed, and the proxy variables of the environment are ignored.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Final, NamedTuple

import httpx

from todo_service import __version__
from todo_service.bounds.webhooks import (
    ATTEMPT_SECONDS,
    CONCURRENT_ATTEMPTS,
    CONCURRENT_SLOW_ATTEMPTS,
    RESPONSE_BYTES,
)
from todo_service.webhooks.receivers import AddressRefusedError, Receiver, Receivers
from todo_service.webhooks.resolver import Resolver

LONGEST_RETRY_AFTER: Final = timedelta(days=1)
_CONNECT_SECONDS: Final = 5.0
_TRIED_ADDRESSES: Final = 3
_BODY_SECONDS: Final = 1.0
"""How long to wait for the body of a response. Its content has no meaning."""
_USER_AGENT: Final = f"todo-service/{__version__}"


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


class Lane:
    """A share of the concurrent attempts, with its own resolver.

    Receivers whose last attempt failed or was slow share a lane, so that they cannot delay the others.

    Args:
        attempts: The number of concurrent attempts.
        resolver: Resolves the names of receivers.
    """

    def __init__(self, attempts: int, resolver: Resolver) -> None:
        self.slots = asyncio.Semaphore(attempts)
        self.resolver = resolver


class Sender:
    """Sends deliveries.

    Args:
        receivers: Checks the receivers.
        create_resolver: Creates the resolver of a lane.
        tls: Creates the TLS context on first use; by default one that verifies certificates.
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
        self._seconds = seconds
        self._fast = Lane(CONCURRENT_ATTEMPTS, create_resolver())
        self._slow = Lane(CONCURRENT_SLOW_ATTEMPTS, create_resolver())

    async def send(self, url: str, headers: Mapping[str, str], body: bytes, *, slow: bool) -> AttemptOutcome:
        """Wait for a free slot, then make an attempt.

        Args:
            url: The URL of the receiver.
            headers: The headers that sign the delivery.
            body: The body.
            slow: Whether the receiver's last attempt failed or was slow.
        """
        lane = self._slow if slow else self._fast
        async with lane.slots:
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
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.HTTPError as error:
                return AttemptOutcome(error=_describe(error))
        try:
            return await self._post(receiver, last, headers, body)
        except httpx.HTTPError as error:
            return AttemptOutcome(error=_describe(error))

    async def _post(self, receiver: Receiver, address: str, headers: Mapping[str, str], body: bytes) -> AttemptOutcome:
        """Send a request to a checked address.

        Raises:
            httpx.HTTPError: There was no response.
        """
        target = receiver.target
        host = f"[{address}]" if ":" in address else address
        request = httpx.Request(
            "POST",
            httpx.URL(scheme=target.scheme, host=host.strip("[]"), port=target.port, raw_path=target.path.encode()),
            headers={
                "Host": target.authority,
                "User-Agent": _USER_AGENT,
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Connection": "close",
                "Content-Type": "application/json",
                **headers,
            },
            content=body,
            extensions={
                "sni_hostname": target.host,
                "timeout": httpx.Timeout(self._seconds, connect=_CONNECT_SECONDS).as_dict(),
            },
        )
        # unlike a client, a transport uses no redirects, cookies or proxies; a new one shares no connection
        context = self._tls if target.scheme == "https" else _NO_TLS
        async with httpx.AsyncHTTPTransport(verify=context, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                await _read_start(response)
            finally:
                await response.aclose()
        return AttemptOutcome(response.status_code, retry_after=_parse_retry_after(response.headers.get("retry-after")))

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._create_tls()


_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A context that trusts no certificate, for requests without TLS. Loading certificates would be slow."""


async def _read_start(response: httpx.Response) -> None:
    """Read the first `RESPONSE_BYTES` of the body, so that most receivers finish their response. The rest is not
    read."""
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size >= RESPONSE_BYTES:
                    return
    except (TimeoutError, httpx.HTTPError):
        return  # the status has arrived, and determines the outcome


def _describe(error: httpx.HTTPError) -> str:
    """Return why there was no response, without details of the network."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the certificate of the receiver is not valid"
        if isinstance(cause, ssl.SSLError):
            return "the TLS connection failed"
        cause = cause.__cause__ or cause.__context__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return "the connection to the receiver failed"
        case httpx.RemoteProtocolError():
            return "the receiver closed the connection, or its response was not valid HTTP"
        case _:
            return "the connection to the receiver broke"


def _parse_retry_after(value: str | None) -> timedelta | None:
    """Return the delay in a `Retry-After` header (RFC 9110, section 10.2.3), at most `LONGEST_RETRY_AFTER`."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(timedelta(), min(moment - datetime.now(UTC), LONGEST_RETRY_AFTER))
