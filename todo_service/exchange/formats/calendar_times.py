"""Dates, times and durations in a calendar file (RFC 5545, sections 3.3.4 to 3.3.6)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from icalendar.prop import vDDDTypes, vDuration

from todo_service.exchange.formats.calendar_components import Component
from todo_service.exchange.formats.calendar_header import CalendarHeaders
from todo_service.exchange.formats.calendar_values import LAST_SECOND
from todo_service.exchange.formats.lines import ContentLine
from todo_service.exchange.formats.timezones import FileZones
from todo_service.timestamps import is_storable

_DAY: Final = timedelta(days=1)


class TimeReader:
    """Reads times.

    Args:
        zones: The time zones that the times of the file may name.
        headers: The calendars of the file, which may have a time zone for times without one.
        zone: The account's time zone.

    Attributes:
        zone: The account's time zone.
    """

    def __init__(self, zones: FileZones, headers: CalendarHeaders, zone: ZoneInfo) -> None:
        self._zones = zones
        self._headers = headers
        self.zone = zone

    def _find_calendar_zone(self, component: Component) -> tzinfo:
        """Return the zone of times without one: that of the component's calendar, or else the account's."""
        name = self._headers.find(component).zone_name
        zone = self._zones.get(name) if name else None
        if name and zone is None:
            component.warn("X-WR-TIMEZONE is unknown, so times without a time zone were read in that of the account")
        return zone or self.zone

    def get_zone_name(self, value: date | datetime | None) -> str | None:
        """Return the IANA name of a time's zone, or None if it is UTC, unknown or the account's."""
        zone = value.tzinfo if isinstance(value, datetime) else None
        return zone.key if isinstance(zone, ZoneInfo) and zone.key != self.zone.key else None

    def read(self, component: Component, name: str) -> date | datetime | None:
        """Return the time or the date of a property, or None with a warning if it is invalid."""
        found = component.get(name)
        return self.parse(component, found, found.value) if found is not None else None

    def read_all(self, component: Component, name: str, limit: int) -> list[date | datetime]:
        """Return the times and dates of a property that may occur several times and have several values."""
        values: list[date | datetime] = []
        for line in component.get_all(name):
            for text in line.value.split(",", limit):
                if len(values) >= limit:
                    component.warn(f"{name} has more than {limit} values, and the rest was left out")
                    return values
                if (value := self.parse(component, line, text)) is not None:
                    values.append(value)
        return values

    def read_time(self, component: Component, name: str) -> datetime | None:
        """Return the time of a property. A date means its last second in the account's time zone. See `read`."""
        found = self.read(component, name)
        if found is None or isinstance(found, datetime):
            return found
        return datetime.combine(found, LAST_SECOND, self.zone)

    def parse(self, component: Component, line: ContentLine, text: str) -> date | datetime | None:
        """Parse a value of a property, or return None with a warning. A time has a time zone.

        Args:
            component: Its component, which gets the warnings.
            line: The property.
            text: The value.
        """
        try:
            value = vDDDTypes.from_ical(text.strip())  # type: ignore[no-untyped-call]  # icalendar is untyped
            if isinstance(value, datetime):
                if value.time() == time() and str(line.parameters.get("VALUE")).upper() == "DATE":
                    value = value.date()  # some programs write midnight for a day
                else:
                    value = value.astimezone(UTC) if value.tzinfo else self._localize(component, line, value)
            moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
            if is_storable(moment):
                result: date | datetime = value
                return result
        except (ValueError, OverflowError, AttributeError):
            pass
        component.warn(f"{line.name} was left out: expected 20270131T090000Z or 20270131, from 1970 to 9999-12-30")
        return None

    def _localize(self, component: Component, line: ContentLine, local: datetime) -> datetime:
        """Return a local time with its time zone, or with the calendar's if its own is unknown."""
        name = line.parameters.get("TZID")
        zone = self._zones.get(name) if name is not None else None
        if zone is None:
            if name is not None:
                component.warn(f"{line.name} has an unknown TZID, so its time was read in the calendar's time zone")
            zone = self._find_calendar_zone(component)
        return local.replace(tzinfo=zone)


def parse_duration(text: str) -> timedelta:
    """Parse a duration.

    Raises:
        ValueError: It is malformed, or too long.
    """
    duration: timedelta = vDuration.from_ical(text.strip())  # type: ignore[no-untyped-call]  # icalendar is untyped
    return duration


def add_duration(start: date | datetime, text: str) -> date | datetime:
    """Return the end of a duration: weeks and days in local time, hours, minutes and seconds exactly.

    Raises:
        ValueError, OverflowError: The duration is malformed, or the end is beyond the year 9999.
    """
    duration = parse_duration(text)
    if isinstance(start, datetime) and duration % _DAY and "D" not in text.upper() and "W" not in text.upper():
        return (start.astimezone(UTC) + duration).astimezone(start.tzinfo)
    return start + duration
