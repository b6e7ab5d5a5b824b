"""The recurrence vectors of seven libraries. See vectors/README.md."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

_FILE: Final = Path(__file__).parent / "vectors" / "recurrence.json"
_COUNTS_START: Final = "counts a start that does not match the rule as an occurrence; KDE, dateutil and libical do not"
DEVIATIONS: Final = {
    ("sabre/vobject", "FREQ=WEEKLY;INTERVAL=1;COUNT=4;BYDAY=MO;WKST=SA"): _COUNTS_START,
    ("sabre/vobject", "FREQ=YEARLY;COUNT=8;INTERVAL=3;BYYEARDAY=190,301"): _COUNTS_START,
    ("sabre/vobject", "FREQ=YEARLY;COUNT=3;BYDAY=MO;BYWEEKNO=13,15,50"): _COUNTS_START,
    ("ical.js", "FREQ=MONTHLY;BYSETPOS=-1;BYDAY=SU,MO,TU,WE,TH,FR,SA;INTERVAL=1;COUNT=4"): _COUNTS_START,
    ("ical.js", "FREQ=MONTHLY;BYSETPOS=2;BYDAY=SU,MO,TU,WE,TH,FR,SA;INTERVAL=1;COUNT=4"): _COUNTS_START,
    ("ical.js", "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;UNTIL=20160301"): "ends a month before UNTIL",
    ("sabre/vobject", "FREQ=YEARLY;BYWEEKNO=-20;BYDAY=TU,FR"): "counts weeks from the end one too far",
}
"""By source and rule: why the service differs from a vector."""
NEVER_OCCUR: Final = frozenset(
    {
        "FREQ=MONTHLY;INTERVAL=1;BYDAY=2WE;BYMONTHDAY=2;WKST=WE;UNTIL=20210317T000000Z",
        "FREQ=MONTHLY;INTERVAL=1;UNTIL=20071030T035959Z;BYDAY=5TU",
    }
)
"""Rules that have no occurrence but the start, which does not match them. The service rejects them."""


class Vector(NamedTuple):
    """A vector.

    Attributes:
        source: The library.
        rule: The rule.
        start: The local time that the rule counts from.
        zone: The time zone.
        occurrences: The first occurrences, in UTC.
        ends: Whether there are no others.
        outside: Whether the service rejects the rule.
    """

    source: str
    rule: str
    start: datetime
    zone: ZoneInfo
    occurrences: list[datetime]
    ends: bool
    outside: bool


def load_vectors() -> list[Vector]:
    """Return all vectors."""
    return [
        Vector(
            entry["source"],
            entry["rule"],
            datetime.fromisoformat(entry["start"]),
            zone := ZoneInfo(entry["zone"]),
            [_parse(text, zone) for text in entry["occurrences"]],
            entry["ends"],
            entry.get("outside", False),
        )
        for entry in json.loads(_FILE.read_text())
    ]


def _parse(text: str, zone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(text.removesuffix("U"))
    return moment.replace(tzinfo=UTC if text.endswith("U") else zone).astimezone(UTC)
