"""A writer in a thread of the process, for a process that does little else."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from todo_service.store.bson_codec import decode
from todo_service.store.embedded.databases import Databases
from todo_service.store.embedded.environment import Environment
from todo_service.store.embedded.frames import decode_reply
from todo_service.store.embedded.group_commit import commit


class ThreadWriter:
    """Commits each request by itself.

    Args:
        environment: The environment to write to.
        databases: Its databases.
    """

    def __init__(self, environment: Environment, databases: Databases) -> None:
        self._environment = environment
        self._databases = databases
        self._executor = ThreadPoolExecutor(1, "store-writer")

    async def submit(self, request: bytes) -> Any:
        """See `ProcessWriter.submit`."""
        loop = asyncio.get_running_loop()
        operations = [decode(request)]
        (reply,) = await loop.run_in_executor(self._executor, commit, self._environment, self._databases, operations)
        return decode_reply(reply)

    async def close(self) -> None:
        """Commit the pending requests, then end the thread."""
        await asyncio.to_thread(self._executor.shutdown)
