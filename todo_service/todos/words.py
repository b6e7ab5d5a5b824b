"""Words as they are searched: without case and accents."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

SORT_KEY_BYTES: Final = 400
WORD_BYTES: Final = 200
_WORD: Final = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Return a text without case and accents (`ß` becomes `ss`): what is compared in searches and sorts."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()


def sort_key(title: str) -> str:
    """Return what titles are sorted by: folded, and cut to what the store's index has room for."""
    return _cut(fold(title), SORT_KEY_BYTES)


def words_of(*texts: str) -> list[str]:
    """Return the words of some texts, folded, each once, in order."""
    return list(dict.fromkeys(_cut(word, WORD_BYTES) for text in texts for word in _WORD.findall(fold(text))))


def _cut(text: str, limit: int) -> str:
    """Return the beginning of a text that takes so many bytes of UTF-8 at most."""
    return text if len(text) * 4 <= limit else text.encode()[:limit].decode(errors="ignore")
