"""Protects text in a table that a spreadsheet would run as a formula (CSV injection), or save in another form.

To a spreadsheet, `=1+1` is a formula, `007` is the number 7, `1/2` and `Jan 5` are dates, and `true` is a Boolean.
With an apostrophe before it, each of them is plain text, in every program and language.
"""

from __future__ import annotations

import re
from typing import Final

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_INTEGER: Final = re.compile(r"0|[1-9]\d{0,10}", re.ASCII)
"""The numbers that every spreadsheet keeps. Longer ones lose digits."""
_WORD: Final = re.compile(r"[^\W\d_]+")
_DIGIT: Final = re.compile(r"\d")
_MAX_DATE_LENGTH: Final = 64
_TRUTH_VALUES: Final = frozenset(
    ("true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "falso", "vero", "verdadeiro", "waar", "onwaar")
)
_WORDS_OF_NUMBERS: Final = frozenset(("e", "am", "pm"))
_MONTHS: Final = (
    *("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    *("jän", "mär", "mai", "okt", "dez", "fév", "fev", "avr", "jui", "aoû", "aou", "déc"),
    *("ene", "abr", "ago", "set", "out", "dic", "gen", "mag", "giu", "lug", "ott", "maa", "mrt", "mei"),
)
"""How the names of months begin in English, German, French, Spanish, Portuguese, Italian and Dutch."""


def protect(cell: str) -> str:
    """Return a text as a cell that no spreadsheet converts. `restore` returns the text."""
    return "'" + cell if _is_converted(cell) else cell


def restore(cell: str) -> str:
    """Return the text of a cell that `protect` has written."""
    return cell[1:] if cell.startswith("'") and _is_converted(cell) else cell


def _is_converted(cell: str) -> bool:
    """Return whether a spreadsheet may convert a text, after any apostrophes. Takes linear time."""
    text = cell.lstrip("'")
    if text == cell and _INTEGER.fullmatch(text):
        return False
    if text.startswith(_FORMULA_STARTS) or text.strip().lower() in _TRUTH_VALUES:
        return True
    if _DIGIT.search(text) is None:
        return False
    if len(text) > _MAX_DATE_LENGTH:
        return _WORD.search(text) is None
    words = _WORD.findall(text.lower())
    return all(word in _WORDS_OF_NUMBERS or word.startswith(_MONTHS) for word in words)
