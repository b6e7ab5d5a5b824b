"""The command line. What a command needs is imported when it runs, so that `health` and `--help` answer at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from todo_service import __version__

if TYPE_CHECKING:
    from todo_service.settings import Settings
    from todo_service.store.transfer.copying import Copied, Step


_LONGEST_ADDRESS: Final = 2**16
_DOING: Final = {"verify": "verifying", "copy": "copying", "check": "checking"}


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
    from todo_service.observability.logs import configure_logging  # see the module's docstring
    from todo_service.server.run import ServerError, listen, run  # as above
    from todo_service.startup import START_SECONDS  # as above

    configure_logging(settings)
    asyncio.run(_check_store(settings, START_SECONDS))
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
@click.argument("source")
@click.argument("target")
@click.option("--overwrite", is_flag=True, help="Delete what else the target holds, instead of refusing.")
def copy(source: str, target: str, overwrite: bool) -> None:
    """Copy every document from SOURCE to TARGET: to move, to back up, to restore.

    Each is lmdb:///path (an embedded store: a folder), mongodb://host/database or file:///path.ndjson.gz (a backup).
    Others on this machine can read the arguments of a command, so an address with a password is better named than
    given: env:NAME is the address in that environment variable, @/path the one in the first line of that file.

    The source may be in use, and is copied as of one moment where it can do that; no service may use the target. What
    ends a copy too early does no harm: run it again, and it finishes. Exits with 0 when the target holds everything,
    which is read again to make sure, else with 1.
    """
    from todo_service.services import MODELS  # see the module's docstring
    from todo_service.settings import without_password  # as above
    from todo_service.store.base import StoreError  # as above
    from todo_service.store.transfer.copying import TargetInUse  # as above
    from todo_service.store.transfer.copying import copy as copy_all  # as above

    source, target = _address(source), _address(target)
    progress = _Bars() if sys.stderr.isatty() else _Lines()
    try:
        copied = asyncio.run(copy_all(source, target, MODELS, overwrite=overwrite, report=progress.show))
    except TargetInUse as error:
        progress.end()
        _fail(f"{error}; nothing was changed. --overwrite deletes what it holds")
    except StoreError as error:
        progress.end()
        _fail(str(error))
    progress.end()
    _tell(copied, without_password(source), without_password(target))


def _address(argument: str) -> str:
    """Return the address that an argument of `copy` gives, or names: `env:NAME` or `@/path`."""
    if argument.startswith("env:"):
        name = argument.removeprefix("env:")
        if not (found := os.environ.get(name, "").strip()):
            _fail(f"the environment variable {name} is not set")
        return found
    if argument.startswith("@"):
        path = Path(argument.removeprefix("@"))
        try:
            with path.open(encoding="utf-8") as file:
                found = file.readline(_LONGEST_ADDRESS).strip()
        except (OSError, ValueError) as error:
            _fail(f"{path} cannot be read: {error}")
        if not found:
            _fail(f"{path} holds no address in its first line")
        return found
    return argument


def _tell(copied: Copied, source: str, target: str) -> None:
    """Say what was copied, and what does not go with it."""
    total = sum(copied.documents.values())
    click.echo(f"{target} holds {total} documents, {copied.written} of them newly written; content hash {copied.hash}")
    moment = copied.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if copied.point_in_time:
        click.echo(f"as of {moment}; what was written to the source after that is not among them")
    else:
        click.echo(
            f"NOT as of one moment: {source} is a standalone MongoDB, or could not keep the moment for so long. "
            f"What was written to it after {moment} may be among them or not; stop the service to be sure"
        )
    from todo_service.store.addresses import is_backup  # see the module's docstring
    from todo_service.store.registry import local_folder  # see the module's docstring

    key = None if is_backup(source) or (folder := local_folder(source)) is None else folder.parent / "secret_key"
    where = f" (unless it is set, it is in {key})" if key else ""
    click.echo(
        "SECRET_KEY is not part of it: whoever serves these documents needs that of the source"
        f"{where}, or everyone must sign in again"
    )


class _Lines:
    """Progress as plain lines: the beginning of each part, and each further tenth of it."""

    def __init__(self) -> None:
        self._part = ("", "")
        self._done = self._shown = 0

    def show(self, step: Step) -> None:
        if self._part != step[:2]:
            self._part, self._done, self._shown = (step.doing, step.what), 0, 0
            click.echo(f"{_DOING[step.doing]} {step.what}: {step.size} {step.unit}", err=True)
        self._done += step.done
        tenth = 10 * self._done // max(step.size, 1)
        if self._shown < tenth < 10:
            self._shown = tenth
            click.echo(f"{_DOING[step.doing]} {step.what}: {tenth}0 %", err=True)

    def end(self) -> None:
        """Nothing is left to be shown."""


class _Bars:
    """Progress as a bar for each part."""

    def __init__(self) -> None:
        self._part = ("", "")
        self._bar: Any = None

    def show(self, step: Step) -> None:
        if self._part != step[:2]:
            self.end()
            self._part = (step.doing, step.what)
            self._bar = click.progressbar(
                length=max(step.size, 1), label=f"{_DOING[step.doing]} {step.what}", file=sys.stderr, show_pos=True
            )
            self._bar.__enter__()
        self._bar.update(step.done)

    def end(self) -> None:
        """Leave the last bar as it is."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


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
    from todo_service.app import render_openapi_document  # see the module's docstring

    text = render_openapi_document(form)
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


async def _check_store(settings: Settings, seconds: float = 0) -> None:
    """Open the store, ping it and close it, so that a failure is reported in one line before anything has started.

    Args:
        settings: The checked settings.
        seconds: How long to wait for a store that does not answer yet.
    """
    from todo_service.services import MODELS  # see the module's docstring
    from todo_service.startup import open_store_within  # as above
    from todo_service.store.base import StoreError  # as above
    from todo_service.store.registry import create_store  # as above

    try:
        store = create_store(settings.store_address)
        try:
            await open_store_within(store, *MODELS, seconds=seconds)
            await store.ping()
        finally:
            await store.close()
    except StoreError as error:
        _fail(f"store: {error}")


def _fail(*lines: Any) -> NoReturn:
    for line in lines:
        click.echo(f"todo-service: {line}", err=True)
    sys.exit(1)
