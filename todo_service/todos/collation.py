"""The order of titles: that of the root collation of CLDR, for all languages, with numbers by value."""

from __future__ import annotations

import codecs
from typing import Final

import icu

SORT_KEY_BYTES: Final = 400
_KEY_CHARACTERS: Final = "".join(map(chr, range(0x20, 0x120)))
"""The character for each byte of a sort key. Keys of letters take one byte of UTF-8 for each byte, and no escapes."""


def _build_collator() -> icu.Collator:
    collator = icu.Collator.createInstance(icu.Locale.getRoot())
    collator.setAttribute(icu.UCollAttribute.NUMERIC_COLLATION, icu.UCollAttributeValue.ON)
    collator.setAttribute(icu.UCollAttribute.NORMALIZATION_MODE, icu.UCollAttributeValue.ON)
    return collator


_COLLATOR: Final = _build_collator()


def sort_key(title: str) -> str:
    """Return the sort key of a title, truncated to `SORT_KEY_BYTES` of UTF-8, which fit into an index key.

    Keys compare by code points, and so by their bytes in UTF-8. They are comparable only if the same version of the
    collation computed them.
    """
    key = _COLLATOR.getSortKey(title).rstrip(b"\0")
    text, _ = codecs.charmap_decode(key[:SORT_KEY_BYTES], "strict", _KEY_CHARACTERS)
    return text.encode()[:SORT_KEY_BYTES].decode(errors="ignore")
