"""Example bodies, composed of the examples of their fields."""

from __future__ import annotations

from typing import Any, Final

from todo_service.web.openapi.document import REF_PREFIX, Json, iterate_operations

_NO_EXAMPLE: Final = object()


def add_examples(paths: Json, schemas: dict[str, Json]) -> None:
    """Add an example to every body with a schema and without an example."""
    for _, operation in iterate_operations(paths):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media in [media for body in bodies for media in body.get("content", {}).values()]:
            if "$ref" in media["schema"] and "example" not in media and "examples" not in media:
                media["example"] = _build_example(media["schema"], schemas)


def _build_example(schema: Json, schemas: dict[str, Json]) -> Any:
    """Return an example of a schema, or `_NO_EXAMPLE`."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _build_example(schemas[schema["$ref"].removeprefix(REF_PREFIX)], schemas)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "anyOf" in schema:
        return _build_example(schema["anyOf"][0], schemas)
    if "items" in schema:
        item = _build_example(schema["items"], schemas)
        return item if item is _NO_EXAMPLE else [item]
    if "properties" in schema:
        found = {name: _build_example(field, schemas) for name, field in schema["properties"].items()}
        return {name: value for name, value in found.items() if value is not _NO_EXAMPLE}
    return _NO_EXAMPLE
