"""Documents between BSON, ODMantic models and msgspec Structs, the same for both stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Final

import bson
import msgspec
from bson import ObjectId, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.raw_bson import RawBSONDocument
from odmantic import EmbeddedModel, Model
from pydantic import TypeAdapter

from todo_service.store.base import ModelT, Stamp
from todo_service.store.errors import StoreError, UnsupportedExpression
from todo_service.store.structs import StoredStruct


class _ObjectIdText(TypeDecoder):
    bson_type = ObjectId

    def transform_bson(self, value: ObjectId) -> str:
        return value.binary.hex()


class _StampText(TypeDecoder):
    bson_type = Timestamp

    def transform_bson(self, value: Timestamp) -> str:
        return f"{value.time:08x}{value.inc:08x}"


class _TimeText(TypeDecoder):
    bson_type = datetime

    def transform_bson(self, value: datetime) -> str:
        return value.isoformat(timespec="milliseconds") + "Z"


# MongoDB cuts long texts in its error messages, in the middle of a character; documents are always whole
PLAIN: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_CLAMP, unicode_decode_error_handler="replace"
)
"""BSON as Python values: what models are built from and conditions are applied to."""
TEXT: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    type_registry=TypeRegistry([_ObjectIdText(), _TimeText(), _StampText()]),
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
    unicode_decode_error_handler="replace",
)
"""BSON with ids and times as text: what Structs are converted from."""


EXACT: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
"""BSON as values that encode to the same BSON again: times beyond Python's stay what they are."""
RAW: Final[CodecOptions[RawBSONDocument]] = CodecOptions(
    document_class=RawBSONDocument, unicode_decode_error_handler="replace"
)
"""BSON as it is; the error handler, as for `PLAIN`, is for what MongoDB says."""
_IDENTITY_ELEMENT: Final = b"\x07_id\x00"
_IDENTITY: Final = slice(9, 21)
_ENCODED: Final = (datetime, ObjectId, Timestamp)
"""What is encoded alike whatever class of it a value has."""
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, datetime, ObjectId, Timestamp})
_REMEMBERED: Final = 2048
_REMEMBERED_BYTES: Final = 2048
"""How many documents are remembered decoded, and how long each may be: about 25 MB at most."""


class _StoredOtherwiseError(Exception):
    """Only ODMantic knows how a value is stored."""


def dump(document: Model) -> dict[str, Any]:
    """Return a model as ODMantic stores it, mostly in a fraction of its time.

    Raises:
        UnsupportedExpression: its values are nested too deeply.
    """
    try:
        return _fields(document)
    except _StoredOtherwiseError:
        return document.model_dump_doc()
    except RecursionError:
        raise UnsupportedExpression("the values of a document are nested too deeply") from None


def _fields(document: Model | EmbeddedModel) -> dict[str, Any]:
    return {key: _stored(getattr(document, name)) for name, key in _keys(type(document))}


def _stored(value: Any) -> Any:
    """Return a value as ODMantic stores it.

    Raises:
        _StoredOtherwiseError: it is of a sort that is not stored as it is, nor part by part.
    """
    if _is_plain(value):
        return value
    if type(value) is list:
        return [_stored(element) for element in value]
    if isinstance(value, EmbeddedModel):
        return _fields(value)
    raise _StoredOtherwiseError


