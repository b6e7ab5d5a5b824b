"""Trusted proxies, and the client's address from `Forwarded` (RFC 7239) and `X-Forwarded-For`.

Each proxy appends the address of its peer. The list is read from the end, past the addresses of trusted proxies; the
first address that is not trusted is the client. An entry that is not an IP address (an obfuscated name, garbage) ends
the search: the proxy that appended it then counts as the client.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from todo_service.bounds.requests import FORWARDED_BYTES, FORWARDED_HOPS

if TYPE_CHECKING:
    from litestar.types import Scope

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = rf'\s*(?:{_WORD}=(?:{_WORD}|"(?:[^"\\]|\\.)*"))?\s*'
_ELEMENT: Final = re.compile(rf"{_PAIR}(?:;{_PAIR})*")
_PAIRS: Final = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")')
_NODE: Final = re.compile(
    r"\[(?P<six>[0-9A-Fa-f:.]+)\](?::\S+)?|(?P<four>\d{1,3}(?:\.\d{1,3}){3})(?::\S+)?|(?P<bare>[0-9A-Fa-f:.]+)"
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The trusted proxies.

    Args:
        trusted: Their addresses or networks.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(text) for text in trusted]

    def is_peer_trusted(self, scope: Scope) -> bool:
        """Return whether the peer of a request's connection is a trusted proxy."""
        return self._find_proxy(scope) is not None

    def resolve_client(self, scope: Scope) -> str | None:
        """Return the address of the client behind trusted proxies, or None if the peer is the client.

        If both headers are present and disagree, both are ignored: a proxy that sets one of them may pass on the other,
        which the client may have forged.
        """
        peer = self._find_proxy(scope)
        if peer is None:
            return None
        sent: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in (b"forwarded", b"x-forwarded-for"):
                sent.setdefault(name, []).append(value)
        found = {
            str(self._find_client(peer, _read_forwarded(text) if name == b"forwarded" else _read_x_forwarded_for(text)))
            for name, text in ((name, _truncate(b",".join(values)).decode("latin-1")) for name, values in sent.items())
        }
        return found.pop() if len(found) == 1 else None

    def _find_proxy(self, scope: Scope) -> Address | None:
        """Return the address of the peer if it is a trusted proxy, otherwise None."""
        client = scope.get("client")
        peer = _parse_address(client[0]) if client else None
        return peer if peer is not None and self._trusts(peer) else None

    def _find_client(self, peer: Address, hops: Iterator[str]) -> Address:
        """Return the peer of the last trusted proxy, or the proxy itself if its peer is not an IP address."""
        for hop, _ in zip(hops, range(FORWARDED_HOPS), strict=False):
            address = _parse_address(hop)
            if address is None:
                return peer
            peer = address
            if not self._trusts(address):
                return peer
        return peer

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _truncate(value: bytes) -> bytes:
    """Return the last `FORWARDED_BYTES` of a header, from the start of an element."""
    if len(value) <= FORWARDED_BYTES:
        return value
    return value[-FORWARDED_BYTES:].partition(b",")[2]


def _read_x_forwarded_for(text: str) -> Iterator[str]:
    """Yield the entries of `X-Forwarded-For`, the last one first."""
    for part in reversed(text.split(",")):
        yield part.strip()


def _read_forwarded(text: str) -> Iterator[str]:
    """Yield the `for` of each element of `Forwarded`, the last one first, or "" if the element is malformed."""
    elements: list[str] = []
    position = 0
    while position <= len(text):
        match = _ELEMENT.match(text, position)
        assert match is not None  # it matches an empty text too
        end = match.end()
        if end < len(text) and text[end] != ",":
            # a malformed element invalidates all elements before it, because its start is unknown
            elements = [""]
            end = text.find(",", end)
            if end < 0:
                break
        else:
            elements.append(match[0])
        position = end + 1
    for element in reversed(elements):
        found = [plain or quoted for name, plain, quoted in _PAIRS.findall(element) if name.lower() == "for"]
        yield re.sub(r"\\(.)", r"\1", found[0]) if len(found) == 1 else ""


def _parse_address(node: str) -> Address | None:
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    try:
        address = ipaddress.ip_address(match["six"] or match["four"] or match["bare"])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
