"""The environment variables of the service.

`VARIABLES` is the single table that settings, their error messages and the README's table are generated from.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import limits

from todo_service.bounds.requests import REQUEST_BYTES
from todo_service.bounds.todos import MAX_LISTS, MAX_TAGS, MAX_TODOS
from todo_service.secret_key import MINIMUM_BYTES
from todo_service.store.errors import StoreUnusable
from todo_service.store.registry import find_local_folder, list_address_forms
from todo_service.url_prefix import RESERVED_SEGMENTS, parse_prefix

_BEARER_TOKEN: Final = re.compile(r"[\x21-\x7e]{16,}")
_RATE: Final = re.compile(
    r"[1-9]\d{0,6}\s*(/|per)\s*([1-9]\d{0,3}\s*)?(second|minute|hour|day|month|year)s?", re.IGNORECASE | re.ASCII
)
_MAX_RATE_SECONDS: Final = 366 * 24 * 3600
_LABELS: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*")
_ORIGIN: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?")
_MAX_PORT: Final = 65535
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MIN_PREFIXES: Final = {4: 8, 6: 7}
"""The minimum prefix length by IP version: that of the largest private networks, 10.0.0.0/8 and fc00::/7."""
_MAPPED_PREFIX: Final = 96
"""The prefix length of ::ffff:0:0/96, the IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2)."""
_NETWORKS: Final = "addresses or networks (prefixes of at least 8 bits, in IPv6 7), separated by commas"


class Variable(NamedTuple):
    """An environment variable.

    Attributes:
        name: The name.
        default: The default as text, or None if the variable has no static default.
        parse: A function that parses a value, or raises ValueError or KeyError.
        allowed: A description of the valid values.
        description: A description of the effect, for the README.
        shown_default: A description of the default for the README, if it is not the text itself.
        secret: Whether the value must not appear in messages.
    """

    name: str
    default: str | None
    parse: Callable[[str], Any]
    allowed: str
    description: str
    shown_default: str | None = None
    secret: bool = False

    @property
    def attribute(self) -> str:
        """The name of the attribute in `Settings`."""
        return self.name.lower()


def _integer_parser(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return parse


def _choice_parser(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return parse


def _parse_boolean(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}[
        text.lower()
    ]


def _list_parser(parse_one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(parse_one(part.strip()) for part in text.split(",") if part.strip())

    return parse


def _pattern_parser(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return parse


def _check_host_name(name: str) -> None:
    if name.startswith("[") and name.endswith("]"):
        ipaddress.IPv6Address(name[1:-1])
    elif not _LABELS.fullmatch(name):
        raise ValueError


def _parse_allowed_hosts(text: str) -> tuple[str, ...]:
    if text.strip() == "*":
        return ()
    return _list_parser(_parse_allowed_host)(text)


def _parse_allowed_host(text: str) -> str:
    name = text.removeprefix("*.")
    if name != text and name.startswith("["):
        raise ValueError  # an address has no subdomains
    _check_host_name(name)
    return text


def _parse_origin(text: str) -> str:
    """Return an origin as browsers send it: the scheme and the host in lower case; no default port."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError
    scheme, host, port = match[1].lower(), match[2].lower(), int(match[3] or 0)
    _check_host_name(host)
    if port > _MAX_PORT or (match[3] is not None and port == 0):
        raise ValueError
    if port == _DEFAULT_PORTS.get(scheme):
        port = 0
    return f"{scheme}://{host}" + (f":{port}" if port else "")


def _parse_rate(text: str) -> str:
    if not _RATE.fullmatch(text):
        raise ValueError
    if limits.parse(text).get_expiry() > _MAX_RATE_SECONDS:
        raise ValueError
    return text


def _parse_host(text: str) -> str:
    host = text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text
    if ":" in host:
        ipaddress.IPv6Address(host)
    else:
        _check_host_name(host)
    return host


def _parse_network(text: str) -> str:
    network = ipaddress.ip_network(text, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= _MAPPED_PREFIX:
        # addresses of clients and webhooks are compared as IPv4
        network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - _MAPPED_PREFIX}")
    if network.prefixlen < _MIN_PREFIXES[network.version]:
        raise ValueError  # no network is that large; a few of them would include every address
    return str(network)


