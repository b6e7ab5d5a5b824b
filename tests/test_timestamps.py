"""Parsing and formatting of timestamps."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo_service.timestamps import Timestamp, format_timestamp, list_time_zones, now


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-01-31T09:00:00Z", "2026-01-31T09:00:00.000Z"),
        ("2026-01-31t09:00:00z", "2026-01-31T09:00:00.000Z"),
        ("2026-01-31 09:00:00.1Z", "2026-01-31T09:00:00.100Z"),
        ("2026-01-31T09:00:00.9999999999Z", "2026-01-31T09:00:00.999Z"),
        ("2026-01-31T09:00:00+05:30", "2026-01-31T03:30:00.000Z"),
        ("2026-01-31T09:00:00-23:59", "2026-02-01T08:59:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_rfc_3339_text_is_parsed_and_truncated_to_milliseconds(text: str, read: str) -> None:
    assert format_timestamp(Timestamp.parse(text)) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T09:00:00",
        "2026-01-31T09:00Z",
        "2026-01-31T24:00:00Z",
        "2026-02-30T09:00:00Z",
        "2026-01-31T09:00:60Z",
        "2026-01-31T09:00:00+24:00",
        "2026-01-31T09:00:00+01:60",
        "2026-01-31T09:00:00+0100",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
        "2026-01-31T09:00:00Z\n",
        "\u0662\u0660\u0662\u0666-01-31T09:00:00Z",
        0,
        1.5,
        None,
    ],
)
def test_anything_else_is_rejected(text: object) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Timestamp.parse(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_formatting_and_parsing_round_trip(moment: datetime) -> None:
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    assert Timestamp.parse(format_timestamp(moment)) == cut


def test_time_zones_do_not_depend_on_the_files_of_the_system() -> None:
    """As in the slim container, which has none."""
    program = (
        "import zoneinfo; from todo_service.timestamps import list_time_zones; assert zoneinfo.TZPATH == ();"
        "print(*sorted(name for name in list_time_zones() if zoneinfo.ZoneInfo(name)))"
    )

    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(run.stdout.split()) == list_time_zones()
    assert len(list_time_zones()) > 590
    assert {"UTC", "Europe/Kyiv", "Europe/Kiev", "America/Argentina/Buenos_Aires"} <= list_time_zones()


def test_timestamps_are_formatted_in_utc() -> None:
    moment = datetime(2026, 1, 31, 9, tzinfo=timezone(timedelta(hours=1)))

    assert format_timestamp(moment) == "2026-01-31T08:00:00.000Z"
    assert now().utcoffset() == timedelta()
    assert now().microsecond % 1000 == 0
