"""Reads everything in an LMDB environment; fails if something of it is missing.

LMDB ends the process in which it comes upon a page that is none, so this runs as a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bson
import lmdb

_DATABASES = 128


def is_damaged(folder: Path) -> bool:
    """Tell whether something is missing in an environment, whose file is as long as its contents."""
    command = [sys.executable, "-m", __name__, str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode != 0  # noqa: S603  # this very file


def read_everything(folder: Path) -> None:
    """Read each entry of each database, and decode the documents among them."""
    with lmdb.open(str(folder), readonly=True, max_dbs=_DATABASES) as environment, environment.begin() as transaction:
        for name in list(transaction.cursor().iternext(values=False)):
            database = environment.open_db(name, txn=transaction, create=False)
            for _, value in transaction.cursor(database):
                if name.startswith(b"documents:"):
                    bson.decode(value)


if __name__ == "__main__":
    read_everything(Path(sys.argv[1]))
