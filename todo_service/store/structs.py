"""Structs with the fields of a model, for reads that need no model."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import msgspec
from odmantic import EmbeddedModel, Model


class StoredStruct(msgspec.Struct, frozen=True):
    """A Struct whose values are those that the model has, not texts."""


@cache
def derive_struct(model: type[Model]) -> type[Any]:
    """Return a Struct with a model's fields: whoever only reads needs no model, which costs several times as much.

    Values are as they were stored, embedded models are models; nothing is validated again.
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
