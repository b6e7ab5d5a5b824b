"""Postprocessing of the OpenAPI document that Litestar builds, so that generated clients are correct.

Litestar 2.25 provides the paths, the operations and their texts. The rest is wrong or missing. Remove a function below
when Litestar fixes its issue:

* `components.build_components`: Litestar drops bounds of list items, `forbid_unknown_fields`, `extra_json_schema` and
  docstrings of Structs, and turns an optional field into a `oneOf` with one choice. msgspec's schemas have them all.
* `components.move_default_to_description`: generated clients send a component's default back, so a PATCH resets fields.
* `components._require_sent_fields`: a field with a default is documented as optional in a response that always has it.
* `components._hoist`: the values of a `Literal` are repeated at every use, so a client gets a type for each use.
* `requests.build_parameters`: query parameters read from a Struct and header fields read by a handler are missing.
* `requests.set_body`: a body that the handler reads itself is missing, and PATCH has a single media type.
* `requests.set_security`: a public operation requires a token, because Litestar drops an empty `security`.
* `responses.build_responses`: every operation with parameters has a 400 in Litestar's own format. Problems that follow
  from the route, 304 and headers are missing.
* `links.add_links`, `examples.add_examples`: there are no links, and the generated examples are not valid.
* `remove_defaults`: every property with its default value is written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar.handlers import HTTPRouteHandler

from todo_service.web.openapi.components import build_components
from todo_service.web.openapi.document import METHODS, Json, iterate_operations
from todo_service.web.openapi.examples import add_examples
from todo_service.web.openapi.headers import HEADERS, PARAMETERS
from todo_service.web.openapi.links import add_links
from todo_service.web.openapi.requests import build_parameters, set_body, set_security
from todo_service.web.openapi.responses import build_responses, infer_failures, name_failure


def postprocess(document: Json, handlers: Mapping[str, HTTPRouteHandler]) -> Json:
    """Return the document as served to clients.

    Args:
        document: The document that Litestar built.
        handlers: The handlers by operationId.
    """
    schemas, queries = build_components(document["components"].get("schemas", {}), list(handlers.values()))
    responses: dict[str, Json] = {}
    for path, operation in iterate_operations(document["paths"]):
        handler = handlers[operation["operationId"]]
        operation["responses"] = build_responses(
            path, operation, handler, schemas, infer_failures(path, handler, document["paths"])
        )
        operation["parameters"] = build_parameters(operation, handler, queries, schemas)
        set_body(operation, handler)
        set_security(operation, handler)
        for status, response in operation["responses"].items():
            if status[0] in "45":
                name = name_failure(int(status), path)
                responses[name] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    tags = [tag["name"] for tag in document["tags"]]
    # Litestar's order is not deterministic
    paths = {
        path: {method: item[method] for method in METHODS if method in item}
        for path, item in sorted(document["paths"].items(), key=lambda item: _sort_key(item, tags))
    }
    add_links(paths)
    add_examples(paths, schemas)
    return {
        "openapi": "3.1.1",
        **{name: document[name] for name in ("info", "servers", "tags", "security")},
        "paths": remove_defaults(paths),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": dict(sorted(responses.items())),
            "parameters": dict(PARAMETERS),
            "headers": dict(HEADERS),
            "securitySchemes": document["components"]["securitySchemes"],
        },
    }


def _sort_key(item: tuple[str, Json], tags: list[str]) -> tuple[int, str]:
    path, operations = item
    return min(tags.index(operation["tags"][0]) for operation in operations.values()), path


def remove_defaults(value: Any) -> Any:
    """Remove properties with their default values, recursively."""
    if isinstance(value, list):
        return [remove_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    noise = {"deprecated": False, "allowEmptyValue": False, "allowReserved": False, "parameters": []}
    return {name: remove_defaults(item) for name, item in value.items() if name not in noise or item != noise[name]}
