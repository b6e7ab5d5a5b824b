"""The URLs of receivers."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_CHARACTERS: Final = re.compile(r"[!$-\[\]_a-z|~%]+", re.ASCII)
"""Visible ASCII characters, without those that programs disagree about, such as the backslash, and without `#`."""
_NAME: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]*|\d+)")
_NAME_LENGTH: Final = 253
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PRIVILEGED_PORTS: Final = 1024


class Target(NamedTuple):
    """A parsed URL of a receiver.

    Attributes:
        scheme: `https` or `http`.
        host: The name in lower case, or the address without brackets.
        port: The port.
        path: The path and the query, at least `/`.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str, *, allow_http: bool) -> Target:
    """Parse the URL of a receiver.

    Args:
        url: The URL.
        allow_http: Whether `http` is allowed besides `https`.

    Raises:
        ValueError: The URL is malformed or not allowed. The message is for the client.
    """
    if not _CHARACTERS.fullmatch(url):
        raise ValueError("Expected a URL of ASCII characters, without spaces, backslashes or a fragment")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("Expected a URL such as https://example.com/hook") from None
    scheme = parts.scheme
    if scheme not in _DEFAULT_PORTS or (scheme == "http" and not allow_http) or not parts.netloc:
        raise ValueError("Expected a URL that starts with https://")
    if "@" in parts.netloc:
        raise ValueError("Expected a URL without a user name or a password")
    host = _parse_host(parts.hostname or "", bracketed="[" in parts.netloc)
    port = _DEFAULT_PORTS[scheme] if port is None else port
    if port < _PRIVILEGED_PORTS and port not in _DEFAULT_PORTS.values():
        raise ValueError(f"Expected port 80, port 443, or a port of at least {_PRIVILEGED_PORTS}")
    return Target(scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _parse_host(host: str, *, bracketed: bool) -> str:
    """Return a name or an address.

    Raises:
        ValueError: It is neither.
    """
    if bracketed:
        try:
            address = IPv6Address(host)
        except AddressValueError:
            raise ValueError("Expected an IPv6 address in the brackets") from None
        if address.scope_id is not None:
            raise ValueError("Expected an IPv6 address without a zone")
        return str(address)
    if len(host) > _NAME_LENGTH or not _NAME.fullmatch(host):
        raise ValueError("Expected an IP address or a host name; an internationalized name in its ASCII form (xn--)")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        # resolvers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise ValueError("Expected an IPv4 address of four decimal numbers") from None
    return host
