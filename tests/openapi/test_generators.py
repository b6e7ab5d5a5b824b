"""The document avoids what client generators misread."""

from __future__ import annotations

from tests.openapi.document import Json, iterate_operations, iterate_references, iterate_schemas, resolve

FORM = "application/x-www-form-urlencoded"
FILE = {"type": "string", "format": "binary"}


def test_a_body_with_several_types_is_a_file_first(document: Json) -> None:
    """Most clients have one type for all media types, that of the first, and can decode a file of any of them."""
    found = set()
    for operation in iterate_operations(document):
        for body in (operation.raw.get("requestBody", {}), *operation.responses.values()):
            contents = [media["schema"] for media in body.get("content", {}).values()]
            if any(schema != contents[0] for schema in contents):
                assert contents[0] == FILE, operation.id
                found.add(operation.id)

    assert found == {"exportTodos", "importTodos"}


def test_form_fields_refer_to_no_component(document: Json) -> None:
    """The Rust generator writes a wrong path to the type of such a field."""
    for operation in iterate_operations(document):
        media = operation.raw.get("requestBody", {}).get("content", {}).get(FORM)
        if media is not None:
            assert list(iterate_references(resolve(media["schema"], document))) == [], operation.id


def test_named_values_differ_between_components(document: Json) -> None:
    """In Go, the values of all components are constants of one package."""
    seen: dict[str, str] = {}
    for name, component in document["components"]["schemas"].items():
        for value in component.get("x-enum-varnames") or component.get("enum", ()):
            assert seen.setdefault(value.upper(), name) == name, value


def test_numbers_have_a_precision(document: Json) -> None:
    """Otherwise Go and Swift use 32 bits."""
    for name, component in document["components"]["schemas"].items():
        for place, schema in iterate_schemas(component, name):
            if "number" in schema.get("type", ()):
                assert schema["format"] == "double", place
