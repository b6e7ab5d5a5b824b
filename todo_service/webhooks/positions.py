"""The positions of a webhook in the sources of events."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from bson import Timestamp
from odmantic import ObjectId

from todo_service.store.base import DocumentStore
from todo_service.store.optimistic import Attempts
from todo_service.webhooks.documents import Webhook
from todo_service.webhooks.sources import EventSource


class Positions:
    """The positions of a webhook in all sources.

    Args:
        sources: The sources.
    """

    def __init__(self, sources: Sequence[EventSource]) -> None:
        self._sources = sources

    def start(self, stamp: Timestamp) -> bytes:
        """Return the positions after every event up to a stamp, encoded."""
        return self.encode({source.name: source.start(stamp) for source in self._sources})

    def decode(self, encoded: bytes) -> dict[str, bytes]:
        """Return the positions by the names of the sources."""
        return msgspec.msgpack.decode(encoded, type=dict[str, bytes])

    def encode(self, positions: dict[str, bytes]) -> bytes:
        """Return the positions as they are stored."""
        return msgspec.msgpack.encode(positions)


async def set_initial_position(store: DocumentStore, hook_id: ObjectId, positions: Positions) -> Webhook | None:
    """Set the position of an enabled webhook that has none to just after the write that enabled it.

    The position is the stamp of that write, because every later write has a later stamp.

    Args:
        store: The store.
        hook_id: The webhook.
        positions: The positions in the sources of events.

    Returns:
        The webhook with its position, or None if it is not enabled, has a position, or has been deleted.
    """
    where = (Webhook.id == hook_id, Webhook.enabled == True, Webhook.position == b"")  # noqa: E712  # expressions
    async for _ in Attempts():
        hook = await store.update(Webhook, *where, changes={})
        if hook is None:
            return None
        position = positions.start(hook.changed)
        started = await store.update(
            Webhook, *where, Webhook.started_at == hook.started_at, changes={"position": position}
        )
        if started is not None:
            return started
    raise AssertionError  # unreachable: the last attempt raises `Busy`
