"""What is corrected in the OpenAPI document that Litestar builds, so that generated clients are right.

Litestar 2.25 knows the paths, the operations and their texts. It is wrong or silent in what follows; each issue has one
function here, which goes when Litestar mends it:

* `_components`: bounds of list items, `forbid_unknown_fields`, `extra_json_schema` and docstrings of Structs are
  dropped, and a field that may be left out becomes a `oneOf` of one. msgspec's own schemas have them all.
* `_without_default`: a default on a component is sent back by generated clients, so that a PATCH resets fields.
* `_as_sent`: a field with a default counts as one that a response may lack, or may have as null, though it is sent.
* `_hoist`: the values of a `Literal` are written out at every use, so a client gets as many types for them.
* `_parameters`: query parameters read from a Struct, and header fields that a handler reads, are not known.
* `_body`: a body that the handler reads itself is not known, and PATCH has one media type only.
* `_responses`: every operation with parameters has a 400 of Litestar's own shape, while problems that follow from the
  route, 304 and headers are missing.
* `_security`: an operation that needs no token asks for one: an empty `security` is dropped.
* `_links`, `_examples`: there are none that hold.
* `_tidied`: every property that has its default value is written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, get_args

import msgspec
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from todo_service.fields import SHOWN
from todo_service.timestamps import Timestamp
from todo_service.web.problems import MEDIA_TYPE, PROBLEMS, FieldError, Problem, problem_named
from todo_service.web.route_options import (
    BODIES,
    COMPONENTS,
    CONTENTS,
    FORM,
    IDEMPOTENT,
    LIMIT,
    PUBLIC,
    QUERY,
    SESSION_ONLY,
)

Json = dict[str, Any]

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_PREFIX: Final = "#/components/schemas/"
_NULL: Final = {"type": "null"}
_NONE: Final = object()
_ID: Final = "65f1a2b3c4d5e6f708192a3b"
_FORM: Final = "application/x-www-form-urlencoded"
_MERGE_PATCH: Final = "application/merge-patch+json"
_TAG: Final = r'(W/)?"[!#-~]*"'

HEADERS: Final[Mapping[str, Json]] = {
    "ETag": {
        "description": "The document's strong entity tag, for If-Match and If-None-Match.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$', "examples": ['"1"']},
    },
    "Location": {
        "description": "The path of the new document.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference", "examples": [f"/v1/todos/{_ID}"]},
    },
    "Content-Disposition": {
        "description": "A name for the file (RFC 6266).",
        "required": True,
        "schema": {"type": "string", "examples": ['attachment; filename="todos.json"']},
    },
    "Link": {
        "description": 'The next page, with `rel="next"`, where there is one (RFC 8288).',
        "schema": {"type": "string", "examples": ['</v1/todos?cursor=3q2-7w>; rel="next"']},
    },
    "Idempotency-Replayed": {
        "description": "`true` where this is the answer to an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1, "examples": [2]},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate (RFC 6750).",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer", "examples": ["Bearer"]},
    },
    "Allow": {
        "description": "The methods that the path has.",
        "required": True,
        "schema": {"type": "string", "examples": ["GET, HEAD, OPTIONS"]},
    },
    "X-Request-ID": {
        "description": "The request's id: that which was sent, or a new one.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "examples": ["f3b1c9d2e4a5"]},
    },
    "RateLimit-Policy": {
        "description": "The limit: its name, how many requests, in how many seconds; absent where nothing is limited.",
        "schema": {"type": "string", "examples": ['"api";q=600;w=60']},
    },
    "RateLimit": {
        "description": "How many requests are left, and in how many seconds there are more.",
        "schema": {"type": "string", "examples": ['"api";r=599;t=60']},
    },
}
"""Every response header that operations document, as a component."""

_PARAMETERS: Final[Mapping[str, Json]] = {
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Only if the document still has one of these entity tags; `*` for any.",
        "required": False,
        "schema": {"type": "string", "pattern": rf"^(\*|{_TAG}( *, *{_TAG})*)$", "examples": ['"1"']},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Only if the document has none of these entity tags any more; else the answer is 304.",
        "required": False,
        "schema": {"type": "string", "pattern": rf"^(\*|{_TAG}( *, *{_TAG})*)$", "examples": ['"1"']},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "A request that is sent again with the same key has one effect, for 24 hours.",
        "required": False,
        "schema": {
            "type": "string",
            "pattern": "^[!-~]{1,255}$",
            "minLength": 1,
            "maxLength": 255,
            "examples": ["7f9c24e5-3b0a-4d55-9d3e-2f0d1c6b8a90"],
        },
    },
}


def titles_of(status: int) -> str:
    """Return what a status means here: the titles of all problems that have it."""
    return "; ".join(kind.title for kind in PROBLEMS.values() if kind.status == status)


def _names_of(status: int) -> list[str]:
    """Return the names of all problems that have a status, such as NotFound."""
    return [name.title().replace("-", "") for name, kind in PROBLEMS.items() if kind.status == status]


def corrected(document: Json, handlers: Mapping[str, HTTPRouteHandler]) -> Json:
    """Return the document as clients are to see it.

    Args:
        document: What Litestar built.
        handlers: The handlers by operationId.
    """
    schemas, queries = _components(document["components"].get("schemas", {}), list(handlers.values()))
    responses: dict[str, Json] = {}
    for path, operation in _operations(document["paths"]):
        handler = handlers[operation["operationId"]]
        operation["responses"] = _responses(operation, handler, schemas, _failures(path, handler, document["paths"]))
        operation["parameters"] = _parameters(operation, handler, queries, schemas)
        _body(operation, handler)
        _security(operation, handler)
        for status, response in operation["responses"].items():
            if status[0] in "45":
                name = "Or".join(_names_of(int(status)))
                responses[name] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    tags = [tag["name"] for tag in document["tags"]]
    # Litestar's own order is that of a set
    paths = {
        path: {method: item[method] for method in _METHODS if method in item}
        for path, item in sorted(document["paths"].items(), key=lambda item: _place(item, tags))
    }
    _links(paths, schemas)
    _examples(paths, schemas)
    return {
        "openapi": "3.1.1",
        **{name: document[name] for name in ("info", "servers", "tags", "security")},
        "paths": _tidied(paths),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": dict(sorted(responses.items())),
            "parameters": dict(_PARAMETERS),
            "headers": dict(HEADERS),
            "securitySchemes": document["components"]["securitySchemes"],
        },
    }


# Components


def _components(
    built: dict[str, Json], handlers: Sequence[HTTPRouteHandler]
) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return the component schemas, and those of the query's parameters, by name, as msgspec knows them."""
    kinds = _reachable([Problem, *(kind for handler in handlers for kind in _annotations(handler))])
    queries = {handler.opt[QUERY] for handler in handlers if QUERY in handler.opt}
    found = _described(kinds | queries)
    for kind in kinds:
        if not kind.__struct_config__.forbid_unknown_fields:
            _as_sent(found[kind.__name__], kind)
    components = built | found
    hoisted: dict[str, Json] = {}
    for schema in list(components.values()):
        schema.pop("title", None)
        if not schema.get("required"):
            schema.pop("required", None)
        for part in _parts(schema):
            _show(part)
            _simplify(part)
            _hoist(part, hoisted)
    for schema in hoisted.values():
        _simplify(schema)
    names = {kind.__name__ for kind in queries}
    parameters = {name: components.pop(name) for name in names}
    components |= hoisted
    for schema in components.values():
        for part in _parts(schema):
            _without_default(part, components)
    return components, parameters


