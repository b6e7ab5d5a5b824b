"""Trimming and validation of user-supplied text.

Text is validated before any other processing. Normalization (UAX 15) takes quadratic time in the length of a run of
combining marks, so text with a long run is rejected and never normalized.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from todo_service.bounds.texts import COMBINING_MARKS

# These have combining class 0 but decompose into marks.
_DECOMPOSED_INTO_MARKS: Final = "\u0f73\u0f75\u0f81\uff9e\uff9f"
# All other marks are neither letters nor digits. Only long runs of such characters need a closer look.
_CANDIDATES: Final = re.compile(rf"(?:[^\w\x00-\u02ff]|[\uff9e\uff9f]){{{COMBINING_MARKS + 1},}}")


def trim(text: str, longest: int, *, shortest: int = 1) -> str:
    """Return text without leading and trailing white space.

    Args:
        text: The text.
        longest: The maximum number of characters after trimming.
        shortest: The minimum number of characters after trimming.

    Raises:
        ValueError: The text is too short or too long, or has a long run of combining marks. The message is for the
            client.
    """
    trimmed = text.strip()
    if not shortest <= len(trimmed) <= longest:
        expected = f"{shortest} to {longest} characters" if shortest else f"at most {longest} characters"
        raise ValueError(f"Expected {expected} after trimming")
    if not trimmed.isascii():
        check_marks(trimmed)
    return trimmed


def check_marks(text: str) -> None:
    """Check that text has no run of more than 30 combining marks. Takes linear time.

    Raises:
        ValueError: The text has such a run. The message is for the client.
    """
    if has_long_run_of_marks(text):
        raise ValueError(f"Expected at most {COMBINING_MARKS} combining marks in a row")


def is_mark(character: str) -> bool:
    """Return whether a character is a combining mark, or decomposes (NFKD) into combining marks only."""
    return unicodedata.combining(character) > 0 or character in _DECOMPOSED_INTO_MARKS


def has_long_run_of_marks(text: str) -> bool:
    """Return whether text has a run of more than 30 combining marks. Takes linear time."""
    if text.isascii():
        return False
    for candidate in _CANDIDATES.finditer(text):
        run = 0
        for character in candidate[0]:
            run = run + 1 if is_mark(character) else 0
            if run > COMBINING_MARKS:
                return True
    return False
