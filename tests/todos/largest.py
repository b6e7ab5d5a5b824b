"""The todo that takes the most space on disk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Final

from todo_service.bounds.todos import DESCRIPTION_LENGTH, STEPS, TAG_LENGTH, TAGS, TITLE_LENGTH

_LETTERS: Final = "\U00010000\U00010001\U00010002\U00010003\U00010005"
"""Letters of 4 bytes, of a script whose words a search does not take apart."""
_WORD_LENGTH: Final = 27


def build_largest_todo(number: int) -> dict[str, Any]:
    """Return a todo with as much text, and as many different long words, as the limits allow.

    Args:
        number: Distinguishes the todo, so that no two have a word in common.
    """
    words = (_build_word(number * 10_000 + each) for each in count())
    return {
        "title": _LETTERS[0] * TITLE_LENGTH,
        "description": _join_words(words, DESCRIPTION_LENGTH),
        "steps": [{"title": _join_words(words, TITLE_LENGTH)} for _ in range(STEPS)],
        "tags": [f"{_LETTERS[0] * (TAG_LENGTH - 2)}{tag:02}" for tag in range(TAGS)],
    }


def _join_words(words: Iterator[str], length: int) -> str:
    """Return as many words as a text of a length has room for."""
    return " ".join(islice(words, (length + 1) // (_WORD_LENGTH + 1)))


def _build_word(number: int) -> str:
    """Return a word of `_WORD_LENGTH` characters for a number."""
    digits = ""
    for _ in range(_WORD_LENGTH):
        number, digit = divmod(number, len(_LETTERS))
        digits += _LETTERS[digit]
    return digits