def _annotations(handler: HTTPRouteHandler) -> Iterator[Any]:
    yield from handler.opt.get(COMPONENTS, ())
    yield handler.opt.get(FORM)
    yield from handler.opt.get(BODIES, {}).values()
    yield from handler.opt.get(CONTENTS, {}).values()
    yield handler.parsed_return_field.annotation
    if handler.parsed_data_field is not None:
        yield handler.parsed_data_field.annotation
    yield from (spec.data_container for spec in (handler.responses or {}).values())


def _reachable(annotations: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """Return the Structs among these types, and those that they are made of."""
    found: set[type[msgspec.Struct]] = set()
    waiting = list(annotations)
    while waiting:
        kind = waiting.pop()
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            waiting += get_args(kind)
        elif kind not in found:
            found.add(kind)
            waiting += [field.type for field in msgspec.structs.fields(kind)]
    return found


def _described(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Json]:
    return msgspec.json.schema_components(kinds, schema_hook=_schema_of, ref_template=_PREFIX + "{name}")[1]


def _schema_of(kind: type) -> Json:
    if kind is Timestamp:
        return {"type": "string", "format": "date-time"}
    raise NotImplementedError(kind)


def _as_sent(schema: Json, kind: type[msgspec.Struct]) -> None:
    """Say which fields an answer has: all, or with `omit_defaults` those without a default, and never null then."""
    optional = [field for field in msgspec.structs.fields(kind) if not field.required]
    if any(field.default is msgspec.UNSET for field in optional):
        return  # a form, whose fields may be left out
    for described in schema["properties"].values():
        described.pop("default", None)
    if not kind.__struct_config__.omit_defaults:
        schema["required"] = [field.encode_name for field in msgspec.structs.fields(kind)]
        return
    for field in optional:
        described = schema["properties"][field.encode_name]
        if field.default is None and "anyOf" in described:
            described["anyOf"] = [choice for choice in described["anyOf"] if choice != _NULL]


def _parts(schema: Json) -> Iterator[Json]:
    """Yield each schema within a schema, the inner ones first."""
    for part in [*schema.get("properties", {}).values(), schema.get("items"), *schema.get("anyOf", ())]:
        if isinstance(part, dict):
            yield from _parts(part)
            yield part


def _show(schema: Json) -> None:
    """Show the bounds that hold after trimming in place of those of the type."""
    for name, value in schema.pop(SHOWN, {}).items():
        if value is None:
            del schema[name]
        else:
            schema[name] = value


def _simplify(schema: Json) -> None:
    """Write a choice of one as that one, and one of a plain type and null as a type that may be null."""
    values = schema.get("enum", [])
    if values and all(isinstance(value, str) for value in values):
        schema.setdefault("type", "string")
        if len(values) == 1:
            schema["const"] = schema.pop("enum")[0]
        elif any(value.startswith("-") for value in values):
            # else a generator that needs a name for each value counts them
            schema["x-enum-varnames"] = [_name_of(value) for value in values]
    choices = schema.get("anyOf", [])
    others = [choice for choice in choices if choice != _NULL]
    if len(others) != 1 or (len(choices) > 1 and not isinstance(others[0].get("type"), str)) or "title" in others[0]:
        return
    del schema["anyOf"]
    for name, value in others[0].items():
        schema.setdefault(name, value)
    if len(choices) > 1:
        schema["type"] = [schema["type"], "null"]


def _name_of(value: str) -> str:
    return f"{value[1:]}_descending".upper() if value.startswith("-") else value.upper()


def _hoist(schema: Json, hoisted: dict[str, Json]) -> None:
    """Make a component of a part that has a title, and refer to it."""
    if "title" not in schema or "anyOf" in schema:
        return
    name = schema.pop("title")
    kept = {"default": schema.pop("default")} if "default" in schema else {}
    hoisted.setdefault(name, dict(schema))
    schema.clear()
    schema |= {"$ref": _PREFIX + name, **kept}


def _without_default(schema: Json, components: dict[str, Json]) -> None:
    """Say a default in words, where it is not plain what a missing field means."""
    default = schema.pop("default", None)
    if default in (None, "", []) or "const" in schema:
        return
    text = str(default).lower() if isinstance(default, bool) else default
    schema["description"] = f"{schema.get('description') or _about(schema, components)} `{text}` unless it is given."


def _about(schema: Json, schemas: dict[str, Json]) -> str:
    """Return what is said of the component that a schema refers to."""
    return str(schemas[schema["$ref"].removeprefix(_PREFIX)]["description"])


# Operations


def _operations(paths: Json) -> Iterator[tuple[str, Json]]:
    for path, item in paths.items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, operation


def _place(item: tuple[str, Json], tags: list[str]) -> tuple[int, str]:
    path, operations = item
    return min(tags.index(operation["tags"][0]) for operation in operations.values()), path


def _parameters(
    operation: Json, handler: HTTPRouteHandler, queries: dict[str, Json], schemas: dict[str, Json]
) -> list[Json]:
    found = []
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            subject = parameter["name"].removesuffix("_id").replace("_", " ")
            schema = {"type": "string", "pattern": "^[0-9a-f]{24}$", "examples": [_ID]}
            parameter = {**parameter, "description": f"The id of the {subject}.", "schema": schema}
        found.append(parameter)
    kind = handler.opt.get(QUERY)
    for name, schema in deepcopy(queries[kind.__name__]["properties"] if kind else {}).items():
        _without_default(schema, schemas)
        parameter = {"name": name, "in": "query", "required": False, "schema": schema}
        parameter["description"] = schema.pop("description", None) or _about(schema, schemas)
        if schema.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        found.append(parameter)
    if "412" in operation["responses"]:
        found.append({"$ref": "#/components/parameters/IfMatch"})
    if "304" in operation["responses"]:
        found.append({"$ref": "#/components/parameters/IfNoneMatch"})
    if handler.opt.get(IDEMPOTENT):
        found.append({"$ref": "#/components/parameters/IdempotencyKey"})
    return found


def _body(operation: Json, handler: HTTPRouteHandler) -> None:
    if form := handler.opt.get(FORM):
        schema = {"$ref": _PREFIX + form.__name__}
        operation["requestBody"] = {"required": True, "content": {_FORM: {"schema": schema}}}
    if bodies := handler.opt.get(BODIES):
        operation["requestBody"] = {"required": True, "content": _contents(bodies)}
    body = operation.get("requestBody")
    if body is not None and HttpMethod.PATCH in handler.http_methods:
        plain = body["content"]["application/json"]
        body["content"] = {_MERGE_PATCH: plain, "application/json": dict(plain)}


def _contents(kinds: Mapping[str, type | str]) -> Json:
    """Return content by media type: JSON of a Struct, or text, such as the example that stands for it."""
    return {
        media_type: {"schema": {"type": "string"}, "example": kind}
        if isinstance(kind, str)
        else {"schema": {"$ref": _PREFIX + kind.__name__}}
        for media_type, kind in kinds.items()
    }


def _security(operation: Json, handler: HTTPRouteHandler) -> None:
    operation.pop("security", None)
    if handler.opt.get(PUBLIC):
        operation["security"] = []


def _responses(
    operation: Json, handler: HTTPRouteHandler, schemas: dict[str, Json], failures: set[int]
) -> dict[str, Json]:
    everywhere = ["X-Request-ID", *(("RateLimit-Policy", "RateLimit") if handler.opt.get(LIMIT, "api") else ())]
    found: dict[str, Json] = {}
    for status, response in operation["responses"].items():
        if status[0] not in "23":
            continue
        headers = [*response.get("headers", {}), *everywhere]
        if handler.opt.get(IDEMPOTENT):
            headers.append("Idempotency-Replayed")
        content = _contents(handler.opt.get(CONTENTS, {})) or {
            kind: media
            for kind, media in response.get("content", {}).items()
            if media.get("schema") not in (None, _NULL)
        }
        found[status] = {"description": _success(content, schemas), "headers": _headers(headers)}
        if content:
            found[status]["content"] = content
        if HttpMethod.GET in handler.http_methods and "ETag" in headers:
            found["304"] = {"description": "It has not changed.", "headers": _headers(["ETag", *everywhere])}
    declared = {
        int(status) for status, response in operation["responses"].items() if MEDIA_TYPE in response.get("content", {})
    }
    for status in sorted(declared | failures):
        found[str(status)] = _failure(status)
    return found


def _success(content: Json, schemas: dict[str, Json]) -> str:
    for media in content.values():
        name = media["schema"].get("$ref", "").removeprefix(_PREFIX)
        if name in schemas and "description" in schemas[name]:
            return str(schemas[name]["description"])
    return "Done."


def _headers(names: Iterable[str]) -> Json:
    found = set(names)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS if name in found}


