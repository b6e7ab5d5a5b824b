"""Client addresses in canonical form, for rate limits, sessions and logs."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from litestar.types import Scope

UNKNOWN: Final = "unknown"
"""The address of a client on a connection without addresses, such as a Unix socket."""
SUBSCRIBER_PREFIX: Final = 64
"""The longest IPv6 prefix that a provider assigns to a subscriber, in bits."""
SITE_PREFIX: Final = 48
"""The shortest IPv6 prefix that a provider assigns to a site or tunnel, in bits."""


def get_client_address(scope: Scope) -> str:
    """Return the client's address, without a scope id. An IPv4-mapped IPv6 address becomes its IPv4 address.

    Behind trusted proxies (`TRUSTED_PROXIES`), this is the address that they forward (see `web.proxies`).
    """
    client = scope.get("client")
    return canonicalize_address(client[0]) if client else UNKNOWN


def get_client_network(scope: Scope, prefix: int = SUBSCRIBER_PREFIX) -> str:
    """Return the key under which limits count the client: its IPv4 address or its IPv6 network.

    Args:
        scope: The ASGI scope of the request.
        prefix: The prefix length of IPv6 networks, in bits.
    """
    return to_network(get_client_address(scope), prefix)


@lru_cache(4096)
def canonicalize_address(text: str) -> str:
    """Return the canonical form of an IP address. Other text is returned unchanged."""
    if ":" not in text:
        return text
    try:
        address = ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return text
    return str(address.ipv4_mapped or address)


@lru_cache(4096)
def to_network(address: str, prefix: int = SUBSCRIBER_PREFIX) -> str:
    """Return the key under which limits count an address (see `get_client_network`)."""
    address = canonicalize_address(address)
    try:
        return str(ipaddress.IPv6Network((address, prefix), strict=False).network_address)
    except ValueError:
        return address
