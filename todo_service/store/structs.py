"""Structs and indexes derived from models."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, Final, TypeVar, get_args

import msgspec
from bson import ObjectId
from odmantic import EmbeddedModel, Model

from todo_service.timestamps import format_timestamp

StructT = TypeVar("StructT", bound=msgspec.Struct)
_JSON_TYPES: Final = frozenset({str, bool, int, float, type(None)})


class StoredStruct(msgspec.Struct, frozen=True):
    """The base class of Structs whose values are those of the model: ids and times are not converted to text."""


@cache
def derive_struct(model: type[Model]) -> type[Any]:
    """Return a Struct with the fields of a model. Building it is several times as fast as building the model.

    Values are as they are stored and are not validated again. Embedded models are models.
    """
    fields: list[Any] = []
    for name, field in model.model_fields.items():
        kinds = [kind for kind in get_args(field.annotation) if isinstance(kind, type)]
        embedding = any(issubclass(kind, EmbeddedModel) for kind in kinds)
        factory = field.default_factory
        default: Any = {"default": field.default} if factory is None else {"default_factory": factory}
        optional = () if field.is_required() else (msgspec.field(**default),)
        fields.append((name, field.annotation if embedding else Any, *optional))
    keys = {name: field.key_name for name, field in model.__odm_fields__.items() if field.key_name != "_id"}
    name = f"{model.__name__}Stored"
    return msgspec.defstruct(name, fields, bases=(StoredStruct,), rename=keys, frozen=True, kw_only=True)


def build_struct(document: Model, into: type[StructT]) -> StructT:
    """Return a Struct with the values of a model, as a store converts a document into it.

    Args:
        document: The model.
        into: The Struct. Its fields are fields of the model; ids and times are text.
    """
    values = ((name, getattr(document, name)) for name in into.__struct_fields__)
    return msgspec.convert(
        {name: value if type(value) in _JSON_TYPES else _to_json_type(value) for name, value in values}, into
    )


def _to_json_type(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_timestamp(value)
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, EmbeddedModel):
        return {name: _to_json_type(getattr(value, name)) for name in type(value).model_fields}
    return [_to_json_type(element) for element in value] if isinstance(value, list) else value


def list_index_keys(model: type[Model]) -> frozenset[tuple[str, ...]]:
    """Return the keys of each index that a model declares."""
    declared = [each if hasattr(each, "document") else each.get_pymongo_index() for each in model.__indexes__()]
    return frozenset(tuple(each.document["key"]) for each in declared)
