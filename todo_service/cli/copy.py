"""`todo-service copy`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from todo_service.cli.preparation import fail
from todo_service.cli.progress import ProgressBars, ProgressLines, tick_regularly

if TYPE_CHECKING:
    from todo_service.store.transfer.copying import Copied


_MAX_ADDRESS_LENGTH: Final = 2**16


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("--overwrite", is_flag=True, help="Delete other documents in the target instead of refusing to copy.")
def copy(source: str, target: str, overwrite: bool) -> None:
    """Copy all documents from SOURCE to TARGET: to migrate, back up or restore.

    Each is lmdb:///path (the directory of an embedded store), mongodb://host/database or file:///path.ndjson.gz (a
    backup). Other users of this machine can read the arguments of a command. If an address contains a password, pass
    env:NAME to read it from an environment variable, or @/path to read it from the first line of a file.

    SOURCE may be in use: the copy is a point-in-time snapshot if SOURCE supports it. No service may use TARGET. An
    interrupted copy is harmless; run it again to complete it. The copy is verified by reading TARGET. Exits with 0 if
    TARGET holds all documents, otherwise with 1.
    """
    from todo_service.services import MODELS  # imported late, see the package's docstring
    from todo_service.settings import redact_address  # as above
    from todo_service.store.errors import StoreError  # as above
    from todo_service.store.transfer.copying import TargetInUse  # as above
    from todo_service.store.transfer.copying import copy as copy_all  # as above

    source, target = _resolve_address(source), _resolve_address(target)
    progress = ProgressBars() if sys.stderr.isatty() else ProgressLines()

    async def copy_with_progress() -> Copied:
        async with tick_regularly(progress.tick):
            return await copy_all(source, target, MODELS, overwrite=overwrite, report=progress.show)

    try:
        copied = asyncio.run(copy_with_progress())
    except TargetInUse as error:
        progress.end()
        fail(f"{error}; nothing was changed. --overwrite deletes its documents")
    except StoreError as error:
        progress.end()
        fail(str(error))
    progress.end()
    _report(copied, redact_address(source), redact_address(target))


def _resolve_address(argument: str) -> str:
    """Return an argument's address, read from `env:NAME` or `@/path` if the argument has that form."""
    if argument.startswith("env:"):
        name = argument.removeprefix("env:")
        if not (found := os.environ.get(name, "").strip()):
            fail(f"the environment variable {name} is not set")
        return found
    if argument.startswith("@"):
        path = Path(argument.removeprefix("@"))
        try:
            with path.open(encoding="utf-8") as file:
                found = file.readline(_MAX_ADDRESS_LENGTH).strip()
        except (OSError, ValueError) as error:
            fail(f"{path} cannot be read: {error}")
        if not found:
            fail(f"{path} has no address on its first line")
        return found
    return argument


def _report(copied: Copied, source: str, target: str) -> None:
    """Print the result of a copy, and a reminder that the secret key is not part of it."""
    total = sum(copied.documents.values())
    click.echo(f"{target} holds {total} documents, {copied.written} of them newly written; content hash {copied.hash}")
    moment = copied.moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if copied.point_in_time:
        click.echo(f"snapshot taken at {moment}; later writes to the source are not included")
    else:
        click.echo(
            f"NOT a point-in-time snapshot: {source} is a standalone MongoDB, or its snapshot expired during the copy. "
            f"Writes after {moment} may or may not be included; to be sure, stop the service and copy again"
        )
    from todo_service.store.addresses import is_backup  # imported late, see the package's docstring
    from todo_service.store.registry import find_local_folder  # as above

    key = None if is_backup(source) or (folder := find_local_folder(source)) is None else folder.parent / "secret_key"
    where = f" (stored in {key} unless the variable is set)" if key else ""
    click.echo(
        f"SECRET_KEY is not copied: serve these documents with the source's key{where}, or all users must sign in again"
    )
