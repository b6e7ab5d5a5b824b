"""The component schemas: the Structs of requests and responses as msgspec describes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from inspect import cleandoc
from typing import Any, get_args

import msgspec
from litestar.handlers import HTTPRouteHandler

from todo_service.api_types import SHOWN
from todo_service.timestamps import Timestamp
from todo_service.web.openapi.document import NULL, REF_PREFIX, Json
from todo_service.web.problems import Problem, TokenProblem
from todo_service.web.requests import find_query_struct
from todo_service.web.route_options import BODIES, COMPONENTS, FORM, RESPONSE_BODIES


def build_components(
    built: dict[str, Json], handlers: Sequence[HTTPRouteHandler]
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Build the component schemas from msgspec's own schemas.

    Args:
        built: The component schemas of Litestar, by name.
        handlers: Every handler of the document.

    Returns:
        The component schemas, and the schemas of query parameter Structs, both by name.
    """
    kinds = _collect_structs(
        [Problem, TokenProblem, *(kind for handler in handlers for kind in _list_annotations(handler))]
    )
    queries = {kind for handler in handlers if (kind := find_query_struct(handler)) is not None}
    found = _build_schemas(kinds | queries)
    for kind in kinds:
        if not kind.__struct_config__.forbid_unknown_fields:
            _require_sent_fields(found[kind.__name__], kind)
    components = built | found
    hoisted: dict[str, Json] = {}
    for schema in list(components.values()):
        schema.pop("title", None)
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
        if not schema.get("required"):
            schema.pop("required", None)
        for part in _iterate_parts(schema):
            _show_trimmed_bounds(part)
            _simplify(part)
            _hoist(part, hoisted)
    for schema in hoisted.values():
        _simplify(schema)
    names = {kind.__name__ for kind in queries}
    parameters = {name: components.pop(name) for name in names}
    components |= hoisted
    for schema in components.values():
        for part in _iterate_parts(schema):
            move_default_to_description(part, components)
    return components, parameters


def _list_annotations(handler: HTTPRouteHandler) -> Iterator[Any]:
    yield from handler.opt.get(COMPONENTS, ())
    yield handler.opt.get(FORM)
    yield from handler.opt.get(BODIES, {}).values()
    yield from handler.opt.get(RESPONSE_BODIES, {}).values()
    yield handler.parsed_return_field.annotation
    if handler.parsed_data_field is not None:
        yield handler.parsed_data_field.annotation
    yield from (spec.data_container for spec in (handler.responses or {}).values())


def _collect_structs(annotations: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """Return the Structs among these types, and the Structs of their fields, recursively."""
    found: set[type[msgspec.Struct]] = set()
    pending = list(annotations)
    while pending:
        kind = pending.pop()
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            pending += get_args(kind)
        elif kind not in found:
            found.add(kind)
            pending += [field.type for field in msgspec.structs.fields(kind)]
    return found


def _build_schemas(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    template = REF_PREFIX + "{name}"
    _, components = msgspec.json.schema_components(kinds, schema_hook=_build_custom_schema, ref_template=template)
    return components


def _build_custom_schema(kind: type) -> Json:
    if kind is Timestamp:
        return {"type": "string", "format": "date-time"}
    raise NotImplementedError(kind)


def _require_sent_fields(schema: Json, kind: type[msgspec.Struct]) -> None:
    """Mark the fields that a response always has as required.

    These are all fields, or with `omit_defaults` the fields without a default; the others are then never null.
    """
    optional = [field for field in msgspec.structs.fields(kind) if not field.required]
    if any(field.default is msgspec.UNSET for field in optional):
        return  # a form with optional fields
    for field_schema in schema["properties"].values():
        field_schema.pop("default", None)
    if not kind.__struct_config__.omit_defaults:
        schema["required"] = [field.encode_name for field in msgspec.structs.fields(kind)]
        return
    for field in optional:
        field_schema = schema["properties"][field.encode_name]
        if field.default is None and "anyOf" in field_schema:
            field_schema["anyOf"] = [choice for choice in field_schema["anyOf"] if choice != NULL]


def _iterate_parts(schema: Json) -> Iterator[Json]:
    """Yield each schema nested in a schema, the innermost ones first."""
    for part in [*schema.get("properties", {}).values(), schema.get("items"), *schema.get("anyOf", ())]:
        if isinstance(part, dict):
            yield from _iterate_parts(part)
            yield part


def _show_trimmed_bounds(schema: Json) -> None:
    """Replace the bounds of the type with the bounds after trimming."""
    for name, value in schema.pop(SHOWN, {}).items():
        if value is None:
            del schema[name]
        else:
            schema[name] = value


def _simplify(schema: Json) -> None:
    """Collapse an enum or `anyOf` with one choice, replace an `anyOf` of a type and null by a nullable type, and give a
    number its precision."""
    if schema.get("type") == "number":
        schema["format"] = "double"  # otherwise Go and Swift round it to 24 bits, and Java reads a decimal
    values = schema.get("enum", [])
    if values and all(isinstance(value, str) for value in values):
        schema.setdefault("type", "string")
        if len(values) == 1:
            schema["const"] = schema.pop("enum")[0]
        elif any(value.startswith("-") for value in values):
            # otherwise generators name the values by number
            schema["x-enum-varnames"] = [_to_constant_name(value) for value in values]
    choices = schema.get("anyOf", [])
    others = [choice for choice in choices if choice != NULL]
    if len(others) != 1 or (len(choices) > 1 and not isinstance(others[0].get("type"), str)) or "title" in others[0]:
        return
    del schema["anyOf"]
    for name, value in others[0].items():
        schema.setdefault(name, value)
    if len(choices) > 1:
        schema["type"] = [schema["type"], "null"]


def _to_constant_name(value: str) -> str:
    return f"{value[1:]}_descending".upper() if value.startswith("-") else value.upper()


def _hoist(schema: Json, hoisted: dict[str, Json]) -> None:
    """Move a schema with a title to a component, and refer to it."""
    if "title" not in schema or "anyOf" in schema:
        return
    name = schema.pop("title")
    kept = {"default": schema.pop("default")} if "default" in schema else {}
    hoisted.setdefault(name, dict(schema))
    schema.clear()
    schema |= {"$ref": REF_PREFIX + name, **kept}


def move_default_to_description(schema: Json, components: dict[str, Json]) -> None:
    """Move a default to the description, unless it is obvious."""
    default = schema.pop("default", None)
    if default in (None, "", []) or "const" in schema:
        return
    text = str(default).lower() if isinstance(default, bool) else default
    schema["description"] = (
        f"{schema.get('description') or get_component_description(schema, components)} Defaults to `{text}`."
    )


def get_component_description(schema: Json, schemas: dict[str, Json]) -> str:
    """Return the description of the component that a schema refers to."""
    return str(schemas[schema["$ref"].removeprefix(REF_PREFIX)]["description"])
