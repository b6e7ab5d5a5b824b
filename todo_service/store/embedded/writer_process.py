"""The writer process of an embedded store.

py-lmdb releases and reacquires the GIL at every `put`, hundreds of times per commit. A writer thread would compete with
the event loop each time; a process has its own GIL. This one imports neither ODMantic nor the rest of the service, so
it is small and starts quickly.

It reads requests from the socket on its standard input, in the format of `frames`. The first one contains the folder
and the schemas. The process exits when the service closes the socket or dies.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path
from typing import Any, Final

from todo_service.store.bson_codec import decode
from todo_service.store.embedded.databases import META, Databases, create_collection
from todo_service.store.embedded.environment import Environment, identify_data
from todo_service.store.embedded.frames import encode_error, encode_result, split_frames
from todo_service.store.embedded.group_commit import commit
from todo_service.store.embedded.schema import Schema
from todo_service.store.errors import StoreError, StoreUnavailable

_RECEIVE_BYTES: Final = 2**20
_MAX_BATCH_SIZE: Final = 1000


def execute_requests(connection: socket.socket) -> None:
    """Execute the requests of a connection until it is closed, or LMDB has given up the environment."""
    buffer = bytearray()
    waiting: list[dict[str, Any]] = []
    environment: Environment | None = None
    while environment is None or not environment.failed:
        while not waiting:
            received = connection.recv(_RECEIVE_BYTES)
            if not received:
                return
            buffer += received
            waiting += map(decode, split_frames(buffer))
        if environment is None:
            try:
                environment, databases = _open(waiting.pop(0))
            except StoreError as error:
                connection.sendall(encode_error(StoreUnavailable(str(error))))
                return
            connection.sendall(encode_result(None))
        else:
            replies = commit(environment, databases, waiting[:_MAX_BATCH_SIZE])
            connection.sendall(b"".join(replies))
            del waiting[: len(replies)]


def _open(opening: dict[str, Any]) -> tuple[Environment, Databases]:
    folder = Path(opening["folder"])
    if identify_data(folder) != opening["data"]:
        raise StoreUnavailable(f"the files in {folder} are no longer those that the service reads")
    environment = Environment(folder, opening["map_bytes"])
    schemas = map(Schema.load, opening["schemas"])
    collections = {schema.collection: create_collection(environment, schema) for schema in schemas}
    return environment, Databases(environment.open_database(META), collections)


def _main() -> None:
    """Serve the socket that is the standard input."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the service has died
        execute_requests(socket.socket(fileno=sys.stdin.fileno()))


if __name__ == "__main__":
    _main()
