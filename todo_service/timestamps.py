"""Times as the API speaks them: RFC 3339, UTC, milliseconds, `Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Self

from todo_service.bounds.texts import TIMESTAMP_LENGTH

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 30, 23, 59, 59, 999_000, UTC)
"""The moments that are kept lie between these two, so that every time zone can show them."""
_RFC_3339: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:[Zz]|([+-])(\d{2}):([0-5]\d))", re.ASCII
)


class Timestamp(datetime):
    """A moment that came in as RFC 3339 text: in UTC and cut, not rounded, to milliseconds.

    A type of its own because msgspec rounds digits that it does not keep, and takes a time for a number elsewhere.
    """

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read RFC 3339 text with an offset, of any number of fractional digits.

        Raises:
            ValueError: it is no such text, no such moment, or outside the years 1 to 9999 in UTC. The message is
                meant for the caller.
        """
        match = _RFC_3339.fullmatch(text) if isinstance(text, str) and len(text) <= TIMESTAMP_LENGTH else None
        if match is None:
            raise ValueError("Expected a time with an offset in RFC 3339 form, such as 2026-01-31T09:00:00Z")
        year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
        milliseconds = int((match[7] or "0")[:3].ljust(3, "0"))
        try:
            offset = timedelta(hours=int(match[9]), minutes=int(match[10])) if match[8] else timedelta()
            zone = timezone(-offset if match[8] == "-" else offset)
            return cls(year, month, day, hour, minute, second, milliseconds * 1000, zone).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError("Expected a moment that exists, in the years 1 to 9999 in UTC") from None


def is_kept(moment: datetime) -> bool:
    """Tell whether a moment lies between `EARLIEST` and `LATEST`."""
    return EARLIEST <= moment <= LATEST


def now() -> datetime:
    """Return the present moment in UTC, cut to the milliseconds that the stores keep."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def format_timestamp(moment: datetime) -> str:
    """Write a moment as the API does, `2026-01-31T09:00:00.000Z`. A naive one is taken for UTC, as the stores do."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"
