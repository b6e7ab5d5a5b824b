"""`todo-service serve`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from todo_service import __version__
from todo_service.cli.preparation import check_store_or_exit, fail, load_settings_or_exit, print_warnings


@click.command()
@click.option("--host", help="Address to listen on (HOST; 127.0.0.1).")
@click.option("--port", help="Port to listen on (PORT; 8000).")
@click.option("--workers", help="Number of worker processes (WORKERS; 1).")
@click.option("--store-url", help="URL of the document store: lmdb:///path or mongodb://... (STORE_URL).")
@click.option("--data-dir", help="Directory of the embedded store (DATA_DIR).")
@click.option("--log-level", help="debug, info, warning or error (LOG_LEVEL; info).")
@click.option("--log-format", help="console or json (LOG_FORMAT).")
def serve(**options: str | None) -> None:
    """Run the service until Ctrl-C or SIGTERM.

    Options take precedence over environment variables, which take precedence over a .env file in the current directory.
    """
    _exit_on_stop_signals()
    settings = load_settings_or_exit(**options)
    print_warnings(settings)
    from todo_service.observability.logs import configure_logging  # imported late, see the package's docstring
    from todo_service.server.listener import ListenError, listen  # as above
    from todo_service.server.run import run  # as above
    from todo_service.startup import START_SECONDS  # as above

    configure_logging(settings)
    asyncio.run(check_store_or_exit(settings, START_SECONDS))
    try:
        listener = listen(settings.host, settings.port)
    except ListenError as error:
        fail(str(error))
    if settings.secret_key_generated:
        click.echo("SECRET_KEY is not set: using a new key until the service stops", err=True)
    # the application, here or in worker processes, loads its settings from the environment
    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    os.environ["SECRET_KEY"] = settings.secret_key.decode()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    click.echo(f"todo_service {__version__} on http://{host}:{settings.port}  (docs: /docs)", err=True)
    click.echo(f"documents in {settings.redacted_store_address}", err=True)
    sys.exit(run(settings, listener))


def _exit_on_stop_signals() -> None:
    """Exit with status 0 on SIGINT and SIGTERM until the server installs its own handlers.

    The kernel does not deliver a signal without a handler to PID 1. Without these handlers, a container that is stopped
    during startup ignores SIGTERM until it is killed.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
