"""Time zones that a calendar file defines."""

from __future__ import annotations

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


def test_repeated_definitions_count_towards_the_limit() -> None:
    zones = FileZones()

    for _ in range(IMPORT_ZONES):
        zones.add_definition(define("Z", "+0100"))
    zones.add_definition(define("Other", "+0200"))

    assert zones.get("Z") is not None
    assert zones.get("Other") is None
