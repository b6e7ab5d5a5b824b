"""Charge the memory for a request's body to its account.

The server reserves memory from the first bytes of a body, when it knows only the network of the connection. The
application charges the memory to the account instead, so that clients behind one proxy do not share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from litestar.types import Scope

BODY_MEMORY: Final = "body_memory"
"""The key of the reserved memory in the state of the ASGI scope. A request with a small body has none."""


class BodyMemory(Protocol):
    """The memory that a server has reserved for a body."""

    def charge(self, client: str) -> None:
        """Charge the memory to another client than before."""


def charge_body(scope: Scope, client: str) -> None:
    """Charge the memory for the body of a request to a client.

    Args:
        scope: The ASGI scope of the request.
        client: The key of the account, or the network of a client without an account.
    """
    memory: BodyMemory | None = scope["state"].get(BODY_MEMORY)
    if memory is not None:
        memory.charge(client)
