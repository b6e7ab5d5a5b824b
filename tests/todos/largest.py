"""The todo that takes the most space on disk."""

from __future__ import annotations

from itertools import count
from typing import Any, Final

from todo_service.bounds.todos import DESCRIPTION_LENGTH, STEPS, TAG_LENGTH, TAGS, TITLE_LENGTH

_EXPANDING: Final = "\u337f\u337b\u337c\u337d\u337e"
"""Characters of 3 bytes, of which a search sees two to four letters of 3 bytes each."""
_LONG: Final = "\U00020000"
"""A letter of 4 bytes."""
_WORD_LENGTH: Final = 19


def build_largest_todo(number: int) -> dict[str, Any]:
    """Return a todo with as much text, and as many different long words, as the limits allow.

    Args:
        number: Distinguishes the todo, so that no two have a word in common.
    """
    words = (_build_word(number * 10_000 + each) for each in count())
    steps = [" ".join(next(words) for _ in range(TITLE_LENGTH // (_WORD_LENGTH + 1))) for _ in range(STEPS)]
    return {
        "title": (_LONG * TITLE_LENGTH)[:TITLE_LENGTH],
        "description": (chr(0x20001 + number) * 60 + " ") * (DESCRIPTION_LENGTH // 61),
        "steps": [{"title": step} for step in steps],
        "tags": [f"{_LONG * (TAG_LENGTH - 2)}{tag:02}" for tag in range(TAGS)],
    }


def _build_word(number: int) -> str:
    """Return a word of `_WORD_LENGTH` characters for a number."""
    digits = ""
    for _ in range(_WORD_LENGTH):
        number, digit = divmod(number, len(_EXPANDING))
        digits += _EXPANDING[digit]
    return digits
