"""Sets of characters for searches, built once from the Unicode data of ICU."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import icu

# Accents, and the points of scripts that are usually written without them. They are marks of no script in particular,
# or of these scripts. A voiced sound mark makes another kana, and a vowel sign another syllable: these are not accents.
_ACCENTS: Final = r"[[[:Mn:][:Me:]]&[[:Zinh:][:Hebr:][:Arab:][:Syrc:][:Cyrl:]]-[\u3099\u309A]]"
# Characters without a glyph, such as joiners, and the Arabic tatweel, which only stretches a word. A zero width space
# is not among them: it separates words.
_INVISIBLE: Final = r"[[\u0640[:Default_Ignorable_Code_Point:]]-[:Cn:]-[\u200B]]"
_LATIN_LETTERS: Final = r"[[:Latin:]&[:L:]&[:Lowercase:]-[a-z]]"
_SIGNS: Final = rf"[[:M:]-{_ACCENTS}-{_INVISIBLE}]"
_ALEF_WASLA: Final = 0x0671
# Scripts that are written without spaces between words. SA are the scripts of South East Asia, such as Thai and Khmer.
_UNSPACED: Final = r"[[[:Han:][:Hira:][:Kana:][:Bopo:][:Line_Break=SA:]\u30FC\u3099\u309A]&[[:L:][:M:][:Nl:]]]"


def _list_ranges(pattern: str) -> str:
    """Return an ICU set as the contents of a character class of a regular expression."""
    found = icu.UnicodeSet(pattern)
    ranges = ((found.getRangeStart(each), found.getRangeEnd(each)) for each in range(found.getRangeCount()))
    return "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in ranges)


def _build_foldings() -> dict[int, str]:
    removed = {ord(each): "" for pattern in (_ACCENTS, _INVISIBLE) for each in icu.UnicodeSet(pattern)}
    digits = {ord(each): str(unicodedata.decimal(each, each)) for each in icu.UnicodeSet("[:Nd:]")}
    to_ascii = icu.Transliterator.createInstance("Latin-ASCII").transliterate
    letters = {ord(each): to_ascii(each).lower() for each in icu.UnicodeSet(_LATIN_LETTERS)}
    letters = {code: text for code, text in letters.items() if text.isascii() and text.isalpha()}
    return removed | digits | letters | {_ALEF_WASLA: "\u0627"}


FOLDINGS: Final = _build_foldings()
"""What replaces a character in a search, by code point: accents, strokes, ligatures, and the digits of all scripts."""
SIGNS: Final = frozenset(icu.UnicodeSet(_SIGNS))
"""The marks that are part of a letter. No word begins with one."""

_signs, _unspaced = _list_ranges(_SIGNS), _list_ranges(_UNSPACED)
WORD: Final = re.compile(rf"(?P<unspaced>[{_unspaced}]+)|[^\W_{_unspaced}]+(?:[{_signs}]+[^\W_{_unspaced}]*)*")
"""A run of letters, digits and signs, either of the scripts without spaces or of the others."""
