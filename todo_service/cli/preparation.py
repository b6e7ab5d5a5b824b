"""The first steps of several commands: load the settings, check the store, and exit with a message on failure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from todo_service.settings import Settings


def fail(*lines: str) -> NoReturn:
    """Print lines to standard error and exit with status 1."""
    for line in lines:
        click.echo(f"todo-service: {line}", err=True)
    sys.exit(1)


def load_settings_or_exit(**overrides: Any) -> Settings:
    """Load the settings, or exit with a line for each invalid one.

    Args:
        **overrides: See `load_settings`.
    """
    from todo_service.settings import SettingsError, load_settings  # imported late, see the package's docstring

    try:
        return load_settings(**overrides)
    except SettingsError as error:
        fail(*str(error).splitlines())


def print_warnings(settings: Settings) -> None:
    """Print a line to standard error for each setting that has no effect."""
    for line in settings.list_warnings():
        click.echo(f"todo-service: {line}", err=True)


def name_store(settings: Settings) -> str:
    """Return the name of the store for error messages, with the setting that determines it."""
    return f"store ({'DATA_DIR' if settings.store_url is None else 'STORE_URL'})"


async def check_store_or_exit(settings: Settings, seconds: float = 0) -> None:
    """Open, ping and close the store, or exit with the reason in one line.

    Args:
        settings: The settings.
        seconds: How long to retry while the store is unavailable; 0 tries once.
    """
    from todo_service.services import MODELS  # imported late, see the package's docstring
    from todo_service.startup import open_store_with_retries  # as above
    from todo_service.store.errors import StoreError, StoreUnavailable  # as above
    from todo_service.store.registry import create_store  # as above

    try:
        store = create_store(settings.store_address)
        try:
            await open_store_with_retries(store, *MODELS, seconds=seconds)
            await store.ping()
        finally:
            await store.close()
    except StoreUnavailable as error:
        waited = f" within {seconds:.0f} seconds" if seconds else ""
        fail(f"{name_store(settings)}: no response from {settings.redacted_store_address}{waited}: {error}")
    except StoreError as error:
        fail(f"{name_store(settings)}: {error}")
