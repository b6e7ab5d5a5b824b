"""Helpers for reading an OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")


class Operation(NamedTuple):
    """An operation of a document, with resolved references.

    Attributes:
        id: The operationId.
        method: The HTTP method, in upper case.
        path: The path template.
        raw: The operation in the document.
        parameters: The parameters by name.
        responses: The responses by status.
    """

    id: str
    method: str
    path: str
    raw: Json
    parameters: dict[str, Json]
    responses: dict[str, Json]


def iterate_operations(document: Json) -> Iterator[Operation]:
    """Yield every operation."""
    for path, item in document["paths"].items():
        for method, raw in item.items():
            if method in METHODS:
                parameters = [resolve(parameter, document) for parameter in raw.get("parameters", ())]
                yield Operation(
                    raw["operationId"],
                    method.upper(),
                    path,
                    raw,
                    {parameter["name"]: parameter for parameter in parameters},
                    {status: resolve(response, document) for status, response in raw["responses"].items()},
                )


def resolve(value: Json, document: Json) -> Json:
    """Return the target of a reference, or the value itself."""
    while set(value) == {"$ref"}:
        value = follow_pointer(value["$ref"], document)
    return value


def follow_pointer(reference: str, document: Json) -> Any:
    """Return the part of the document that a reference points to."""
    assert reference.startswith("#/"), reference
    part: Any = document
    for step in reference[2:].split("/"):
        part = part[step.replace("~1", "/").replace("~0", "~")]
    return part


def iterate_references(value: Any) -> Iterator[str]:
    """Yield every reference, recursively."""
    if isinstance(value, list):
        for item in value:
            yield from iterate_references(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from iterate_references(item)


def iterate_schemas(schema: Json, place: str) -> Iterator[tuple[str, Json]]:
    """Yield a schema and its nested schemas, each with its path."""
    yield place, schema
    for name, part in schema.get("properties", {}).items():
        yield from iterate_schemas(part, f"{place}/{name}")
    if isinstance(schema.get("items"), dict):
        yield from iterate_schemas(schema["items"], f"{place}/*")
    for index, part in enumerate(schema.get("anyOf", ())):
        yield from iterate_schemas(part, f"{place}|{index}")
