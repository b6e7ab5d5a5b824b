"""Conversion of documents between BSON, ODMantic models and msgspec Structs, the same for both stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Annotated, Any, Final

import msgspec
from bson import ObjectId, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from odmantic import EmbeddedModel, Model
from pydantic import TypeAdapter

from todo_service.store.base import KEEPS_STAMP, ModelT, Stamp
from todo_service.store.bson_codec import CACHED_DOCUMENT_BYTES, CACHED_DOCUMENTS, PLAIN, decode
from todo_service.store.defaults import Defaults, fill_in, find_defaults
from todo_service.store.errors import UnsupportedExpression
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


TEXT: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    type_registry=TypeRegistry([_ObjectIdText(), _TimeText(), _StampText()]),
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
    unicode_decode_error_handler="replace",
)
"""BSON with ids, times and stamps as text, for conversion into Structs."""
_ENCODED: Final = (datetime, ObjectId, Timestamp)
"""Types whose subclasses have the same encoding."""
_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, datetime, ObjectId, Timestamp})


class _NeedsODManticError(Exception):
    """A value needs ODMantic's own, slower conversion."""


def dump(document: Model) -> dict[str, Any]:
    """Return a model as the document that ODMantic would store, usually in a fraction of the time.

    Raises:
        UnsupportedExpression: The values are nested too deeply.
    """
    try:
        return _dump_fields(document)
    except _NeedsODManticError:
        return document.model_dump_doc()
    except RecursionError:
        raise UnsupportedExpression("the values of a document are nested too deeply") from None


def _dump_fields(document: Model | EmbeddedModel) -> dict[str, Any]:
    return {
        # without a call for most values
        key: value if type(value := getattr(document, name)) in _PLAIN else _dump_value(value)
        for name, key in _list_model_keys(type(document))
    }


def _dump_value(value: Any) -> Any:
    """Return a value as ODMantic would store it.

    Raises:
        _NeedsODManticError: The value, or a part of it, is of a type that is not stored as it is.
    """
    if _is_plain(value):
        return value
    if type(value) is list:
        return [_dump_value(element) for element in value]
    if isinstance(value, EmbeddedModel):
        return _dump_fields(value)
    raise _NeedsODManticError


@cache
def _list_model_keys(model: type[Model | EmbeddedModel]) -> tuple[tuple[str, str], ...]:
    return tuple((name, field.key_name) for name, field in model.__odm_fields__.items())


def to_result(raw: bytes, model: type[ModelT], into: type[Any] | None) -> Any:
    """Convert a document into a Struct or into its model.

    Conversions into Structs are cached by the bytes of the document, so callers share them.

    Args:
        raw: The document.
        model: The model.
        into: The Struct, or None for the model.
    """
    if into is None:
        return build_model(model, decode(raw))
    return _convert_cached(raw, model, into) if len(raw) <= CACHED_DOCUMENT_BYTES else _convert(raw, model, into)


def build_model(model: type[ModelT], document: dict[str, Any]) -> ModelT:
    """Build the model of a decoded document. The document is modified: it gets the defaults of missing fields."""
    return model.model_validate_doc(fill_in(document, find_defaults(model)))


def make_converter(model: type[ModelT], into: type[Any] | None) -> Callable[[bytes], Any]:
    """Return a function that converts documents as `to_result` does, faster for many documents."""
    if into is None:
        return lambda raw: to_result(raw, model, into)
    return lambda raw: (_convert_cached if len(raw) <= CACHED_DOCUMENT_BYTES else _convert)(raw, model, into)


def _convert(raw: bytes, model: type[Model], into: type[msgspec.Struct]) -> Any:
    stored = issubclass(into, StoredStruct)
    options = PLAIN if stored else TEXT
    document = fill_in(decode(raw, options), _find_defaults(model, into), options)
    document["id"] = document.pop("_id", None)
    return msgspec.convert(document, into, dec_hook=_build_embedded if stored else None)


def _build_embedded(kind: type[EmbeddedModel], value: Any) -> EmbeddedModel:
    return kind.model_validate_doc(value)


_convert_cached: Any = lru_cache(CACHED_DOCUMENTS)(_convert)


@cache
def _find_defaults(model: type[Model], into: type[msgspec.Struct]) -> Defaults:
    return find_defaults(model).restrict(list_keys(into))


@cache
def list_keys(into: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the keys of a document that a Struct reads."""
    names = (field.encode_name for field in msgspec.structs.fields(into))
    return tuple("_id" if name == "id" else name for name in names)


def parse_stamp(text: str) -> Timestamp:
    """Parse a stamp from the text that a Struct holds: 16 hex digits.

    Raises:
        ValueError: The text is not a stamp.
    """
    if len(text) != 16:
        raise ValueError("a stamp must have 16 hex digits")
    return Timestamp(int(text[:8], 16), int(text[8:], 16))


@cache
def find_stamp_key(model: type[Model]) -> str | None:
    """Return the key of the field that the store stamps, or None."""
    found = (name for name, field in model.model_fields.items() if field.annotation is Stamp)
    name = next(found, None)
    return None if name is None else model.__odm_fields__[name].key_name


def find_changed_stamp_key(model: type[Model], changed: Iterable[str]) -> str | None:
    """Return the key of the field that the store stamps when some keys change, or None if it stamps none."""
    return None if _list_unstamped_keys(model).issuperset(changed) else find_stamp_key(model)


@cache
def _list_unstamped_keys(model: type[Model]) -> frozenset[str]:
    marked = (
        name
        for name, field in model.model_fields.items()
        if isinstance(extra := field.json_schema_extra, dict) and extra.get(KEEPS_STAMP)
    )
    return frozenset(model.__odm_fields__[name].key_name for name in marked)


def validate_changes(model: type[Model], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Validate new values as the model would, and return them as they are stored, by the document's keys.

    Args:
        model: The model.
        changes: New values by field name.

    Raises:
        UnsupportedExpression: A field does not exist, or is the id.
        pydantic.ValidationError: A value is invalid.
    """
    values = {}
    for name, value in changes.items():
        if name not in model.__odm_fields__ or name == model.__primary_field__:
            raise UnsupportedExpression(f"{name} is not a field of {model.__name__} that can be changed")
        values[name] = _make_adapter(model, name).validate_python(value)
    try:
        return {model.__odm_fields__[name].key_name: _dump_value(value) for name, value in values.items()}
    except _NeedsODManticError:
        return model.model_construct(**values).model_dump_doc(include=set(values))


def _is_plain(value: Any) -> bool:
    """Return whether ODMantic stores a value as it is."""
    if type(value) is list:
        return _PLAIN.issuperset(map(type, value))
    return type(value) in _PLAIN or isinstance(value, _ENCODED)


@cache
def _make_adapter(model: type[Model], name: str) -> TypeAdapter[Any]:
    field = model.model_fields[name]
    return TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]  # a type built at run time
