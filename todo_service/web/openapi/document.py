"""The OpenAPI document as JSON: its references and its operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Json = dict[str, Any]

METHODS: Final = ("get", "post", "put", "patch", "delete")
REF_PREFIX: Final = "#/components/schemas/"
NULL: Final = {"type": "null"}
EXAMPLE_ID: Final = "65f1a2b3c4d5e6f708192a3b"


def iterate_operations(paths: Json) -> Iterator[tuple[str, Json]]:
    """Yield each operation with its path."""
    for path, item in paths.items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, operation


def build_content(kinds: Mapping[str, type | str]) -> Json:
    """Return the content of a body by media type: a Struct as JSON, or the example of a file.

    The schema of a file is binary, although files are text: most generated clients would decode a string as JSON.
    """
    return {
        media_type: {"schema": {"type": "string", "format": "binary"}, "example": kind}
        if isinstance(kind, str)
        else {"schema": {"$ref": REF_PREFIX + kind.__name__}}
        for media_type, kind in kinds.items()
    }
