"""The parameters, the body and the security of an operation."""

from __future__ import annotations

from copy import deepcopy
from typing import Final

from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from todo_service.web.openapi.components import get_component_description, move_default_to_description
from todo_service.web.openapi.document import EXAMPLE_ID, REF_PREFIX, Json, build_content
from todo_service.web.requests import find_query_struct
from todo_service.web.route_options import BODIES, FORM, IDEMPOTENT, LAST_EVENT_ID, PUBLIC

_FORM: Final = "application/x-www-form-urlencoded"
_MERGE_PATCH: Final = "application/merge-patch+json"


def build_parameters(
    operation: Json, handler: HTTPRouteHandler, queries: dict[str, Json], schemas: dict[str, Json]
) -> list[Json]:
    """Return the parameters of an operation.

    Args:
        operation: The operation, with its responses.
        handler: Its handler.
        queries: The schemas of query parameter Structs, by name.
        schemas: The component schemas, by name.
    """
    found = []
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            subject = parameter["name"].removesuffix("_id").replace("_", " ")
            schema = {"type": "string", "pattern": "^[0-9a-f]{24}$", "examples": [EXAMPLE_ID]}
            parameter = {**parameter, "description": f"The id of the {subject}.", "schema": schema}
        found.append(parameter)
    kind = find_query_struct(handler)
    for name, schema in deepcopy(queries[kind.__name__]["properties"] if kind else {}).items():
        move_default_to_description(schema, schemas)
        parameter = {"name": name, "in": "query", "required": False, "schema": schema}
        parameter["description"] = schema.pop("description", None) or get_component_description(schema, schemas)
        if schema.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        found.append(parameter)
    if "412" in operation["responses"]:
        found.append({"$ref": "#/components/parameters/IfMatch"})
        if HttpMethod.POST not in handler.http_methods:
            found.append({"$ref": "#/components/parameters/IfNoneMatch"})
    if handler.opt.get(LAST_EVENT_ID):
        found.append({"$ref": "#/components/parameters/LastEventId"})
    if handler.opt.get(IDEMPOTENT):
        found.append({"$ref": "#/components/parameters/IdempotencyKey"})
    return found


def set_body(operation: Json, handler: HTTPRouteHandler) -> None:
    """Declare the body that a handler parses itself, an optional body, and both media types of PATCH."""
    if form := handler.opt.get(FORM):
        schema = {"$ref": REF_PREFIX + form.__name__}
        operation["requestBody"] = {"required": True, "content": {_FORM: {"schema": schema}}}
    if bodies := handler.opt.get(BODIES):
        operation["requestBody"] = {"required": True, "content": build_content(bodies)}
    body = operation.get("requestBody")
    data = handler.parsed_data_field
    if body is not None and data is not None and data.is_optional:
        body["required"] = False
        for media in body["content"].values():
            (media["schema"],) = [each for each in media["schema"]["oneOf"] if each != {"type": "null"}]
    if body is not None and HttpMethod.PATCH in handler.http_methods:
        content = body["content"]["application/json"]
        body["content"] = {_MERGE_PATCH: content, "application/json": dict(content)}


def set_security(operation: Json, handler: HTTPRouteHandler) -> None:
    """Declare that a public operation needs no credential; the others inherit the security of the document."""
    operation.pop("security", None)
    if handler.opt.get(PUBLIC):
        operation["security"] = []
