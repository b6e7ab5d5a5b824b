"""From which address a request comes: `Forwarded` (RFC 7239) and `X-Forwarded-For`, as far as they can be believed.

Each proxy appends the address that it was asked from. So the list is read from its end, as long as the address that
appended is a trusted proxy's; the first that is not one is the client. What no proxy of ours would write (an obfuscated
name, garbage) ends the reading at the proxy that sent it.
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
    """The proxies that are believed.

    Args:
        trusted: Their addresses or networks.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(text) for text in trusted]

    def resolve_client(self, scope: Scope) -> str | None:
        """Return the address of the client that stands behind trusted proxies, or None where it is the peer itself.

        Where both headers are there and do not agree, neither is believed: a proxy that writes one of them may hand on
        the other as the client has forged it.
        """
        client = scope.get("client")
        peer = _address(client[0]) if client else None
        if peer is None or not self._trusts(peer):
            return None
        sent: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in (b"forwarded", b"x-forwarded-for"):
                sent.setdefault(name, []).append(value)
        found = {
            str(self._nearest(peer, _forwarded(text) if name == b"forwarded" else _plain(text)))
            for name, text in ((name, _last_part(b",".join(values)).decode("latin-1")) for name, values in sent.items())
        }
        return found.pop() if len(found) == 1 else None

    def _nearest(self, peer: Address, hops: Iterator[str]) -> Address:
        """Return the address that the last trusted proxy was asked from, or the proxy's own if that cannot be told."""
        for hop, _ in zip(hops, range(FORWARDED_HOPS), strict=False):
            address = _address(hop)
            if address is None:
                return peer
            peer = address
            if not self._trusts(address):
                return peer
        return peer

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _last_part(value: bytes) -> bytes:
    """Return what a header may have at its end, from the start of an element on."""
    if len(value) <= FORWARDED_BYTES:
        return value
    return value[-FORWARDED_BYTES:].partition(b",")[2]


def _plain(text: str) -> Iterator[str]:
    """Go through `X-Forwarded-For` from its end."""
    for part in reversed(text.split(",")):
        yield part.strip()


def _forwarded(text: str) -> Iterator[str]:
    """Go through the `for` of each element of `Forwarded` from its end; one that is malformed is an empty text."""
    elements: list[str] = []
    place = 0
    while place <= len(text):
        match = _ELEMENT.match(text, place)
        assert match is not None  # it matches nothing too
        end = match.end()
        if end < len(text) and text[end] != ",":
            # a malformed element spoils what stands before it as well: where it begins cannot be told
            elements = [""]
            end = text.find(",", end)
            if end < 0:
                break
        else:
            elements.append(match[0])
        place = end + 1
    for element in reversed(elements):
        found = [plain or quoted for name, plain, quoted in _PAIRS.findall(element) if name.lower() == "for"]
        yield re.sub(r"\\(.)", r"\1", found[0]) if len(found) == 1 else ""


def _address(node: str) -> Address | None:
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    try:
        address = ipaddress.ip_address(match["six"] or match["four"] or match["bare"])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
