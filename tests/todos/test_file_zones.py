"""Time zones that a calendar file defines."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest

from todo_service.bounds.exchange import IMPORT_ZONES
from todo_service.exchange.formats.lines import ContentLine, parse_line
from todo_service.exchange.formats.timezones import FileZones


def define(name: str, offset: str) -> list[ContentLine]:
    lines = [
        f"TZID:{name}",
        "BEGIN:STANDARD",
        "DTSTART:19700101T000000",
        f"TZOFFSETFROM:{offset}",
        f"TZOFFSETTO:{offset}",
        "END:STANDARD",
    ]
    return [parse_line(number, line) for number, line in enumerate(lines, 1)]


def test_definitions_of_further_names_are_ignored() -> None:
    zones = FileZones()

    for number in range(IMPORT_ZONES):
        zones.add_definition(define(f"Zone {number}", "+0100"))
        zones.add_definition(define("Zone 0", "+0300"))
    zones.add_definition(define("Other", "+0200"))

    assert get_offset(zones, "Zone 0") == timedelta(hours=1)
    assert get_offset(zones, f"Zone {IMPORT_ZONES - 1}") == timedelta(hours=1)
    assert zones.get("Other") is None


def test_a_valid_definition_may_follow_an_invalid_one() -> None:
    zones = FileZones()

    zones.add_definition(define("Office", "oops"))
    zones.add_definition(define("Office", "+0300"))

    assert get_offset(zones, "Office") == timedelta(hours=3)


@pytest.mark.parametrize(
    ("winter", "summer"),
    [
        ("FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10", "FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3"),
        (
            "FREQ=YEARLY;BYHOUR=3;BYMINUTE=0;BYSECOND=0;BYDAY=-1SU;BYMONTH=10",
            "FREQ=YEARLY;BYHOUR=2;BYMINUTE=0;BYDAY=-1SU;BYMONTH=3",
        ),
        ("FREQ=YEARLY;BYDAY=SU;BYMONTH=10;BYSETPOS=-1", "FREQ=YEARLY;BYDAY=SU;BYMONTH=3;BYSETPOS=-1"),
        ("FREQ=YEARLY;BYMONTH=10;BYMONTHDAY=25,26,27,28,29,30,31;BYDAY=SU", "FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3"),
    ],
)
@pytest.mark.parametrize("start", ["1970", "1601", "0001"])
def test_rules_of_other_programs(winter: str, summer: str, start: str) -> None:
    lines = ["TZID:Own"]
    for kind, hour, before, after, rule in (
        ("STANDARD", "03", "+0200", "+0100", winter),
        ("DAYLIGHT", "02", "+0100", "+0200", summer),
    ):
        lines += [f"BEGIN:{kind}", f"DTSTART:{start}0101T{hour}0000", f"TZOFFSETFROM:{before}", f"TZOFFSETTO:{after}"]
        lines += [f"RRULE:{rule}", f"END:{kind}"]
    zones = FileZones()
    zones.add_definition([parse_line(number, line) for number, line in enumerate(lines, 1)])

    def list_offsets(zone: tzinfo | None) -> list[timedelta | None]:
        mornings = [datetime(2027, 1, 1, hour, tzinfo=zone) for hour in (1, 4)]
        return [(each + timedelta(days=day)).utcoffset() for day in range(365) for each in mornings]

    assert list_offsets(zones.get("Own")) == list_offsets(ZoneInfo("Europe/Berlin"))


def get_offset(zones: FileZones, name: str) -> timedelta | None:
    """Return the UTC offset of a zone, which is the same all year."""
    return datetime(2027, 1, 1, tzinfo=zones.get(name)).utcoffset()
