"""The settings, loaded from environment variables and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import limits
import msgspec
import platformdirs

from todo_service.dotenv import DotenvError, read_dotenv
from todo_service.permissions import describe_denial
from todo_service.secret_key import generate_secret_key, load_or_create_secret_key
from todo_service.store.addresses import is_backup
from todo_service.store.registry import find_local_folder, format_embedded_address
from todo_service.variables import SECRET_KEY_FORMAT, VARIABLES


class SettingsError(Exception):
    """Settings are invalid. The message has a line for each invalid setting, for the operator."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Checked settings, with an attribute for each of `VARIABLES`. Their `repr` omits secrets."""

    store_url: str | None
    data_dir: Path
    host: str
    port: int
    workers: int
    shutdown_delay: int
    environment: Literal["development", "production"]
    secret_key: bytes
    previous_secret_keys: tuple[bytes, ...]
    access_token_seconds: int
    refresh_token_days: int
    registration: Literal["open", "invite", "closed"]
    rate_limit_enabled: bool
    rate_limit_api: str
    rate_limit_auth: str
    trusted_proxies: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    root_path: str
    cors_origins: tuple[str, ...]
    webhook_networks: tuple[str, ...]
    max_body_bytes: int
    max_todos: int
    max_tags: int
    max_lists: int
    metrics_token: str | None
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["console", "json"]
    secret_key_generated: bool = False

    @property
    def store_address(self) -> str:
        """The address of the store: `STORE_URL`, or an embedded store in `DATA_DIR`. It may contain a password."""
        return self.store_url or format_embedded_address(self.data_dir / "store")

    @property
    def redacted_store_address(self) -> str:
        """`store_address` without credentials."""
        return redact_address(self.store_address)

    def list_warnings(self) -> list[str]:
        """Return a line for each setting that has no effect, for the operator."""
        if not self.rate_limit_enabled:
            return []
        attempts, requests = limits.parse(self.rate_limit_auth), limits.parse(self.rate_limit_api)
        periods = -(-attempts.get_expiry() // requests.get_expiry())
        if attempts.amount <= requests.amount * periods:
            return []
        reached_first = f"an address reaches RATE_LIMIT_API ({self.rate_limit_api}) first"
        return [f"RATE_LIMIT_AUTH: {self.rate_limit_auth} has no effect, because {reached_first}"]

    def __repr__(self) -> str:
        """Return a representation without secrets."""
        shown = (
            f"{variable.attribute}={getattr(self, variable.attribute)!r}"
            for variable in VARIABLES
            if not variable.secret
        )
        return f"Settings({', '.join(shown)})"

    __str__ = __repr__


def redact_address(address: str) -> str:
    """Return a store address without credentials, and without options, which may contain secrets too."""
    if is_backup(address) or find_local_folder(address) is not None:
        return address
    scheme, _, rest = address.partition("://")
    # a password that is not percent-encoded may contain any of these characters
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None, **overrides: Any) -> Settings:
    """Load and check the settings.

    Args:
        environ: The environment; None for that of this process.
        dotenv: A .env file, which has less precedence than `environ`. If both are None, it is `.env` in the current
            directory.
        **overrides: Values by attribute that take precedence, such as command-line options. None means no value.

    Raises:
        SettingsError: A value is invalid, or two values contradict each other. The message has a line for each such
            variable.
    """
    if environ is None:
        environ, dotenv = os.environ, dotenv or Path(".env")
    try:
        file_values = {} if dotenv is None else read_dotenv(dotenv)
    except DotenvError as error:
        raise SettingsError(str(error)) from None
    found: dict[str, Any] = {}
    issues: list[str] = []
    for variable in VARIABLES:
        given = overrides.get(variable.attribute)
        text = given if given is not None else environ.get(variable.name, file_values.get(variable.name))
        # treat empty values as unset: shells and compose files often cannot unset a variable
        text = text if text and text.strip() else variable.default
        if text is None:
            found[variable.attribute] = None
            continue
        try:
            found[variable.attribute] = variable.parse(text.strip())
        except (ValueError, KeyError):
            value = "its value" if variable.secret else repr(text.strip()[:80])
            issues.append(f"{variable.name}: {value} is invalid; expected {variable.allowed}")
    if issues:
        raise SettingsError("\n".join(issues))
    settings = _resolve_defaults(found)
    _check_secrets(settings)
    return settings


def _check_secrets(settings: Settings) -> None:
    """Check that no secret has two purposes."""
    issues = []
    if settings.secret_key in settings.previous_secret_keys:
        issues.append("PREVIOUS_SECRET_KEYS: contains the current secret key; expected only earlier ones")
    if len(set(settings.previous_secret_keys)) < len(settings.previous_secret_keys):
        issues.append("PREVIOUS_SECRET_KEYS: contains a key twice")
    if settings.metrics_token is not None and settings.metrics_token.encode() in (
        settings.secret_key,
        *settings.previous_secret_keys,
    ):
        issues.append("METRICS_TOKEN: is also a secret key; expected a token of its own")
    if issues:
        raise SettingsError("\n".join(issues))


def _resolve_defaults(found: dict[str, Any]) -> Settings:
    """Set the defaults that depend on other settings, and return the settings."""
    found["data_dir"] = found["data_dir"] or Path(platformdirs.user_data_dir("todo-service", appauthor=False))
    found["log_format"] = found["log_format"] or ("json" if found["environment"] == "production" else "console")
    if found["secret_key"] is None:
        url = found["store_url"]
        store_folder = found["data_dir"] / "store" if url is None else find_local_folder(url)
        if store_folder is not None:
            folder = store_folder.parent
            try:
                found["secret_key"] = load_or_create_secret_key(folder)
            except PermissionError as error:
                raise SettingsError(f"DATA_DIR: {describe_denial(Path(error.filename or folder), folder)}") from None
            except (OSError, ValueError) as error:
                raise SettingsError(f"SECRET_KEY: not set, and no key can be stored in {folder}: {error}") from None
        elif found["environment"] == "production":
            raise SettingsError(
                f"SECRET_KEY: required in production on MongoDB, where replicas share it; expected {SECRET_KEY_FORMAT}"
            )
        else:
            found["secret_key"] = generate_secret_key()
            found["secret_key_generated"] = True
    return Settings(**found)
