"""Words as they are searched: without case and accents."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+")


def fold(text: str) -> str:
    """Return a text without case and accents (`ß` becomes `ss`): what is compared in searches and sorts."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character)).casefold()


def words_of(*texts: str) -> list[str]:
    """Return the words of some texts, folded, each once, in order."""
    return list(dict.fromkeys(word for text in texts for word in _WORD.findall(fold(text))))
