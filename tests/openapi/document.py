"""How the tests read an OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")


class Operation(NamedTuple):
    """One operation of a document, with its references followed.

    Attributes:
        id: Its operationId.
        method: In capitals.
        path: The path's template.
        raw: As it stands in the document.
        parameters: By name.
        responses: By status.
    """

    id: str
    method: str
    path: str
    raw: Json
    parameters: dict[str, Json]
    responses: dict[str, Json]


def operations_of(document: Json) -> Iterator[Operation]:
    """Yield every operation."""
    for path, item in document["paths"].items():
        for method, raw in item.items():
            if method in METHODS:
                parameters = [followed(parameter, document) for parameter in raw.get("parameters", ())]
                yield Operation(
                    raw["operationId"],
                    method.upper(),
                    path,
                    raw,
                    {parameter["name"]: parameter for parameter in parameters},
                    {status: followed(response, document) for status, response in raw["responses"].items()},
                )


def followed(value: Json, document: Json) -> Json:
    """Return what a reference stands for, or the value itself."""
    while set(value) == {"$ref"}:
        value = at(value["$ref"], document)
    return value


def at(reference: str, document: Json) -> Any:
    """Return the part of the document that a reference names."""
    assert reference.startswith("#/"), reference
    part: Any = document
    for step in reference[2:].split("/"):
        part = part[step.replace("~1", "/").replace("~0", "~")]
    return part


def references_in(value: Any) -> Iterator[str]:
    """Yield every reference, however deep."""
    if isinstance(value, list):
        for item in value:
            yield from references_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from references_in(item)


def schemas_in(schema: Json, place: str) -> Iterator[tuple[str, Json]]:
    """Yield a schema and every schema within it, each with its place."""
    yield place, schema
    for name, part in schema.get("properties", {}).items():
        yield from schemas_in(part, f"{place}/{name}")
    if isinstance(schema.get("items"), dict):
        yield from schemas_in(schema["items"], f"{place}/*")
    for index, part in enumerate(schema.get("anyOf", ())):
        yield from schemas_in(part, f"{place}|{index}")
