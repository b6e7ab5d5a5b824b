"""The order of the components of a calendar has no meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.exchange.expectations import FILES, name_file
from tests.exchange.reading import describe, read_file
from todo_service.exchange.formats.base import Draft, RejectedRecord
from todo_service.exchange.formats.registry import FORMATS

COMPONENT = re.compile(rb"^BEGIN:(VTODO|VTIMEZONE|VEVENT|VJOURNAL)\r?\n.*?^END:\1\r?\n", re.DOTALL | re.MULTILINE)
HEADER = re.compile(rb"BEGIN:VCALENDAR\r?\n(?:(?!BEGIN:).*\n)*")
END = re.compile(rb"END:VCALENDAR\r?\n")


def split(body: bytes) -> tuple[bytes, list[bytes], bytes] | None:
    """Return the header, the components and the end of a file, or None if it is not a single calendar of these."""
    header = HEADER.match(body)
    components = [match[0] for match in COMPONENT.finditer(body)]
    if header is None or header[0] + b"".join(components) != END.sub(b"", body) or len(components) < 2:
        return None
    return header[0], components, b"END:VCALENDAR\n"


CALENDARS = [path for path in FILES if path.suffix == ".ics" and split(path.read_bytes()) is not None]


def summarize(records: Iterable[Draft | RejectedRecord]) -> list[str]:
    """Return what each record says, without its line. Steps are in the order of the file, so their order may differ."""
    summaries = []
    for record in records:
        if isinstance(record, Draft):
            steps = sorted((step.title, step.completed) for step in record.todo.steps)
            fields = describe(record) | {"steps": steps, "uid": record.uid, "warnings": sorted(record.warnings)}
            summaries.append(str(fields))
        else:
            summaries.append(str(record.issues))
    return sorted(summaries)


def test_most_calendars_of_the_corpus_can_be_reordered() -> None:
    assert len(CALENDARS) > 50


@pytest.mark.parametrize("path", CALENDARS, ids=name_file)
def test_the_order_of_components_has_no_meaning(path: Path) -> None:
    parts = split(path.read_bytes())
    assert parts is not None
    header, components, end = parts
    expected = summarize(read_file(FORMATS["ics"], path.read_bytes()))

    for order in (components[::-1], components[1::2] + components[::2], components[1:] + components[:1]):
        assert summarize(read_file(FORMATS["ics"], header + b"".join(order) + end)) == expected
