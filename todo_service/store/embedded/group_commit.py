"""Group commit: all operations that wait run in one transaction, with one sync to disk.

Operations that arrive during a commit wait for the next one, so the cost of an operation falls as the load rises. A
transaction accepts no further operation after `WRITE_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import lmdb

from todo_service.bounds.store import WRITE_SECONDS
from todo_service.store.embedded.databases import Databases
from todo_service.store.embedded.environment import Environment
from todo_service.store.embedded.frames import encode_error, encode_result
from todo_service.store.embedded.operations import Operation, execute
from todo_service.store.errors import StoreError, StoreUnavailable


def commit(environment: Environment, databases: Databases, operations: Sequence[Operation]) -> list[bytes]:
    """Execute one or more of the first operations in one transaction, commit it to disk, and return the replies.

    An unexpected exception fails only its own operation: those before it are committed without it.
    """
    replies: list[bytes] = []

    def execute_some(transaction: lmdb.Transaction) -> None:
        replies.clear()
        deadline = time.perf_counter() + WRITE_SECONDS
        for operation in operations:
            try:
                replies.append(encode_result(execute(transaction, databases, operation)))
            except StoreError as error:
                replies.append(encode_error(error))
            if time.perf_counter() >= deadline:
                return

    try:
        environment.write(execute_some)
    except StoreUnavailable as error:
        return [encode_error(error)] * len(operations)
    except Exception as error:  # reported to the caller of the operation
        if not replies or len(replies) == len(operations):
            return [encode_error(error)] * max(1, len(replies))
        return commit(environment, databases, operations[: len(replies)])
    return replies
