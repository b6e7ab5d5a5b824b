"""Shared parts of the benchmark commands: a MongoDB, an option, and error messages instead of tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import pytest

from tests.benchmarks.accounts import UnexpectedResponse
from tests.benchmarks.contestants import EMBEDDED, MONGODB, ContestantFailure
from tests.benchmarks.load import LoadFailure
from tests.mongod import given_uri, running_mongod

HERE: Final = Path(__file__).parent
store_option: Final = click.option(
    "--store",
    "stores",
    multiple=True,
    default=(EMBEDDED.name, MONGODB.name),
    show_default=True,
    type=click.Choice([EMBEDDED.name, MONGODB.name]),
    help="Store to measure; may be repeated.",
)


@contextmanager
def reported() -> Iterator[None]:
    """Report expected failures as messages of the command."""
    try:
        yield
    except (LoadFailure, ContestantFailure, UnexpectedResponse) as error:
        raise click.ClickException(str(error)) from error
    except pytest.fail.Exception as error:  # there is no mongod
        raise click.ClickException(str(error)) from error


@contextmanager
def mongod(folder: Path) -> Iterator[str]:
    """Yield the address of a MongoDB, without a database."""
    if given := given_uri():
        yield given
        return
    data = folder / "mongod"
    data.mkdir()
    with running_mongod(data) as (url, _):
        yield url
