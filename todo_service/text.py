"""Normalization and validation of user-supplied text (ADR 0025).

Text is validated before it is normalized. Normalization (UAX 15) takes quadratic time in the length of a run of
combining marks, so text with a long run is rejected and never normalized.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

from todo_service.bounds.texts import COMBINING_MARKS

# These have combining class 0 but decompose into marks.
_DECOMPOSED_INTO_MARKS: Final = "\u0f73\u0f75\u0f81\uff9e\uff9f"
# All other marks are neither letters nor digits. Only long runs of such characters need a closer look.
_CANDIDATES: Final = re.compile(rf"(?:[^\w\x00-\u02ff]|[\uff9e\uff9f]){{{COMBINING_MARKS + 1},}}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_EXCEPT_TAB_AND_NEWLINE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# the property White_Space
_WHITESPACE: Final = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# Soft hyphen, zero width space, word joiner and byte order mark have no effect at the edge of a text. Joiners,
# variation selectors and directional marks may have one, as at the end of an emoji, and are kept.
_TRIMMED: Final = f"{_WHITESPACE}\xad\u200b\u2060\ufeff"
# The property Default_Ignorable_Code_Point, interlinear annotations, and characters whose glyphs are blank.
_VISIBLE: Final = re.compile(
    rf"[^{_WHITESPACE}\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e0fff]"
)


def normalize_text(text: str, longest: int, *, shortest: int = 1) -> str:
    """Return a single line of text as it is stored: trimmed and in NFC.

    Args:
        text: The text.
        longest: The maximum number of characters of the result.
        shortest: The minimum number of characters of the result.

    Raises:
        ValueError: The result is too short or too long, or the text has control characters other than whitespace at
            its edges, a long run of combining marks, or only invisible characters. The message is for the client.
    """
    normalized = trim(text)
    if not (normalized.isascii() and normalized.isprintable()):
        check_controls(normalized)
        check_marks(normalized)
        normalized = unicodedata.normalize("NFC", normalized)
    _check_visible(text)
    if not shortest <= len(normalized) <= longest:
        expected = f"{shortest} to {longest} characters" if shortest else f"at most {longest} characters"
        raise ValueError(f"Expected {expected} after trimming")
    return normalized


def normalize_lines(text: str, longest: int) -> str:
    """Return text of several lines as it is stored: with LF as line endings, and otherwise unchanged.

    Args:
        text: The text.
        longest: The maximum number of characters of the result.

    Raises:
        ValueError: The result is too long, has control characters other than tabs and line feeds or a long run of
            combining marks, or has no visible character although it is not just whitespace. The message is for the
            client.
    """
    normalized = text.replace("\r\n", "\n")
    if len(normalized) > longest:
        raise ValueError(f"Expected at most {longest} characters")
    check_controls(normalized, multiline=True)
    check_marks(normalized)
    _check_visible(normalized)
    return normalized


def _check_visible(text: str) -> None:
    """Check that text has a visible character, unless it is empty or whitespace."""
    if _VISIBLE.search(text) is None and text.strip(_WHITESPACE):
        raise ValueError("Expected at least one visible character")


def trim(text: str) -> str:
    """Return text without leading and trailing whitespace, and without invisible characters that have no effect there.

    Whitespace is that of Unicode.
    """
    return text.strip(_TRIMMED)


def compose(text: str) -> str:
    """Return text in NFC. Text with a long run of combining marks, which is never stored, is returned unchanged."""
    return _convert("NFC", text)


def decompose(text: str) -> str:
    """Return text in NFD. Text with a long run of combining marks, which is never stored, is returned unchanged."""
    return _convert("NFD", text)


def _convert(form: Literal["NFC", "NFD"], text: str) -> str:
    if text.isascii() or has_long_run_of_marks(text):
        return text
    return unicodedata.normalize(form, text)


def fold_login(name: str) -> str:
    """Return the form in which a username or an email is compared when its owner signs in: trimmed, without case."""
    return compose(trim(name)).casefold()


def check_controls(text: str, *, multiline: bool = False) -> None:
    """Check that text has no control characters (C0, DEL and C1).

    Args:
        text: The text.
        multiline: Whether tabs and line feeds are allowed.

    Raises:
        ValueError: The text has one. The message is for the client.
    """
    pattern = _CONTROL_EXCEPT_TAB_AND_NEWLINE if multiline else _CONTROL
    if (found := pattern.search(text)) is not None:
        raise ValueError(f"Expected text without the control character {format_code_point(found[0])}")


def drop_controls(text: str, *, multiline: bool = False) -> str:
    """Return text without the control characters that `check_controls` finds.

    Args:
        text: The text.
        multiline: Whether tabs and line feeds are kept.
    """
    return (_CONTROL_EXCEPT_TAB_AND_NEWLINE if multiline else _CONTROL).sub("", text)


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


def format_code_point(character: str) -> str:
    """Return the notation of a character's code point, such as U+000A."""
    return f"U+{ord(character):04X}"
