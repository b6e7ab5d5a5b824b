"""The rules of every text that people write: how it is trimmed, measured and refused.

A text is measured before anything else is done with it. Normalization (UAX 15) takes time that grows with the square of
the number of combining marks in a row, so a text with a long run of them is refused, and never normalized.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from todo_service.bounds.texts import COMBINING_MARKS

# These have combining class 0 and are decomposed into marks all the same.
_DECOMPOSED_INTO_MARKS: Final = "\u0f73\u0f75\u0f81\uff9e\uff9f"
# All other marks are neither letters nor digits, so only a long run of such characters is examined one by one.
_CANDIDATES: Final = re.compile(rf"(?:[^\w\x00-\u02ff]|[\uff9e\uff9f]){{{COMBINING_MARKS + 1},}}")


def trim(text: str, longest: int, *, shortest: int = 1) -> str:
    """Return a text without white space at its ends.

    Args:
        text: The text.
        longest: Characters at most, after trimming.
        shortest: Characters at least, after trimming.

    Raises:
        ValueError: The text is too short or too long, or has too many combining marks in a row. The message is meant
            for the caller.
    """
    trimmed = text.strip()
    if not shortest <= len(trimmed) <= longest:
        expected = f"{shortest} to {longest} characters" if shortest else f"{longest} characters at most"
        raise ValueError(f"Expected {expected} after trimming")
    if not trimmed.isascii():
        check_marks(trimmed)
    return trimmed


def check_marks(text: str) -> None:
    """Check that a text has no long run of combining marks. Takes linear time.

    Raises:
        ValueError: It has more than 30 in a row. The message is meant for the caller.
    """
    if has_long_run_of_marks(text):
        raise ValueError(f"Expected {COMBINING_MARKS} combining marks in a row at most")


def is_mark(character: str) -> bool:
    """Tell whether a character is a combining mark, or is decomposed (NFKD) into nothing but such marks."""
    return unicodedata.combining(character) > 0 or character in _DECOMPOSED_INTO_MARKS


def has_long_run_of_marks(text: str) -> bool:
    """Tell whether a text has more than 30 combining marks in a row. Takes linear time."""
    if text.isascii():
        return False
    for candidate in _CANDIDATES.finditer(text):
        run = 0
        for character in candidate[0]:
            run = run + 1 if is_mark(character) else 0
            if run > COMBINING_MARKS:
                return True
    return False
