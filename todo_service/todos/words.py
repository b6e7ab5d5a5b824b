"""Search words and sort keys: text without case and accents."""

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
"""Words up to this length are never truncated: a character takes at most 4 bytes."""
_WORD: Final = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Return a text without case and accents, as searches and sorts compare it. `ß` becomes `ss`.

    Takes linear time. The result is at most `FOLDED_FACTOR` times as long as the text plus `FOLDED_EXTRA` characters:
    a ligature such as U+FDFA decomposes to 18 characters.
    """
    if text.isascii():
        return text.lower()
    folded = text.casefold()
    if has_long_run_of_marks(folded):
        folded = "".join(filterfalse(is_mark, folded))  # normalization sorts a run of marks in quadratic time
    longest = FOLDED_FACTOR * len(text) + FOLDED_EXTRA
    decomposed = unicodedata.normalize("NFKD", folded)[:longest]
    return "".join(filterfalse(unicodedata.combining, decomposed)).casefold()[:longest]


def sort_key(title: str) -> str:
    """Return the folded title, truncated to what fits into an index key."""
    return _truncate(fold(title), SORT_KEY_BYTES)


def extract_words(*texts: str) -> list[str]:
    """Return the distinct folded words of texts, in order.

    Returns:
        The first `SEARCHED_WORDS` words, each truncated to `SEARCHED_WORD_LENGTH` characters and to what fits into an
        index key.
    """
    words = dict.fromkeys(
        word if len(word) <= _UNCUT_LENGTH else _truncate(word[:SEARCHED_WORD_LENGTH], _WORD_BYTES)
        for text in texts
        for word in _WORD.findall(fold(text))
    )
    return list(islice(words, SEARCHED_WORDS))


def _truncate(text: str, limit: int) -> str:
    """Return the longest prefix of a text that takes at most `limit` bytes of UTF-8."""
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode(errors="ignore")
