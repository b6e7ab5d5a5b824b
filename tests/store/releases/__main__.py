"""Make the kept databases of the current version: `pdm run keep-release`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mongod import running_mongod
from tests.store.releases.files import Release
from tests.store.releases.sample import write_sample
from todo_service import __version__
from todo_service.store.mongodb.store import MongoDBStore
from todo_service.store.registry import create_store


def main() -> None:
    """Write the files of the current version, replacing those that exist."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        url = f"lmdb://{folder / 'store'}"
        Release(__version__, "embedded").save(url, asyncio.run(write_sample(url, create_store(url))))
        (folder / "mongod").mkdir()
        with running_mongod(folder / "mongod") as (server, _):
            url = f"{server}/kept"
            store = MongoDBStore(url, resolve_after=timedelta(0))  # there is a single writer
            Release(__version__, "mongodb").save(url, asyncio.run(write_sample(url, store)))


if __name__ == "__main__":
    main()
