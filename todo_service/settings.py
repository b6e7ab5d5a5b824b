"""Settings: every environment variable once, typed and checked.

`VARIABLES` is the one table. From it come the checks, the errors, `Settings` and README's table.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import limits
import msgspec
import platformdirs
from decouple import RepositoryEnv

from todo_service.bounds.todos import MAX_LISTS, MAX_TAGS, MAX_TODOS
from todo_service.secret_key import MINIMUM_BYTES, kept_secret_key, new_secret_key
from todo_service.store.addresses import is_backup
from todo_service.store.errors import StoreUnusable
from todo_service.store.registry import find_local_folder, format_embedded_address

IMPORT_MAX_BODY_BYTES: Final = 64 * 2**20
_BEARER_TOKEN: Final = re.compile(r"[\x21-\x7e]{16,}")
_RATE: Final = re.compile(
    r"[1-9]\d{0,6}\s*(/|per)\s*([1-9]\d{0,3}\s*)?(second|minute|hour|day|month|year)s?", re.IGNORECASE | re.ASCII
)
_HOST_NAME: Final = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\*|\[[0-9A-Fa-f:.]+\]")
_ORIGIN: Final = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


class SettingsError(Exception):
    """Settings that the service cannot start with. The message has one line for each issue, for the operator."""


class Variable(NamedTuple):
    """A declared environment variable.

    Attributes:
        name: Its name.
        default: Its default as text, or None where it is unset by default.
        parse: Reads a value; raises ValueError.
        allowed: What is allowed, in words.
        description: What it does.
        shown_default: What README says of the default, where it is not the text itself.
        secret: Whether its value is never shown.
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
        """The name of the variable's attribute in `Settings`."""
        return self.name.lower()


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return parse


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}[
        text.lower()
    ]


