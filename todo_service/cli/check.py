"""`todo-service check`."""

from __future__ import annotations

import asyncio

import click

from todo_service.cli.preparation import check_store_or_exit, load_settings_or_exit, print_warnings


@click.command()
def check() -> None:
    """Check the settings and the store.

    Exits with 0 if the service can start, otherwise with 1 and the reason.
    """
    settings = load_settings_or_exit()
    print_warnings(settings)
    click.echo("settings: ok")
    asyncio.run(check_store_or_exit(settings))
    click.echo(f"store: ok ({settings.redacted_store_address})")
