"""The words by which a search finds a todo.

A search compares words without case, accents, strokes and ligatures. It finds a word by its beginning. In scripts
without spaces, such as Chinese, Japanese and Thai, word boundaries are hard to detect, so each character except a sign
starts a word of `UNSPACED_WORD_LENGTH` characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import filterfalse
from typing import Final

from todo_service.bounds.texts import (
    FOLDED_EXTRA,
    FOLDED_FACTOR,
    SEARCHED_WORD_LENGTH,
    SEARCHED_WORDS,
    UNSPACED_WORD_LENGTH,
)
from todo_service.text import has_long_run_of_marks, is_mark
from todo_service.todos.characters import FOLDINGS, SIGNS, WORD

_WORD_BYTES: Final = 200
_UNCUT_LENGTH: Final = min(SEARCHED_WORD_LENGTH, _WORD_BYTES // 4)
"""Words up to this length are never truncated: a character takes at most 4 bytes."""
_ASCII_WORD: Final = re.compile("[a-z0-9]+")
_DECOMPOSED_SHORT_I: Final = "\u0438\u0306"
_SHORT_I: Final = "\u0439"


def fold(text: str) -> str:
    """Return a text without case, accents, strokes and ligatures, as searches compare it.

    `Straße` becomes `strasse`, `Łódź` becomes `lodz`, and `Æther` becomes `aether`. Signs that are part of a letter
    stay, such as vowel signs of Hindi and tone marks of Thai. Texts with the same NFC have the same result.

    Takes linear time. The result is at most `FOLDED_FACTOR` times as long as the text plus `FOLDED_EXTRA` characters:
    a ligature such as U+FDFA decomposes to 18 characters.
    """
    if text.isascii():
        return text.lower()
    folded = text.casefold()
    if has_long_run_of_marks(folded):
        folded = "".join(filterfalse(is_mark, folded))  # normalization sorts a run of marks in quadratic time
    longest = FOLDED_FACTOR * len(text) + FOLDED_EXTRA
    decomposed = unicodedata.normalize("NFKD", folded)[:longest].casefold()
    # the one Cyrillic letter that looks like an accented one but is a letter of its own, as in the root collation
    kept = decomposed.replace(_DECOMPOSED_SHORT_I, _SHORT_I)
    return unicodedata.normalize("NFC", kept.translate(FOLDINGS))[:longest]


def extract_words(*texts: str) -> list[str]:
    """Return the distinct folded words of texts, in order.

    Returns:
        The first `SEARCHED_WORDS` words, each truncated to `SEARCHED_WORD_LENGTH` characters and to what fits into an
        index key.
    """
    words: dict[str, None] = {}
    for text in texts:
        for word in _split(text):
            words[word] = None
            if len(words) == SEARCHED_WORDS:
                return list(words)
    return list(words)


def _split(text: str) -> Iterable[str]:
    """Return the folded words of a text."""
    folded = fold(text)
    if folded.isascii():
        return [word[:SEARCHED_WORD_LENGTH] for word in _ASCII_WORD.findall(folded)]
    return _split_scripts(folded)


def _split_scripts(folded: str) -> Iterator[str]:
    """Yield the words of a folded text of any script."""
    for match in WORD.finditer(folded):
        if match.lastgroup is None:
            yield _truncate_word(match[0])
        else:
            run = match[0]
            for start in _list_starts(run):
                yield run[start : start + UNSPACED_WORD_LENGTH]


def extract_prefixes(q: str) -> list[str]:
    """Return the prefixes that the words of a todo must have for a search to find it, in order.

    A run of a script without spaces is covered by pieces that overlap in one character, so that they match in their
    order.
    """
    prefixes: list[str] = []
    for match in WORD.finditer(fold(q)):
        if match.lastgroup is None:
            prefixes.append(_truncate_word(match[0]))
        else:
            prefixes += _cover(match[0])
    return prefixes


def _cover(run: str) -> Iterator[str]:
    """Yield pieces that cover a run of a script without spaces, each beginning where a word may begin."""
    starts = _list_starts(run)
    covered = 0
    for start, following in zip(starts, [*starts, len(run)][1:], strict=True):
        # take the last start before the end of the previous piece, so that the two overlap
        if covered < len(run) and (covered == 0 or following >= covered):
            yield run[start : start + UNSPACED_WORD_LENGTH]
            covered = start + UNSPACED_WORD_LENGTH


def _list_starts(run: str) -> list[int]:
    """Return the positions of a run of a script without spaces at which a word may begin."""
    return [position for position, character in enumerate(run) if character not in SIGNS]


def _truncate_word(word: str) -> str:
    if len(word) <= _UNCUT_LENGTH:
        return word
    return word[:SEARCHED_WORD_LENGTH].encode()[:_WORD_BYTES].decode(errors="ignore")
