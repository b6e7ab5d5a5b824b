"""Definitions of time zones are read by other libraries, and by ours, as the time zones that they define."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.tz import tzical

from todo_service.exchange.formats.lines import parse_line
from todo_service.exchange.formats.timezones import FileZones
from todo_service.exchange.formats.zone_writer import build_zone

ZONES = [
    *("Europe/Berlin", "Europe/London", "Europe/Dublin", "America/New_York", "America/Santiago", "America/Sao_Paulo"),
    *("Asia/Jerusalem", "Asia/Kolkata", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo", "UTC"),
]


def write(name: str) -> list[str]:
    """Return the lines of a definition, unfolded."""
    text: str = build_zone(ZoneInfo(name)).to_ical(sorted=False).decode()
    return text.replace("\r\n ", "").splitlines()


@pytest.mark.parametrize("name", ZONES)
def test_dateutil_reads_the_offsets(name: str) -> None:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", *write(name), "END:VCALENDAR", ""]
    defined, zone = tzical(io.StringIO("\r\n".join(lines))).get(), ZoneInfo(name)

    for local in (datetime(year, month, 15, 12) for year in range(1975, 2060) for month in range(1, 13)):  # noqa: DTZ001
        assert local.replace(tzinfo=defined).utcoffset() == local.replace(tzinfo=zone).utcoffset(), local


@pytest.mark.parametrize("name", [name for name in ZONES if name != "UTC"])
def test_a_file_that_defines_a_zone_under_another_name_has_its_offsets(name: str) -> None:
    zones, zone = FileZones(), ZoneInfo(name)
    lines = [line if not line.startswith("TZID:") else "TZID:Mine" for line in write(name)]
    zones.add_definition([parse_line(number, line) for number, line in enumerate(lines[1:-1], 1)])
    defined = zones.get("Mine")
    assert defined is not None

    start = datetime(1990, 1, 1, tzinfo=UTC)
    for moment in (start + timedelta(hours=37 * number) for number in range(16_000)):
        assert moment.astimezone(defined).utcoffset() == moment.astimezone(zone).utcoffset(), moment


def test_a_rule_goes_on_and_its_onset_is_in_local_time_before_the_change() -> None:
    definition = "\n".join(write("Europe/Berlin"))

    assert "DTSTART:19810329T020000\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\n" in definition
    assert "DTSTART:19961027T030000\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\n" in definition
