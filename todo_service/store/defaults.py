"""The defaults of fields that a document lacks because an earlier release has written it.

A default is applied to the document before it is converted, so models and Structs have the same values. Conditions and
indexes use it too (see "Releases" in `store.base`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from odmantic import EmbeddedModel, Model

from todo_service.store.base import DEFAULT_FROM

_OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_CLAMP
)
DocumentT = TypeVar("DocumentT", bound=dict[str, Any])


class Defaults(NamedTuple):
    """The defaults of a model.

    Attributes:
        keys: The keys that have a default.
        values: Their values, as BSON.
        sources: Maps each key whose default is the value of another key to that other key.
        texts: The keys of `sources` that hold text. Their source is the id, which is converted to text.
        embedded: The embedded models that have defaults.
    """

    keys: frozenset[str]
    values: bytes
    sources: Mapping[str, str]
    texts: frozenset[str]
    embedded: tuple[Embedded, ...]

    def get_source_value(self, document: Mapping[str, Any], key: str) -> Any:
        """Return the default of a key in `sources` for a document."""
        value = document.get(self.sources[key])
        return str(value) if key in self.texts and value is not None else value

    def restrict(self, keys: Collection[str]) -> Defaults:
        """Return the defaults for some keys only."""
        embedded = tuple(part for part in self.embedded if part.key in keys)
        return Defaults(self.keys.intersection(keys), self.values, self.sources, self.texts, embedded)


class Embedded(NamedTuple):
    """A key with embedded documents, and their defaults.

    Attributes:
        key: The key. Its value is an embedded document, a list of them, or a mapping to them.
        is_mapping: Whether it is a mapping.
        defaults: The defaults of the embedded model.
    """

    key: str
    is_mapping: bool
    defaults: Defaults

    def list_parts(self, value: Any) -> Iterable[dict[str, Any]]:
        """Return the embedded documents in a value of the key."""
        if isinstance(value, dict):
            value = value.values() if self.is_mapping else (value,)
        return (part for part in value or () if isinstance(part, dict))


@cache
def find_defaults(model: type[Model | EmbeddedModel]) -> Defaults:
    """Return the defaults of a model and of the models embedded in it."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    texts = set()
    embedded = []
    for name, field in model.__odm_fields__.items():
        part = getattr(field, "model", None)
        if part is not None and any(found := find_defaults(part)):
            embedded.append(Embedded(field.key_name, getattr(field, "generic_origin", None) is dict, found))
        declared = model.model_fields[name]
        if field.key_name != "_id" and not declared.is_required():
            # not pydantic's `get_default`, which copies the value: a copy of a BSON timestamp is broken
            factory: Any = declared.default_factory
            values[name] = declared.default if factory is None else factory()
            if isinstance(extra := declared.json_schema_extra, dict) and DEFAULT_FROM in extra:
                source = sources[field.key_name] = model.__odm_fields__[str(extra[DEFAULT_FROM])].key_name
                if source == "_id" and declared.annotation is str:
                    texts.add(field.key_name)
    document = model.model_construct(**values).model_dump_doc(include=set(values)) if values else {}
    encoded = bson.encode(document) if document else b""
    return Defaults(frozenset(document), encoded, sources, frozenset(texts), tuple(embedded))


@cache
def list_default_values(model: type[Model]) -> Mapping[str, Any]:
    """Return the values that conditions and indexes use for missing keys, except null, as BSON decodes them."""
    values = _decode(find_defaults(model), _OPTIONS)
    return MappingProxyType({key: value for key, value in values.items() if value is not None})


def make_getter(model: type[Model], key: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that reads a key of a decoded document, or its default if the key is missing."""
    default, defaults = list_default_values(model).get(key), find_defaults(model)
    if key not in defaults.sources:
        return lambda document: document.get(key, default)
    return lambda document: document[key] if key in document else defaults.get_source_value(document, key)


def fill_in(
    document: dict[str, Any], defaults: Defaults, options: CodecOptions[dict[str, Any]] = _OPTIONS
) -> dict[str, Any]:
    """Add the defaults of missing keys to a document and to the documents embedded in it, and return the document.

    Args:
        document: The document.
        defaults: The defaults of its model.
        options: How the document was decoded.
    """
    if not document.keys() >= defaults.keys:
        # decoded for each document, which may be modified
        values = _decode(defaults, options)
        missing = defaults.keys - document.keys()
        document.update((key, values[key]) for key in missing)
        found = [key for key in defaults.sources if key in missing]
        document.update((key, defaults.get_source_value(document, key)) for key in found)
    for embedded in defaults.embedded:
        for part in embedded.list_parts(document.get(embedded.key)):
            fill_in(part, embedded.defaults, options)
    return document


def _decode(defaults: Defaults, options: CodecOptions[dict[str, Any]]) -> dict[str, Any]:
    return bson.decode(defaults.values, options) if defaults.values else {}
