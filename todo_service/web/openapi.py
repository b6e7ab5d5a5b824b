"""The OpenAPI document: what every operation declares, and what is mended in what Litestar makes of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Router
from litestar.datastructures import ResponseHeader
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    Components,
    License,
    OpenAPI,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
    SecurityScheme,
    Tag,
)
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from todo_service import __version__
from todo_service.web.authentication import PUBLIC
from todo_service.web.limits import LIMIT
from todo_service.web.problems import MEDIA_TYPE, PROBLEMS, Problem

_HEADERS: Final = {
    "ETag": "The document's strong entity tag, for If-Match and If-None-Match.",
    "Location": "Where the new document is.",
    "Content-Disposition": "A name for the file.",
    "Link": 'The next page, with `rel="next"`, where there is one (RFC 8288).',
}
_TITLES: Final = {kind.status: kind.title for kind in reversed(list(PROBLEMS.values()))}


def problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Return what an operation declares of its errors, by status."""
    return {
        status: ResponseSpec(Problem, media_type=MEDIA_TYPE, generate_examples=False, description=_TITLES[status])
        for status in statuses
    }


def documented(*names: str) -> list[ResponseHeader]:
    """Return what an operation declares of the headers of its success."""
    return [ResponseHeader(name=name, description=_HEADERS[name], documentation_only=True) for name in names]


class _SchemaRouter(Router):
    """Leaves out the HTML page that Litestar adds for every other path: what is not there is a problem here too."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        if isinstance(value, HTTPRouteHandler) and "/{path:str}" in value.paths:
            return []
        return super().register(value)


def configuration() -> OpenAPIConfig:
    """Return how the document is made and where it is served: `/schema/openapi.json` and `.yaml`."""
    return OpenAPIConfig(
        title="todo_service",
        version=__version__,
        description="A complete to-do service.",
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        tags=[
            Tag(name="Users", description="Registration and one's own account."),
            Tag(name="Sessions", description="Signing in and staying signed in."),
            Tag(name="API keys", description="Long-lived keys for scripts and SDKs."),
            Tag(name="Todos", description="What is to be done."),
            Tag(name="Lists", description="Lists that todos may be in."),
            Tag(name="Tags", description="Tags that todos have."),
            Tag(name="Operations", description="The state of the service."),
        ],
        security=[{"bearer": []}],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="JWT",
                    description="An access token, or an API key.",
                )
            }
        ),
        openapi_router=_SchemaRouter(
            path="/schema", route_handlers=[], opt={PUBLIC: True, LIMIT: None}, include_in_schema=False
        ),
        render_plugins=[
            JsonRenderPlugin(path="/openapi.json", media_type=MediaType.JSON),
            YamlRenderPlugin(path="/openapi.yaml"),
        ],
        use_handler_docstrings=True,
    )


def mend(document: OpenAPI, queries: dict[str, type[msgspec.Struct]]) -> None:
    """Correct the built document in place, so that every way to read it shows the same.

    * Query parameters are read from a Struct (`ApiRequest.parameters`), which Litestar does not know: they are
      declared from the Struct here.
    * Litestar adds a 400 of its own shape to every operation with parameters; ours are problems.
    * Headers that are only documented have no schema.
    * `exclude_from_auth` and an empty `security` are dropped, so public operations would ask for a token.

    Args:
        document: What Litestar built.
        queries: The Structs of query parameters by operationId.
    """
    for path in (document.paths or {}).values():
        for method in ("get", "post", "put", "patch", "delete"):
            operation: Operation | None = getattr(path, method)
            if operation is None:
                continue
            for status, response in list((operation.responses or {}).items()):
                content = getattr(response, "content", None) or {}
                for header in (getattr(response, "headers", None) or {}).values():
                    header.schema = header.schema or Schema(type=OpenAPIType.STRING)
                if status == "400" and MEDIA_TYPE not in content:
                    del operation.responses[status]  # type: ignore[union-attr]  # it was just read from there
            if operation.operation_id in queries:
                declared = _parameters(queries[operation.operation_id])
                operation.parameters = [*(operation.parameters or []), *declared]


def _parameters(kind: type[msgspec.Struct]) -> list[Parameter | Reference]:
    schema = msgspec.json.schema_components([kind], schema_hook=_schema_of)[1][kind.__name__]
    found: list[Parameter | Reference] = []
    for name, described in schema["properties"].items():
        described = dict(described)
        if len(described.get("anyOf", ())) == 1:
            described |= described.pop("anyOf")[0]
        repeatable = described.get("type") == "array"
        if repeatable or described.get("default") is None:
            described.pop("default", None)
        found.append(
            Parameter(
                name=name,
                param_in="query",
                required=False,
                description=described.pop("description", None),
                schema=_spec(described),
                style="form" if repeatable else None,
                explode=True if repeatable else None,
            )
        )
    return found


def _spec(described: dict[str, Any]) -> Schema:
    names = {"maxLength": "max_length", "minLength": "min_length"}
    fields = {names.get(name, name): value for name, value in described.items()}
    if "items" in fields:
        fields["items"] = _spec(fields["items"])
    return Schema(**fields)


def _schema_of(kind: type) -> dict[str, Any]:
    return {"type": "string", "format": "date-time"}