def _each(parse_one: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(parse_one(part.strip()) for part in text.split(",") if part.strip())

    return parse


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return parse


def _rate(text: str) -> str:
    if not _RATE.fullmatch(text):
        raise ValueError
    limits.parse(text)
    return text


def _host(text: str) -> str:
    return text[1:-1] if text.startswith("[") and text.endswith("]") and ":" in text else text


def _network(text: str) -> str:
    network = ipaddress.ip_network(text, strict=False)
    if network.prefixlen == 0:
        raise ValueError  # every client would be believed, whatever address it claims
    return str(network)


def _folder(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no such user") from None


def _store_url(text: str) -> str:
    try:
        find_local_folder(text)
    except StoreUnusable:
        raise ValueError from None
    return text


def _secret(text: str) -> bytes:
    if len(text.encode()) < MINIMUM_BYTES:
        raise ValueError
    return text.encode()


_SECRET_WORDS: Final = f"at least {MINIMUM_BYTES} bytes"
VARIABLES: Final = (
    Variable(
        "STORE_URL",
        None,
        _store_url,
        "`lmdb:///path`, `mongodb://…` or `mongodb+srv://…`",
        "Where the documents lie.",
        shown_default="unset: an embedded store in `DATA_DIR`",
        secret=True,
    ),
    Variable(
        "DATA_DIR",
        None,
        _folder,
        "a folder",
        "Where the embedded store and its secret key lie.",
        shown_default="the user's data folder; `/data` in the container",
    ),
    Variable(
        "HOST", "127.0.0.1", _host, "an address or a name", "The address to listen on; the container's is `0.0.0.0`."
    ),
    Variable("PORT", "8000", _integer(1, 65535), "1 to 65535", "The port to listen on."),
    Variable("WORKERS", "1", _integer(1, 64), "1 to 64", "How many processes serve."),
    Variable(
        "ENVIRONMENT",
        "development",
        _one_of("development", "production"),
        "`development` or `production`",
        "What the service is for; the container's is `production`.",
    ),
    Variable(
        "SECRET_KEY",
        None,
        _secret,
        _SECRET_WORDS,
        "Signs tokens and cursors.",
        shown_default="see below",
        secret=True,
    ),
    Variable(
        "PREVIOUS_SECRET_KEYS",
        "",
        _each(_secret),
        f"{_SECRET_WORDS} each, separated by commas",
        "Earlier secret keys, whose tokens stay good.",
        secret=True,
    ),
    Variable(
        "ACCESS_TOKEN_SECONDS", "600", _integer(30, 86400), "30 to 86400", "Seconds that an access token is good for."
    ),
    Variable(
        "REFRESH_TOKEN_DAYS", "30", _integer(1, 365), "1 to 365", "Days that a session lasts without being renewed."
    ),
    Variable("RATE_LIMIT_ENABLED", "true", _boolean, "`true` or `false`", "Whether requests are limited."),
    Variable(
        "RATE_LIMIT_API", "600/minute", _rate, "a rate such as `600/minute`", "Requests of an account or an address."
    ),
    Variable(
        "RATE_LIMIT_AUTH",
        "10/minute",
        _rate,
        "a rate such as `10/minute`",
        "Wrong passwords for an account from an address; see below for all accounts and all addresses.",
    ),
    Variable(
        "TRUSTED_PROXIES",
        "",
        _each(_network),
        "addresses or networks but not all there are, separated by commas",
        "The proxies whose `Forwarded` and `X-Forwarded-For` are believed.",
    ),
    Variable(
        "ALLOWED_HOSTS",
        "",
        _each(_matching(_HOST_NAME)),
        "names such as `todo.example.com` or `*.example.com`, separated by commas",
        "The `Host` names that are served; none named: any.",
    ),
    Variable(
        "CORS_ORIGINS",
        "",
        _each(_matching(_ORIGIN)),
        "exact origins such as `https://app.example.com`, separated by commas",
        "The origins whose pages may call the service.",
    ),
    Variable(
        "MAX_BODY_BYTES",
        str(2**20),
        _integer(1024, IMPORT_MAX_BODY_BYTES),
        f"1024 to {IMPORT_MAX_BODY_BYTES}",
        "The largest body that a request may have.",
    ),
    Variable(
        "MAX_TODOS",
        str(MAX_TODOS),
        _integer(1, 10_000_000),
        "1 to 10000000",
        "The todos that an account may have, deleted ones that are remembered included.",
    ),
    Variable(
        "MAX_TAGS",
        str(MAX_TAGS),
        _integer(1, 10_000),
        "1 to 10000",
        "The different tags that the todos of an account may have.",
    ),
    Variable("MAX_LISTS", str(MAX_LISTS), _integer(1, 10_000), "1 to 10000", "The lists that an account may have."),
    Variable(
        "METRICS_TOKEN",
        None,
        _matching(_BEARER_TOKEN),
        "at least 16 visible ASCII characters",
        "The bearer token of `/metrics`.",
        "unset",
        secret=True,
    ),
    Variable(
        "LOG_LEVEL",
        "info",
        _one_of("debug", "info", "warning", "error"),
        "`debug`, `info`, `warning` or `error`",
        "What is logged.",
    ),
    Variable(
        "LOG_FORMAT",
        None,
        _one_of("console", "json"),
        "`console` or `json`",
        "How it is logged.",
        shown_default="`console`; in production `json`",
    ),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings, one attribute for each of `VARIABLES`. No secret shows in its text."""

    store_url: str | None
    data_dir: Path
    host: str
    port: int
    workers: int
    environment: Literal["development", "production"]
    secret_key: bytes
    previous_secret_keys: tuple[bytes, ...]
    access_token_seconds: int
    refresh_token_days: int
    rate_limit_enabled: bool
    rate_limit_api: str
    rate_limit_auth: str
    trusted_proxies: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    max_body_bytes: int
    max_todos: int
    max_tags: int
    max_lists: int
    metrics_token: str | None
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["console", "json"]
    secret_key_made: bool = False

    @property
    def store_address(self) -> str:
        """Where the documents lie, also where `STORE_URL` is unset. It may hold a password."""
        return self.store_url or format_embedded_address(self.data_dir / "store")

    @property
    def shown_store_address(self) -> str:
        """`store_address` without a user's name and password."""
        return without_password(self.store_address)

    def __repr__(self) -> str:
        """Return the settings without the secret ones."""
        shown = (
            f"{variable.attribute}={getattr(self, variable.attribute)!r}"
            for variable in VARIABLES
            if not variable.secret
        )
        return f"Settings({', '.join(shown)})"

    __str__ = __repr__


def without_password(address: str) -> str:
    """Return a store's address without a user's name and password, and without options, which may hold others."""
    if is_backup(address) or find_local_folder(address) is not None:
        return address
    scheme, _, rest = address.partition("://")
    # a password that was not encoded may hold any of these characters
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None, **overrides: Any) -> Settings:
    """Read and check the settings.

    Args:
        environ: The environment; None for that of this process.
        dotenv: The file of further variables; None for `.env` in the current folder, if there is one and `environ`
            is not given.
        **overrides: Values by a variable's attribute that come first, such as from the command line. None is no value.

    Raises:
        SettingsError: with one line for each variable whose value is not allowed.
    """
    if environ is None:
        environ, dotenv = os.environ, dotenv or Path(".env")
    known = _in_file(dotenv)
    found: dict[str, Any] = {}
    issues: list[str] = []
    for variable in VARIABLES:
        given = overrides.get(variable.attribute)
        text = given if given is not None else environ.get(variable.name, known.get(variable.name))
        # an empty value is an unset one, since that is how shells and compose files unset a variable
        text = text if text and text.strip() else variable.default
        if text is None:
            found[variable.attribute] = None
            continue
        try:
            found[variable.attribute] = variable.parse(text.strip())
        except (ValueError, KeyError):
            value = "its value" if variable.secret else repr(text.strip()[:80])
            issues.append(f"{variable.name}: {value} is not allowed; allowed is {variable.allowed}")
    if issues:
        raise SettingsError("\n".join(issues))
    return _completed(found)


def settings_table() -> str:
    """Return README's table of the settings, in Markdown."""
    rows = [
        f"| `{variable.name}` | {variable.shown_default or (f'`{variable.default}`' if variable.default else 'none')} "
        f"| {variable.allowed} | {variable.description} |"
        for variable in VARIABLES
    ]
    return "\n".join(["| variable | default | allowed | what it does |", "|---|---|---|---|", *rows])


def _in_file(dotenv: Path | None) -> Mapping[str, str]:
    if dotenv is None or not dotenv.is_file():
        return {}
    try:
        repository = RepositoryEnv(str(dotenv))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise SettingsError(f"{dotenv}: the file cannot be read ({type(error).__name__})") from None
    data: Mapping[str, str] = repository.data
    return data


def _completed(found: dict[str, Any]) -> Settings:
    """Fill in the defaults that depend on other settings."""
    found["data_dir"] = found["data_dir"] or Path(platformdirs.user_data_dir("todo-service", appauthor=False))
    found["log_format"] = found["log_format"] or ("json" if found["environment"] == "production" else "console")
    if found["secret_key"] is None:
        url = found["store_url"]
        store_folder = found["data_dir"] / "store" if url is None else find_local_folder(url)
        if store_folder is not None:
            folder = store_folder.parent
            try:
                found["secret_key"] = kept_secret_key(folder)
            except (OSError, ValueError) as error:
                raise SettingsError(f"SECRET_KEY: none is given, and none can be kept in {folder}: {error}") from None
        elif found["environment"] == "production":
            raise SettingsError(
                f"SECRET_KEY: needed in production on MongoDB, where replicas share it; allowed is {_SECRET_WORDS}"
            )
        else:
            found["secret_key"] = new_secret_key()
            found["secret_key_made"] = True
    return Settings(**found)
