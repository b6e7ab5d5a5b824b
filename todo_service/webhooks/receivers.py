"""Checks the receivers of webhooks: when a URL is set, and again before each attempt."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import NamedTuple

from todo_service.bounds.webhooks import RESOLUTION_SECONDS
from todo_service.webhooks.addresses import AddressPolicy
from todo_service.webhooks.resolver import Resolver
from todo_service.webhooks.urls import Target, parse_url

NOT_PUBLIC = "Expected a host with public addresses only"


class AddressRefusedError(Exception):
    """The host has an address that is not allowed."""


class Receiver(NamedTuple):
    """A receiver that has passed the checks.

    Attributes:
        target: The parsed URL.
        addresses: The checked addresses of its host. Connect to these only: the name may resolve to others next time.
    """

    target: Target
    addresses: list[str]


class Receivers:
    """Checks the URLs of receivers.

    Args:
        policy: Decides which addresses are allowed.
        allow_http: Whether `http` is allowed besides `https`.
        resolver: Resolves the names of URLs that are set.
    """

    def __init__(self, policy: AddressPolicy, *, allow_http: bool, resolver: Resolver) -> None:
        self._policy = policy
        self._allow_http = allow_http
        self._resolver = resolver

    async def check(self, url: str) -> None:
        """Check a URL when it is set. A name that cannot be resolved at present is accepted, unless it is a local name.

        Raises:
            ValueError: The URL is malformed, or leads to an address that is not allowed. The message is for the client.
        """
        target = parse_url(url, allow_http=self._allow_http)
        try:
            async with asyncio.timeout(RESOLUTION_SECONDS):
                addresses = await _resolve(target.host, self._resolver)
        except (OSError, TimeoutError):
            addresses = []
        if not self._policy.allows(target.host, addresses):
            raise ValueError(NOT_PUBLIC)

    async def resolve(self, url: str, resolver: Resolver) -> Receiver:
        """Parse a URL, resolve its name once, and check every address.

        Raises:
            ValueError: The URL is malformed or no longer allowed.
            AddressRefusedError: An address is not allowed.
            OSError: The name cannot be resolved.
        """
        target = parse_url(url, allow_http=self._allow_http)
        try:
            addresses = await _resolve(target.host, resolver)
        except OSError:
            if not self._policy.allows(target.host, []):
                raise AddressRefusedError from None
            raise
        if not self._policy.allows(target.host, addresses):
            raise AddressRefusedError
        if not addresses:
            raise OSError("the name has no addresses")
        return Receiver(target, addresses)


async def _resolve(host: str, resolver: Resolver) -> list[str]:
    try:
        return [str(ip_address(host))]
    except ValueError:
        return await resolver.resolve(host)
