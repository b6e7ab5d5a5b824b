"""The command line. What a command needs is imported when it runs, so that `health` and `--help` answer at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from todo_service import __version__

if TYPE_CHECKING:
    from todo_service.settings import Settings


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="todo-service")
def main() -> None:
    """A complete to-do service: accounts, sessions and todos over HTTP.

    Start it with `todo-service serve`. Settings are environment variables or lines of a .env file; README lists them.
    """


@main.command()
@click.option("--host", help="Address to listen on (HOST; 127.0.0.1).")
@click.option("--port", help="Port to listen on (PORT; 8000).")
@click.option("--workers", help="How many processes serve (WORKERS; 1).")
@click.option("--store-url", help="Where the documents lie: lmdb:///path or mongodb://... (STORE_URL).")
@click.option("--data-dir", help="Folder of the embedded store (DATA_DIR).")
@click.option("--log-level", help="debug, info, warning or error (LOG_LEVEL; info).")
@click.option("--log-format", help="console or json (LOG_FORMAT).")
def serve(**options: str | None) -> None:
    """Start the service and serve until Ctrl-C or SIGTERM.

    Options come before environment variables, which come before a .env file in the current folder.
    """
    _exit_when_asked_to()
    settings = _settings(**options)
    from todo_service.logs import configure_logging  # see the module's docstring
    from todo_service.server import ServerError, listen, run  # as above

    configure_logging(settings)
    asyncio.run(_check_store(settings))
    try:
        listener = listen(settings.host, settings.port)
    except ServerError as error:
        _fail(str(error))
    if settings.secret_key_made:
        click.echo("SECRET_KEY is not set: a new one is used until this service stops", err=True)
    # the application, here or in worker processes, loads its settings from the environment
    os.environ.update({name.upper(): value for name, value in options.items() if value is not None})
    os.environ["SECRET_KEY"] = settings.secret_key.decode()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    click.echo(f"todo_service {__version__} on http://{host}:{settings.port}  (docs: /docs)", err=True)
    click.echo(f"documents in {settings.shown_store_address}", err=True)
    sys.exit(run(settings, listener))


@main.command()
def check() -> None:
    """Check the settings and the store, and say what is wrong.

    Exits with 0 when the service could start, else with 1.
    """
    settings = _settings()
    click.echo("settings: ok")
    asyncio.run(_check_store(settings))
    click.echo(f"store: ok ({settings.shown_store_address})")


@main.command()
def health() -> None:
    """Ask the running service whether it is ready.

    Asks HOST and PORT. Exits with 0 when it is ready, else with 1.
    """
    from http.client import HTTPConnection, HTTPException  # see the module's docstring

    host = os.environ.get("HOST") or "127.0.0.1"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # where all listen, the loopback does
    port = os.environ.get("PORT") or "8000"
    try:
        connection = HTTPConnection(host, int(port), timeout=3)
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, ValueError, HTTPException) as error:
        _fail(f"no answer from {host} port {port}: {error}")
    if status != 200:
        _fail(f"not ready: {host} port {port} answered {status}")
    click.echo("ready")


@main.command()
@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="json", help="Which form (json).")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of the terminal.")
def openapi(form: str, output: Path | None) -> None:
    """Print the OpenAPI document that clients and SDKs are made from."""
    from todo_service.app import openapi_document  # see the module's docstring

    text = openapi_document(form)
    if output is None:
        click.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        _fail(f"{output}: {error.strerror}")


def _exit_when_asked_to() -> None:
    """Take the signals that ask to stop, until the server takes them, and after it: being asked to stop is no failure.

    In a container the service is process 1, to which a signal that it does not take is not delivered: without this,
    being stopped while it starts would be lost, and end in being killed.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _settings(**options: Any) -> Settings:
    from todo_service.settings import SettingsError, load_settings  # see the module's docstring

    try:
        return load_settings(**options)
    except SettingsError as error:
        _fail(*str(error).splitlines())


async def _check_store(settings: Settings) -> None:
    """Open the store, ask it, close it; so that what is wrong with it is one line, before anything has started."""
    from todo_service.app import MODELS  # see the module's docstring
    from todo_service.store.base import StoreError  # as above
    from todo_service.store.opening import open_store  # as above

    try:
        store = open_store(settings.store_address)
        try:
            await store.open(*MODELS)
            await store.ping()
        finally:
            await store.close()
    except StoreError as error:
        _fail(f"store: {error}")


def _fail(*lines: Any) -> NoReturn:
    for line in lines:
        click.echo(f"todo-service: {line}", err=True)
    sys.exit(1)
