"""Resolves names in dedicated threads, so that slow name servers delay nothing else."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from todo_service.bounds.webhooks import RESOLVER_THREADS

LookUp = Callable[[str], list[str]]
"""Returns the addresses of a name, or raises OSError. It may block."""
_MAX_ADDRESSES: Final = 64


def look_up(name: str) -> list[str]:
    """Return the addresses of a name, by the system's resolver.

    Raises:
        OSError: The name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is too long
        raise OSError(str(error)) from None
    # a set keeps no order, a dictionary does
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if len(addresses) > _MAX_ADDRESSES:
        raise OSError("the name has too many addresses")
    return addresses


class Resolver:
    """Resolves names, `RESOLVER_THREADS` at a time.

    The threads are daemons: a name server that does not respond cannot delay the end of the process.

    Args:
        look_up: Resolves a name in a thread.
    """

    def __init__(self, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._slots = asyncio.Semaphore(RESOLVER_THREADS)

    async def resolve(self, name: str) -> list[str]:
        """Return the addresses of a name.

        If the caller is cancelled, the thread continues and keeps its slot until it ends.

        Raises:
            OSError: The name cannot be resolved.
        """
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()

        def finish(result: list[str] | None, error: Exception | None) -> None:
            self._slots.release()
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result or [])

        def run() -> None:
            result: list[str] | None = None
            error: Exception | None = None
            try:
                result = self._look_up(name)
            except Exception as raised:
                error = raised
            _call_soon(loop, finish, result, error)

        try:
            threading.Thread(target=run, name="resolver", daemon=True).start()
        except RuntimeError:  # the limit on threads is reached
            self._slots.release()
            raise OSError("no thread can be started to resolve the name") from None
        return await future


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:  # the loop is closed
        return