def _failures(path: str, handler: HTTPRouteHandler, paths: Iterable[str]) -> set[int]:
    """Return the statuses that follow from the route: who may use it, how often, and what it reads."""
    found = {400, 422}  # a query that cannot be read, a parameter that is not known
    if not handler.opt.get(PUBLIC):
        found |= {401, 431, 503}
        if handler.opt.get(SESSION_ONLY) or not handler.http_methods <= {HttpMethod.GET}:
            found.add(403)  # an API key may not do everything
    if handler.opt.get(LIMIT, "api"):
        found.add(429)
    if handler.parsed_data_field is not None or handler.opt.keys() & {FORM, BODIES}:
        found |= {408, 413, 415}
    if handler.opt.get(IDEMPOTENT):
        found |= {408, 409, 413, 431}  # the body is read for its fingerprint
    if QUERY in handler.opt:
        found.add(414)
    if "{" in path:
        found.add(404)
        pattern = re.sub(r"\\{\w+\\}", "[^/{]+", re.escape(path))
        if any(re.fullmatch(pattern, other) for other in paths):
            found.add(405)  # where the id is the name of another path, which does not have this method
    return found


def _failure(status: int) -> Json:
    """Return the response of all problems that have a status."""
    headers = ["X-Request-ID", "RateLimit-Policy", "RateLimit"]
    headers += {
        401: ["WWW-Authenticate"],
        405: ["Allow"],
        429: ["Retry-After"],
        503: ["Retry-After"],
    }.get(status, [])
    examples = {}
    for name, kind in PROBLEMS.items():
        if kind.status == status:
            problem = problem_named(name, f"{kind.title}.", f"/v1/todos/{_ID}", "f3b1c9d2e4a5")
            if name == "invalid":
                problem.errors = [FieldError("this field is required", "/title")]
            if name == "invalid-grant":
                problem.error = "invalid_grant"
            examples[name] = {"summary": kind.title, "value": msgspec.to_builtins(problem)}
    described = _headers(headers)
    if status == 403:
        # only where an API key may not do something
        described["WWW-Authenticate"] = HEADERS["WWW-Authenticate"] | {"required": False}
    return {
        "description": titles_of(status) + ".",
        "headers": described,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _PREFIX + "Problem"}, "examples": examples}},
    }


