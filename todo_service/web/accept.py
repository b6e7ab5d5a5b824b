"""Parsing of `Accept` (RFC 9110, section 12.5.1).

Litestar's own parser has no bound, and fails for a quality such as `inf`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from todo_service.bounds.requests import ACCEPT_RANGES

_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


class Preference(NamedTuple):
    """How much a client prefers a media range.

    Attributes:
        quality: From 0, not acceptable, to 1.
        position: Its index in the header.
    """

    quality: float
    position: int


def parse_accept(header: str) -> dict[str, Preference]:
    """Return the first `ACCEPT_RANGES` media ranges of a header, in lower case, without parameters.

    A quality that is malformed counts as 1. If a range is repeated, the first one counts.
    """
    found: dict[str, Preference] = {}
    for position, text in enumerate(header.split(",", ACCEPT_RANGES)[:ACCEPT_RANGES]):
        media_range, _, parameters = text.partition(";")
        quality = 1.0
        for parameter in parameters.split(";", 10)[:10]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q" and _QUALITY.fullmatch(value.strip()):
                quality = float(value)
        found.setdefault(media_range.strip().lower(), Preference(quality, position))
    return found