def _parse_folder(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no such user") from None


def _parse_store_url(text: str) -> str:
    try:
        find_local_folder(text)
    except StoreUnusable:
        raise ValueError from None
    return text


def _describe_addresses() -> str:
    return _join_words(list_address_forms())


def _describe_reserved_paths() -> str:
    return _join_words(f"/{segment}" for segment in RESERVED_SEGMENTS)


def _join_words(words: Iterable[str]) -> str:
    *first, last = [f"`{word}`" for word in words]
    return f"{', '.join(first)} or {last}"


def _parse_secret(text: str) -> bytes:
    if len(text.encode()) < MINIMUM_BYTES:
        raise ValueError
    return text.encode()


SECRET_KEY_FORMAT: Final = f"at least {MINIMUM_BYTES} bytes"
VARIABLES: Final = (
    Variable(
        "STORE_URL",
        None,
        _parse_store_url,
        _describe_addresses(),
        "The document store.",
        shown_default="an embedded store in `DATA_DIR`",
        secret=True,
    ),
    Variable(
        "DATA_DIR",
        None,
        _parse_folder,
        "a directory",
        "The directory of the embedded store and its secret key.",
        shown_default="the user's data directory; `/data` in the container",
    ),
    Variable(
        "HOST",
        "127.0.0.1",
        _parse_host,
        "an address or a host name",
        "The address to listen on. The container image sets `0.0.0.0`.",
    ),
    Variable("PORT", "8000", _integer_parser(1, _MAX_PORT), f"1 to {_MAX_PORT}", "The port to listen on."),
    Variable("WORKERS", "1", _integer_parser(1, 64), "1 to 64", "The number of worker processes."),
    Variable(
        "SHUTDOWN_DELAY",
        "0",
        _integer_parser(0, 300),
        "0 to 300",
        "How long the service keeps accepting requests at shutdown after readiness fails, in seconds. The container "
        "image sets `5`.",
    ),
    Variable(
        "ENVIRONMENT",
        "development",
        _choice_parser("development", "production"),
        "`development` or `production`",
        "In production, `/metrics` requires `METRICS_TOKEN`, MongoDB requires `SECRET_KEY`, and webhooks require "
        "`https`. The container image sets `production`.",
    ),
    Variable(
        "SECRET_KEY",
        None,
        _parse_secret,
        SECRET_KEY_FORMAT,
        "The key that signs tokens and cursors, and encrypts the signing secrets of webhooks.",
        shown_default="see below",
        secret=True,
    ),
    Variable(
        "PREVIOUS_SECRET_KEYS",
        "",
        _list_parser(_parse_secret),
        f"{SECRET_KEY_FORMAT} each, separated by commas",
        "Previous secret keys, whose tokens remain valid.",
        secret=True,
    ),
    Variable(
        "ACCESS_TOKEN_SECONDS",
        "600",
        _integer_parser(30, 86400),
        "30 to 86400",
        "The lifetime of an access token, in seconds.",
    ),
    Variable(
        "REFRESH_TOKEN_DAYS",
        "30",
        _integer_parser(1, 365),
        "1 to 365",
        "The lifetime of a session that is not refreshed, in days.",
    ),
    Variable(
        "REGISTRATION",
        "open",
        _choice_parser("open", "invite", "closed"),
        "`open`, `invite` or `closed`",
        "Who may register: everybody, users with an invitation, or nobody.",
    ),
    Variable("RATE_LIMIT_ENABLED", "true", _parse_boolean, "`true` or `false`", "Whether rate limits apply."),
    Variable(
        "RATE_LIMIT_API",
        "600/minute",
        _parse_rate,
        "a rate such as `600/minute`, for a period of at most a year",
        "The rate limit of requests, for each account or address.",
    ),
    Variable(
        "RATE_LIMIT_AUTH",
        "10/minute",
        _parse_rate,
        "a rate such as `10/minute`, for a period of at most a year",
        "The rate limit of wrong passwords, for each account from each address. [Further "
        "limits](docs/operations.md#rate-limits) are derived from it.",
    ),
    Variable(
        "TRUSTED_PROXIES",
        "",
        _list_parser(_parse_network),
        _NETWORKS,
        "The proxies whose `Forwarded`, `X-Forwarded-For` and `X-Forwarded-Prefix` headers are trusted.",
    ),
    Variable(
        "ALLOWED_HOSTS",
        "",
        _parse_allowed_hosts,
        "names such as `todo.example.com` or `*.example.com`, separated by commas; or `*`",
        "The accepted values of the `Host` header. Without a value, or with `*`, every host is accepted.",
    ),
    Variable(
        "ROOT_PATH",
        "",
        parse_prefix,
        f"a path such as `/todo`, not below {_describe_reserved_paths()}",
        "The path below which a proxy publishes the service. It takes precedence over `X-Forwarded-Prefix`.",
    ),
    Variable(
        "CORS_ORIGINS",
        "",
        _list_parser(_parse_origin),
        "exact origins such as `https://app.example.com` or `capacitor://localhost`, separated by commas",
        "The origins that may make cross-origin requests.",
    ),
    Variable(
        "WEBHOOK_NETWORKS",
        "",
        _list_parser(_parse_network),
        _NETWORKS,
        "The networks to which webhooks may be sent besides public addresses.",
    ),
    Variable(
        "MAX_BODY_BYTES",
        str(2**20),
        _integer_parser(1024, REQUEST_BYTES),
        f"1024 to {REQUEST_BYTES}",
        "The maximum size of a request body, in bytes. Imports may be larger.",
    ),
    Variable(
        "MAX_TODOS",
        str(MAX_TODOS),
        _integer_parser(1, 10_000_000),
        "1 to 10000000",
        "The maximum number of todos of an account, including tombstones.",
    ),
    Variable(
        "MAX_TAGS",
        str(MAX_TAGS),
        _integer_parser(1, 10_000),
        "1 to 10000",
        "The maximum number of distinct tags of an account.",
    ),
    Variable(
        "MAX_LISTS",
        str(MAX_LISTS),
        _integer_parser(1, 10_000),
        "1 to 10000",
        "The maximum number of lists of an account.",
    ),
    Variable(
        "METRICS_TOKEN",
        None,
        _pattern_parser(_BEARER_TOKEN),
        "at least 16 visible ASCII characters",
        "The bearer token of `/metrics`.",
        "unset",
        secret=True,
    ),
    Variable(
        "LOG_LEVEL",
        "info",
        _choice_parser("debug", "info", "warning", "error"),
        "`debug`, `info`, `warning` or `error`",
        "The minimum level of log messages.",
    ),
    Variable(
        "LOG_FORMAT",
        None,
        _choice_parser("console", "json"),
        "`console` or `json`",
        "The log format.",
        shown_default="`console`; in production `json`",
    ),
)


def render_settings_table() -> str:
    """Return the README's table of settings, in Markdown."""
    rows = [
        f"| `{variable.name}` | {variable.shown_default or (f'`{variable.default}`' if variable.default else 'none')} "
        f"| {variable.allowed} | {variable.description} |"
        for variable in VARIABLES
    ]
    return "\n".join(["| variable | default | allowed | what it does |", "|---|---|---|---|", *rows])