@cache
def _keys(model: type[Model | EmbeddedModel]) -> tuple[tuple[str, str], ...]:
    return tuple((name, field.key_name) for name, field in model.__odm_fields__.items())


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document as BSON, `_id` first, as MongoDB has it.

    Raises:
        UnsupportedExpression: BSON cannot hold a value of it.
    """
    return encode_fields({"_id": document["_id"], **document})


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """Return some fields of a document as BSON. Raises as `encode` does."""
    try:
        return bson.encode(fields)
    except Exception as error:  # besides its own errors, `bson` lets those of numbers, texts and recursion through
        raise UnsupportedExpression(f"a document cannot be stored: {type(error).__name__}") from error


def read_id(raw: bytes) -> bytes:
    """Return the bytes of the ObjectId with which a document begins.

    Raises:
        UnsupportedExpression: it begins with something else.
    """
    if raw[4:9] != _IDENTITY_ELEMENT:
        raise UnsupportedExpression("a document has no ObjectId as its id")
    return raw[_IDENTITY]


def move_id_first(raw: bytes) -> bytes:
    """Return a document with `_id` as its first key."""
    return raw if raw[4:9] == _IDENTITY_ELEMENT else encode(decode(raw, EXACT))


def decode(raw: bytes, options: CodecOptions[dict[str, Any]] = PLAIN) -> dict[str, Any]:
    """Return BSON as a document.

    Raises:
        StoreError: it is damaged.
    """
    try:
        return bson.decode(raw, options)
    except Exception as error:  # as in `encode`
        raise StoreError(f"a document cannot be read: {type(error).__name__}") from error


def decode_cached(raw: bytes) -> Mapping[str, Any]:
    """Return BSON as a document to look at, which others may be looking at too."""
    return _looked_at(raw) if len(raw) <= _REMEMBERED_BYTES else decode(raw)


def to_result(raw: bytes, model: type[ModelT], into: type[Any] | None) -> Any:
    """Return BSON as a Struct, or as its model.

    The same bytes are the same document: what was converted lately is not converted again.

    Args:
        raw: The document.
        model: The model.
        into: The Struct, which is not to be changed, for others may have it too; or None for the model.
    """
    if into is None:
        return model.model_validate_doc(decode(raw))
    return _converted(raw, into) if len(raw) <= _REMEMBERED_BYTES else _convert(raw, into)  # type: ignore[arg-type]


def make_converter(model: type[ModelT], into: type[Any] | None) -> Callable[[bytes], Any]:
    """Return a function that converts as `to_result` does, for many documents."""
    if into is None:
        return lambda raw: to_result(raw, model, into)
    kind: Any = into
    return lambda raw: _converted(raw, kind) if len(raw) <= _REMEMBERED_BYTES else _convert(raw, kind)


def _convert(raw: bytes, into: type[Any]) -> Any:
    stored = issubclass(into, StoredStruct)
    document = decode(raw, PLAIN if stored else TEXT)
    document["id"] = document.pop("_id", None)
    return msgspec.convert(document, into, dec_hook=_embedded if stored else None)


def _embedded(kind: type[EmbeddedModel], value: Any) -> EmbeddedModel:
    return kind.model_validate_doc(value)


_converted = lru_cache(_REMEMBERED)(_convert)


@lru_cache(_REMEMBERED)
def _looked_at(raw: bytes) -> Mapping[str, Any]:
    return MappingProxyType(decode(raw))


@cache
def list_keys(into: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the keys that a Struct takes from a document."""
    names = (field.encode_name for field in msgspec.structs.fields(into))
    return tuple("_id" if name == "id" else name for name in names)


def parse_stamp(text: str) -> Timestamp:
    """Return the stamp that a Struct was given as text: 16 hex digits.

    Raises:
        ValueError: it is no such text.
    """
    if len(text) != 16:
        raise ValueError("a stamp has 16 hex digits")
    return Timestamp(int(text[:8], 16), int(text[8:], 16))


@cache
def find_stamp_key(model: type[Model]) -> str | None:
    """Return the key that the store itself writes at every write of a document, or None."""
    found = (name for name, field in model.model_fields.items() if field.annotation is Stamp)
    name = next(found, None)
    return None if name is None else model.__odm_fields__[name].key_name


def validate_changes(model: type[Model], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Validate new values as the model would, and return them by the document's keys, as they are stored.

    Args:
        model: The model.
        changes: New values by the model's field names.

    Raises:
        UnsupportedExpression: there is no such field, or it is the id.
        pydantic.ValidationError: a value does not fit its field.
    """
    values = {}
    for name, value in changes.items():
        if name not in model.__odm_fields__ or name == model.__primary_field__:
            raise UnsupportedExpression(f"{name} is no field of {model.__name__} that can change")
        values[name] = _adapter(model, name).validate_python(value)
    try:
        return {model.__odm_fields__[name].key_name: _stored(value) for name, value in values.items()}
    except _StoredOtherwiseError:
        return model.model_construct(**values).model_dump_doc(include=set(values))


def _is_plain(value: Any) -> bool:
    """Tell whether ODMantic stores a value as it is."""
    if type(value) is list:
        return all(type(element) in _PLAIN for element in value)
    return type(value) in _PLAIN or isinstance(value, _ENCODED)


@cache
def _adapter(model: type[Model], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    return TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]  # a type that is made at run time
