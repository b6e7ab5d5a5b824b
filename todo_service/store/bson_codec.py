"""BSON: encoding and decoding of documents, the same for both stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

from todo_service.store.errors import StoreError, UnsupportedExpression

# documents are valid UTF-8, but MongoDB may truncate an error message in the middle of a character
PLAIN: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_CLAMP, unicode_decode_error_handler="replace"
)
"""BSON as Python values, for building models and evaluating conditions."""
EXACT: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
"""BSON as values that encode to the same BSON again, even times outside the range of `datetime`."""
RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(
    document_class=RawBSONDocument, unicode_decode_error_handler="replace"
)
"""BSON as raw documents."""
_ID_ELEMENT: Final = b"\x07_id\x00"
_ID_SLICE: Final = slice(9, 21)
_LENGTH_BYTES: Final = 4
CACHED_DOCUMENTS: Final = 1024
CACHED_DOCUMENT_BYTES: Final = 2048
"""The size of the caches of decoded documents, and the longest document in them: about 15 MB at most."""


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document as BSON with `_id` as its first key, as MongoDB stores it.

    Raises:
        UnsupportedExpression: BSON cannot represent a value.
    """
    return encode_fields({"_id": document["_id"], **document})


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """Return a part of a document as BSON. Raises the errors of `encode`."""
    try:
        return bson.encode(fields)
    except Exception as error:  # `bson` also raises errors that are not its own, for numbers, texts and recursion
        raise UnsupportedExpression(f"a document cannot be stored: {type(error).__name__}") from error


def read_id(raw: bytes) -> bytes:
    """Return the 12 bytes of the ObjectId in `_id`, which is the first key of a document.

    Raises:
        UnsupportedExpression: The document begins with something else.
    """
    if raw[4:9] != _ID_ELEMENT:
        raise UnsupportedExpression("a document has no ObjectId as its id")
    return raw[_ID_SLICE]


def split_documents(data: bytes | bytearray) -> Iterator[bytes]:
    """Yield the complete documents at the start of concatenated BSON. The first bytes of each are its length."""
    start = 0
    while len(data) - start >= _LENGTH_BYTES:
        end = start + int.from_bytes(data[start : start + _LENGTH_BYTES], "little")
        if len(data) < end:
            return
        yield bytes(data[start:end])
        start = end


def move_id_first(raw: bytes) -> bytes:
    """Return a document with `_id` moved to the front, if it is not there already."""
    return raw if raw[4:9] == _ID_ELEMENT else encode(decode(raw, EXACT))


def decode(raw: bytes, options: CodecOptions[dict[str, Any]] = PLAIN) -> dict[str, Any]:
    """Decode a document.

    Raises:
        StoreError: The BSON is invalid.
    """
    try:
        return bson.decode(raw, options)
    except Exception as error:  # as in `encode`
        raise StoreError(f"a document cannot be read: {type(error).__name__}") from error


def decode_cached(raw: bytes) -> Mapping[str, Any]:
    """Decode a document, or return it from a cache. Callers share the result, which is read-only."""
    return _decode_read_only(raw) if len(raw) <= CACHED_DOCUMENT_BYTES else decode(raw)


@lru_cache(CACHED_DOCUMENTS)
def _decode_read_only(raw: bytes) -> Mapping[str, Any]:
    return MappingProxyType(decode(raw))
