"""Structs and indexes derived from models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from typing import Any, TypeVar, get_args

import msgspec
from bson import ObjectId
from odmantic import EmbeddedModel, Model

from todo_service.timestamps import EARLIEST, format_timestamp

StructT = TypeVar("StructT", bound=msgspec.Struct)


class StoredStruct(msgspec.Struct, frozen=True):
    """The base class of Structs whose values are those of the model: ids and times are not converted to text."""


@cache
def derive_struct(model: type[Model]) -> type[Any]:
    """Return a Struct with the fields of a model. Building it is several times as fast as building the model.

    Values are as they are stored and are not validated again. Embedded models are models.
    """
    fields = []
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        embedding = any(issubclass(kind, EmbeddedModel) for kind in kinds)
        fields.append((name, field.annotation if embedding else Any))
    keys = {name: field.key_name for name, field in model.__odm_fields__.items() if field.key_name != "_id"}
    name = f"{model.__name__}Stored"
    return msgspec.defstruct(name, fields, bases=(StoredStruct,), rename=keys, frozen=True, kw_only=True)


def build_struct(document: Model | EmbeddedModel, into: type[StructT]) -> StructT:
    """Return a Struct with the values of a model, as a store converts a document into it.

    Args:
        document: The model.
        into: The Struct. Its fields are fields of the model; ids and times are text.
    """
    values = []
    for name, convert in _list_conversions(type(document), into):
        value = getattr(document, name)
        values.append(value if convert is None or value is None else convert(value))
    return into(*values)


@cache
def _list_conversions(
    model: type[Model | EmbeddedModel], into: type[msgspec.Struct]
) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """Return the fields of a Struct, each with the conversion of its values in the model, or None if they stay."""
    found: list[tuple[str, Callable[[Any], Any] | None]] = []
    for field in msgspec.structs.fields(into):
        kinds = tuple(_list_classes(model.model_fields[field.name].annotation))
        convert: Callable[[Any], Any] | None = None
        if any(issubclass(kind, datetime) for kind in kinds):
            convert = format_timestamp
        elif any(issubclass(kind, ObjectId) for kind in kinds):
            convert = str
        elif any(issubclass(kind, EmbeddedModel) for kind in kinds):
            convert = partial(_build_parts, into=_find_struct(field.type))
        found.append((field.name, convert))
    return tuple(found)


def _build_parts(parts: list[EmbeddedModel], into: type[msgspec.Struct]) -> list[msgspec.Struct]:
    return [build_struct(part, into) for part in parts]


def _find_struct(annotation: Any) -> type[msgspec.Struct]:
    """Return the Struct in the annotation of a list."""
    while not (isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)):
        annotation = get_args(annotation)[0]
    return annotation


def _list_classes(annotation: Any) -> list[type[Any]]:
    """Return the class of an annotation, or the classes in it."""
    return [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]


def partial_to_times(key: str) -> dict[str, Any]:
    """Return the `partialFilterExpression` of an index that holds only the documents with a time since 1970 in a key.

    Args:
        key: A key of the index, not that of a list.
    """
    return {key: {"$gte": EARLIEST}}


def list_index_keys(model: type[Model]) -> frozenset[tuple[str, ...]]:
    """Return the keys of each index that a model declares."""
    declared = [each if hasattr(each, "document") else each.get_pymongo_index() for each in model.__indexes__()]
    return frozenset(tuple(each.document["key"]) for each in declared)
