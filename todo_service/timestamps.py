"""Timestamps and dates in the formats of the API: RFC 3339, timestamps in UTC with milliseconds and `Z`."""

from __future__ import annotations

import importlib.resources
import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cache
from typing import Final, Self, TypeVar

from todo_service.bounds.texts import TIMESTAMP_LENGTH

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 30, 23, 59, 59, 999_000, UTC)
"""Storable timestamps lie between these two, so that they exist in every time zone."""
CLOCK_DIFFERENCE: Final = timedelta(minutes=1)
"""How far the clocks of two processes may differ."""
MomentT = TypeVar("MomentT", bound=datetime)
_RFC_3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ](\d{2}):\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:[0-5]\d)", re.ASCII
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LAST_MILLISECOND: Final = time(23, 59, 59, 999_000, fold=1)


class Timestamp(datetime):
    """A timestamp parsed from RFC 3339 text, in UTC and truncated to milliseconds.

    `datetime` itself does not suffice: msgspec rounds fractional digits, and accepts numbers too.
    """

    @classmethod
    def parse(cls, text: object) -> Self:
        """Parse RFC 3339 text with an offset and any number of fractional digits.

        Raises:
            ValueError: The text is malformed, or the time does not exist or is outside the years 1 to 9999 in UTC. The
                message is for the client.
        """
        match = _RFC_3339.fullmatch(text) if isinstance(text, str) and len(text) <= TIMESTAMP_LENGTH else None
        if match is None:
            raise ValueError("Expected an RFC 3339 timestamp with an offset, such as 2026-01-31T09:00:00Z")
        try:
            if match[1] == "24":
                raise ValueError  # later versions of Python accept 24:00:00 as the following midnight
            return _truncate(cls.fromisoformat(match[0].upper()).astimezone(UTC))
        except (ValueError, OverflowError):
            raise ValueError("Expected an existing time in the years 1 to 9999 in UTC") from None


def _truncate(moment: MomentT) -> MomentT:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def parse_date(text: str) -> date:
    """Parse a date in the format `YYYY-MM-DD`.

    Raises:
        ValueError: The text is malformed, or the date does not exist. The message is for the client.
    """
    if _DATE.fullmatch(text) is None:
        raise ValueError("Expected a date such as 2026-01-31")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("Expected an existing date") from None


def end_of_day(day: date, zone: tzinfo) -> datetime:
    """Return the last millisecond of a day in a time zone, in UTC, or `LATEST` if that is earlier.

    If the clock goes back across midnight, the day ends at the second midnight. A day that the time zone skips ends at
    the moment of the skip.
    """
    return min(datetime.combine(day, _LAST_MILLISECOND, zone).astimezone(UTC), LATEST)


def is_storable(moment: datetime) -> bool:
    """Return whether a timestamp lies between `EARLIEST` and `LATEST`."""
    return EARLIEST <= moment <= LATEST


def now() -> datetime:
    """Return the current time in UTC, truncated to milliseconds as the stores do."""
    return _truncate(datetime.now(UTC))


def format_timestamp(moment: datetime) -> str:
    """Return a timestamp in the format of the API, `2026-01-31T09:00:00.000Z`. A naive one is assumed to be UTC."""
    if moment.tzinfo is not None and moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def check_time_zone(name: str) -> None:
    """Check that a name is in `list_time_zones`.

    Raises:
        ValueError: The name is not in the list. The message is for the client.
    """
    if name not in list_time_zones():
        raise ValueError("Expected a name of the IANA time zone database, such as Europe/Berlin")


@cache
def list_time_zones() -> frozenset[str]:
    """Return the names of the IANA time zone database, links such as `Asia/Calcutta` included. Case matters.

    They are those of the package tzdata, so that every installation accepts the same names. The files of an operating
    system have more, such as `localtime` and `right/UTC`, or fewer. `Factory`, which stands for an unknown zone, is
    left out.
    """
    names = importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="ascii")
    return frozenset(names.split()) - {"Factory"}
