"""Structs derived from models, for reads that do not need a model."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import msgspec
from odmantic import EmbeddedModel, Model


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