# Links and examples


def _links(paths: Json, schemas: dict[str, Json]) -> None:
    """Lead from a new document to what can be done with it, and from a page to the next."""
    for path, operation in _operations(paths):
        links: Json = {}
        below = [
            (other, further)
            for other, further in _operations(paths)
            if "201" in operation["responses"] and re.match(re.escape(path) + r"/\{\w+\}", other)
        ]
        for other, further in below:
            name = other.removeprefix(path).split("{")[1].split("}")[0]
            links[further["operationId"]] = {
                "operationId": further["operationId"],
                "description": f"{further['summary']}, by its id.",
                "parameters": {f"path.{name}": "$response.body#/id"},
            }
        names = {parameter.get("name") for parameter in operation["parameters"]}
        for parameter, field in (("cursor", "next_cursor"), ("since", "next")):
            if parameter in names:
                links["next"] = {
                    "operationId": operation["operationId"],
                    "description": "What comes next.",
                    "parameters": {f"query.{parameter}": f"$response.body#/{field}"},
                }
        if links:
            status = "201" if "201" in operation["responses"] else "200"
            operation["responses"][status]["links"] = links


def _examples(paths: Json, schemas: dict[str, Json]) -> None:
    """Give every body of a known form an example, made from those of its fields."""
    for _, operation in _operations(paths):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media in [media for body in bodies for media in body.get("content", {}).values()]:
            if "$ref" in media["schema"] and "example" not in media and "examples" not in media:
                media["example"] = _example_of(media["schema"], schemas)


def _example_of(schema: Json, schemas: dict[str, Json]) -> Any:
    """Return an example, or `_NONE` where there is none."""
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return _example_of(schemas[schema["$ref"].removeprefix(_PREFIX)], schemas)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "anyOf" in schema:
        return _example_of(schema["anyOf"][0], schemas)
    if "items" in schema:
        item = _example_of(schema["items"], schemas)
        return item if item is _NONE else [item]
    if "properties" in schema:
        found = {name: _example_of(field, schemas) for name, field in schema["properties"].items()}
        return {name: value for name, value in found.items() if value is not _NONE}
    return _NONE


def _tidied(value: Any) -> Any:
    """Leave out what says no more than its absence."""
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    if not isinstance(value, dict):
        return value
    noise = {"deprecated": False, "allowEmptyValue": False, "allowReserved": False, "parameters": []}
    return {name: _tidied(item) for name, item in value.items() if name not in noise or item != noise[name]}
