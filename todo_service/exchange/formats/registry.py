"""All file formats, by their names in the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from todo_service.exchange.formats.base import Draft, FileLists, Format, ImportFormat, RejectedRecord
from todo_service.exchange.formats.calendar import CalendarFormat
from todo_service.exchange.formats.csv_format import CsvFormat
from todo_service.exchange.formats.google import GoogleFormat
from todo_service.exchange.formats.json_format import JsonFormat
from todo_service.exchange.formats.microsoft import MicrosoftFormat
from todo_service.exchange.formats.source import Source
from todo_service.exchange.formats.ticktick import TickTickFormat
from todo_service.exchange.formats.todoist import TodoistFormat
from todo_service.exchange.formats.trello import TrelloFormat

FORMATS: Final[Mapping[str, Format]] = {"json": JsonFormat(), "csv": CsvFormat(), "ics": CalendarFormat()}
"""The formats of exports and imports."""
FOREIGN_FORMATS: Final[Mapping[str, ImportFormat]] = {
    "todoist": TodoistFormat(),
    "ticktick": TickTickFormat(),
    "microsoft": MicrosoftFormat(),
    "google": GoogleFormat(),
    "trello": TrelloFormat(),
}
"""The formats of other programs, which can only be imported. Recognition tries them in this order."""


class RecognizedFormat(ImportFormat):
    """A format that is detected from the body.

    Args:
        candidates: The formats, all of one media type. The last one recognizes every body.
    """

    def __init__(self, candidates: Sequence[ImportFormat]) -> None:
        self._candidates = candidates

    def recognizes(self, source: Source) -> bool:
        """See `ImportFormat.recognizes`."""
        return True

    def read(self, source: Source, zone: ZoneInfo) -> Iterator[Draft | RejectedRecord | FileLists]:
        """See `ImportFormat.read`."""
        recognized = next(each for each in self._candidates if each.recognizes(source))
        return recognized.read(source, zone)


IMPORT_FORMATS: Final[Mapping[str, ImportFormat]] = {**FORMATS, **FOREIGN_FORMATS}
MEDIA_TYPES: Final[Mapping[str, ImportFormat]] = {
    own.media_type: RecognizedFormat(
        [*(each for each in FOREIGN_FORMATS.values() if each.media_type == own.media_type), own]
    )
    for own in FORMATS.values()
}
"""The formats of imports that do not name one, by media type."""
