"""The schema of a collection: what a write needs to know about its model. It can be sent to another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from todo_service.store.query.declared import DeclaredIndex


class Schema(NamedTuple):
    """The schema of a collection.

    Attributes:
        collection: The name of the collection.
        model: The class name of the model, for errors.
        stamp: The key of the stamp, or None.
        fields: The field of the model for each indexed key, for errors.
        indexes: The secondary indexes.
        defaults: The values that conditions and indexes use for missing keys.
        sources: Maps each key whose default is the value of another key to that other key.
        texts: The keys of `sources` that hold text. Their source is the id, which is converted to text.
    """

    collection: str
    model: str
    stamp: str | None
    fields: Mapping[str, str]
    indexes: tuple[DeclaredIndex, ...]
    defaults: Mapping[str, Any]
    sources: Mapping[str, str]
    texts: frozenset[str]

    def make_getter(self, key: str) -> Callable[[Mapping[str, Any]], Any]:
        """Return a function that reads a key of a document, or its default if the key is missing."""
        source, default = self.sources.get(key), self.defaults.get(key)
        if source is None:
            return lambda document: document.get(key, default)
        as_text = key in self.texts

        def get(document: Mapping[str, Any]) -> Any:
            if key in document:
                return document[key]
            value = document.get(source)
            return str(value) if as_text and value is not None else value

        return get

    def dump(self) -> dict[str, Any]:
        """Return the schema as a BSON document."""
        indexes = [list(index) for index in self.indexes]
        values = {"defaults": dict(self.defaults), "texts": sorted(self.texts)}
        return self._asdict() | {"indexes": indexes} | values

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Schema:
        """Return the schema that `dump` has returned."""
        indexes = tuple(DeclaredIndex(name, tuple(keys), *rest) for name, keys, *rest in document["indexes"])
        return cls(**{**document, "indexes": indexes, "texts": frozenset(document["texts"])})
