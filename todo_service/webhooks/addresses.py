"""The addresses that webhooks may be sent to.

Anyone who can set a URL could otherwise reach services that only this machine or its network can reach (server-side
request forgery). An address is allowed if it is a public unicast address, or if the operator allows its network. The
tables list the special-purpose addresses of IANA's registries, because `ipaddress.is_global` differs between the
releases of Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

_SPECIAL_IPV4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared address space (carrier-grade NAT); metadata of Alibaba Cloud
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # the host of a virtual machine in Azure
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast relays
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
"""The only global unicast addresses. Loopback, unspecified, link-local, unique local, site-local and multicast
addresses lie outside, and so do those that embed an IPv4 address: mapped, compatible, translated and NAT64 ones."""
_SPECIAL_IPV6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, such as Teredo, benchmarks and ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # 6bone
        "3fff::/20",  # documentation
    )
)
_ISATAP: Final = (0x00005EFE, 0x02005EFE)
"""The upper halves of ISATAP interface identifiers, whose lower half is an IPv4 address."""
_LOCAL_NAMES: Final = frozenset(
    ("localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan", "home.arpa")
)
"""Host names and domains that only local networks resolve."""


def is_public(address: Address) -> bool:
    """Return whether an address is a public unicast address that embeds no other address."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    if address.scope_id is not None or address not in _GLOBAL_IPV6:
        return False
    interface = int(address) & (2**64 - 1)
    return not any(address in network for network in _SPECIAL_IPV6) and interface >> 32 not in _ISATAP


def is_local_name(name: str) -> bool:
    """Return whether a name has a single label, or belongs to a local network."""
    labels = name.lower().split(".")
    return len(labels) == 1 or any(".".join(labels[start:]) in _LOCAL_NAMES for start in range(len(labels)))


class AddressPolicy:
    """Decides which addresses webhooks may be sent to.

    Args:
        networks: The networks that are allowed besides public addresses.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(text) for text in networks)

    def allows(self, host: str, addresses: Iterable[str]) -> bool:
        """Return whether webhooks may be sent to a host.

        All of its addresses must be public or in an allowed network; those of a local name must be in allowed networks.
        A name that does not resolve is allowed, unless it is local.

        Args:
            host: The name or the address in the URL.
            addresses: The addresses that it resolves to; none if it does not resolve.
        """
        found = [ip_address(address) for address in addresses]
        if all(self._is_in_networks(address) for address in found) and found:
            return True
        if not _is_address(host) and is_local_name(host):
            return False
        return all(is_public(address) or self._is_in_networks(address) for address in found)

    def _is_in_networks(self, address: Address) -> bool:
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return False
        return any(address in network for network in self._networks if network.version == address.version)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
