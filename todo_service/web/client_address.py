"""The address of a client, in one canonical form for limits, sessions and logs."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from litestar.types import Scope

UNKNOWN: Final = "unknown"
"""The address of a client that the server does not know, as on a Unix socket."""
SUBSCRIBER_PREFIX: Final = 64
"""The length of the IPv6 prefix that one subscriber has at least, in bits."""
SITE_PREFIX: Final = 48
"""The length of the IPv6 prefix that one site or tunnel has at most, in bits."""


def client_address(scope: Scope) -> str:
    """Return the client's address: IPv4 also where it is mapped into IPv6, without a scope id.

    `TRUSTED_PROXIES` decides which proxies may name the client (`web.proxies`).
    """
    client = scope.get("client")
    return canonical_address(client[0]) if client else UNKNOWN


def client_network(scope: Scope, prefix: int = SUBSCRIBER_PREFIX) -> str:
    """Return what the client is counted by: its IPv4 address, or the IPv6 network that it is in.

    Args:
        scope: The ASGI scope of the request.
        prefix: The length of an IPv6 network, in bits.
    """
    return to_network(client_address(scope), prefix)


@lru_cache(4096)
def canonical_address(text: str) -> str:
    """Return the canonical form of an address; text that is no IP address is returned as it is."""
    if ":" not in text:
        return text
    try:
        address = ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return text
    return str(address.ipv4_mapped or address)


@lru_cache(4096)
def to_network(address: str, prefix: int = SUBSCRIBER_PREFIX) -> str:
    """Return what an address is counted by, as `client_network` does."""
    address = canonical_address(address)
    try:
        return str(ipaddress.IPv6Network((address, prefix), strict=False).network_address)
    except ValueError:
        return address
