"""Content negotiation by `Accept` (RFC 9110, section 12.5.1).

Litestar's own parser has no bound, and fails for a quality such as `inf`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from todo_service.bounds.requests import ACCEPT_RANGES

_PARAMETERS: Final = 10
"""How many parameters of a media range are read."""
_QUALITY: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def choose_media_type(header: str, offered: Sequence[str]) -> str | None:
    """Return the media type that a header prefers, or None if it accepts none.

    The order in the header decides between types of equal quality. A malformed quality counts as 1.

    Args:
        header: The value of `Accept`. Only its first `ACCEPT_RANGES` media ranges are read.
        offered: The media types to choose from, in lower case.
    """
    accepted = _parse(header)

    def rate(media_type: str) -> tuple[float, int]:
        # the most specific range decides
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((accepted[each] for each in ranges if each in accepted), (0.0, 0))

    best = max(offered, key=rate)
    return best if rate(best)[0] > 0 else None


def _parse(header: str) -> dict[str, tuple[float, int]]:
    """Return the quality and the negative index of each media range, without its parameters. The first one counts."""
    found: dict[str, tuple[float, int]] = {}
    for index, text in enumerate(header.split(",", ACCEPT_RANGES)[:ACCEPT_RANGES]):
        media_range, _, parameters = text.partition(";")
        quality = 1.0
        for parameter in parameters.split(";", _PARAMETERS)[:_PARAMETERS]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q" and _QUALITY.fullmatch(value.strip()):
                quality = float(value)
        found.setdefault(media_range.strip().lower(), (quality, -index))
    return found
