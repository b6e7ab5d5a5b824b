"""Words as they are searched: without case and accents."""

from __future__ import annotations

import re
import unicodedata
from itertools import filterfalse, islice
from typing import Final

from todo_service.bounds.texts import FOLDED_EXTRA, FOLDED_FACTOR, SEARCHED_WORD_LENGTH, SEARCHED_WORDS
from todo_service.text import has_long_run_of_marks, is_mark

SORT_KEY_BYTES: Final = 400
_WORD_BYTES: Final = 200
_UNCUT_LENGTH: Final = min(SEARCHED_WORD_LENGTH, _WORD_BYTES // 4)
"""Words of this length or less are never cut: a character takes 4 bytes at most."""
_WORD: Final = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Return a text without case and accents (`ß` becomes `ss`), as searches and sorts compare it.

    Takes linear time, and returns at most `FOLDED_FACTOR` times as many characters and `FOLDED_EXTRA` more: a ligature
    such as U+FDFA is 18 characters long when it is written out.
    """
    if text.isascii():
        return text.lower()
    folded = text.casefold()
    if has_long_run_of_marks(folded):
        folded = "".join(filterfalse(is_mark, folded))  # normalization takes quadratic time to sort a run of marks
    longest = FOLDED_FACTOR * len(text) + FOLDED_EXTRA
    decomposed = unicodedata.normalize("NFKD", folded)[:longest]
    return "".join(filterfalse(unicodedata.combining, decomposed)).casefold()[:longest]


def sort_key(title: str) -> str:
    """Return what titles are sorted by: folded, and cut to what the store's index has room for."""
    return _cut(fold(title), SORT_KEY_BYTES)


def words_of(*texts: str) -> list[str]:
    """Return the words of some texts, folded, each once, in order.

    Returns:
        The first `SEARCHED_WORDS` different words, each cut to `SEARCHED_WORD_LENGTH` characters, and to what the
        index of the store has room for.
    """
    words = dict.fromkeys(
        word if len(word) <= _UNCUT_LENGTH else _cut(word[:SEARCHED_WORD_LENGTH], _WORD_BYTES)
        for text in texts
        for word in _WORD.findall(fold(text))
    )
    return list(islice(words, SEARCHED_WORDS))


def _cut(text: str, limit: int) -> str:
    """Return the beginning of a text that takes so many bytes of UTF-8 at most."""
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode(errors="ignore")
