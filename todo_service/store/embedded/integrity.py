"""An integrity check of LMDB environments: read everything, and fail if a page is missing.

LMDB kills the process that reads an invalid page, so the check runs in a subprocess.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bson
import lmdb

from todo_service.store.embedded.modules import describe_module_process

_DATABASES = 128


def is_damaged(folder: Path) -> bool:
    """Return whether pages of an environment are missing. Its file must be as long as its last page requires."""
    command, environment = describe_module_process(__name__, str(folder))
    done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603  # this very file
    return done.returncode != 0


def read_everything(folder: Path) -> None:
    """Read every entry of every database, and decode the documents."""
    with lmdb.open(str(folder), readonly=True, max_dbs=_DATABASES) as environment, environment.begin() as transaction:
        for name in list(transaction.cursor().iternext(values=False)):
            database = environment.open_db(name, txn=transaction, create=False)
            for _, value in transaction.cursor(database):
                if name.startswith(b"documents:"):
                    bson.decode(value)


if __name__ == "__main__":
    read_everything(Path(sys.argv[1]))
