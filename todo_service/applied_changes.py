"""The changes that a document records, so that each is applied at most once.

A request with an `Idempotency-Key` may be repeated for a day, and its changes have the same ids in every attempt. If
its response was lost, a repeat looks for its changes in the documents. A document records its changes for a day, but at
most `APPLIED_CHANGES` of them. A repeat whose change may be one that is no longer recorded is refused, so that it has
no second effect.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Protocol

from odmantic import ObjectId

from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.bounds.todos import APPLIED_CHANGES
from todo_service.errors import Gone
from todo_service.timestamps import CLOCK_DIFFERENCE

_REPEAT_WINDOW: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)
"""How long a change may be repeated, plus a margin."""
_TIME_BYTES: Final = 4


class RecordsChanges(Protocol):
    """A document that records its changes.

    Attributes:
        applied_change_ids: The ids of its last changes that may be repeated, the oldest first (see `encode_change`).
    """

    applied_change_ids: list[ObjectId]


class AppliedChanges:
    """Finds and records the changes of a request.

    Args:
        first_attempt: When the first attempt of the request began; None if this is the first attempt. Only a later
            attempt can repeat changes.
    """

    def __init__(self, first_attempt: datetime | None = None) -> None:
        self._first_attempt = first_attempt

    def includes(self, document: RecordsChanges, change_id: ObjectId | None) -> bool:
        """Return whether an earlier attempt has applied a change to a document.

        Args:
            document: The document.
            change_id: The id of the change; None if it cannot be repeated.

        Raises:
            Gone: An earlier attempt may have applied the change, but the document has had too many changes since.
        """
        if change_id is None:
            return False
        recorded = document.applied_change_ids
        rest = change_id.binary[_TIME_BYTES:]
        if any(each.binary[_TIME_BYTES:] == rest for each in recorded):
            return True
        first = self._first_attempt
        if first is None or len(recorded) < APPLIED_CHANGES:
            return False
        # changes that are no longer recorded were applied before the oldest recorded one
        if first - CLOCK_DIFFERENCE <= recorded[0].generation_time:
            raise Gone("an earlier attempt may have made this change, but too many others followed to tell")
        return False

    def record(self, document: RecordsChanges, moment: datetime, change_id: ObjectId) -> list[ObjectId]:
        """Return the recorded changes of a document, including a new one.

        Args:
            document: The document.
            moment: The time of the new change.
            change_id: Its id.
        """
        expired = _encode_time(moment - _REPEAT_WINDOW)
        recent = [each for each in document.applied_change_ids if each.binary[:_TIME_BYTES] > expired]
        return [*recent, encode_change(moment, change_id)][-APPLIED_CHANGES:]


def encode_change(moment: datetime, change_id: ObjectId) -> ObjectId:
    """Return a change as a document records it: its time in seconds, as in any ObjectId, and the rest of its id."""
    return ObjectId(_encode_time(moment) + change_id.binary[_TIME_BYTES:])


def _encode_time(moment: datetime) -> bytes:
    return int(moment.timestamp()).to_bytes(_TIME_BYTES, "big")
