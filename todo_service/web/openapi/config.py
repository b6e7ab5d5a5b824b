"""The OpenAPI document: what operations declare for it, and where it is served.

Litestar builds it from the handlers, `corrections` makes it fit for generated clients, and everyone sees the same: the
two files under `/schema`, the docs page and `todo-service openapi`. Beside what Litestar knows, a handler's `opt` may
have:

* `"query"`: the Struct of its query parameters (`ApiRequest.parameters`);
* `"form"`: the Struct of its form body (`ApiRequest.form_fields`);
* `"bodies"`, `"contents"`: what it reads and writes by itself, by media type: a Struct, or an example of a text;
* `"components"`: further Structs that its body is made of.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import yaml
from litestar import Litestar, Request, Router
from litestar.datastructures import ResponseHeader
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.openapi.spec import Components, Contact, License, SecurityScheme, Server, Tag
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ControllerRouterHandler

from todo_service import __version__
from todo_service.web.openapi.headers import HEADERS
from todo_service.web.openapi.postprocessing import postprocess
from todo_service.web.openapi.responses import describe_status
from todo_service.web.problems import MEDIA_TYPE, Problem
from todo_service.web.route_options import PUBLIC

_DESCRIPTION: Final = """\
A complete to-do service: accounts, sessions, todos, lists and tags.

Every error is a problem (RFC 9457) with a `request_id`; a client may choose that id with the header `X-Request-ID`. A
single document has an `ETag`: send it as `If-Match` to change the document only if nobody else has. Lists come in
pages: `next_cursor` of one page is the `cursor` of the next. Fields, parameters and query parameters that are not named
here are refused."""


def declare_problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Return what an operation declares of its errors, by status.

    What follows from the route itself (its body, its paths, who may use it) may be left out: it is added.
    """
    return {
        status: ResponseSpec(
            Problem, media_type=MEDIA_TYPE, generate_examples=False, description=describe_status(status)
        )
        for status in statuses
    }


def declare_headers(*names: str) -> list[ResponseHeader]:
    """Return what an operation declares of the headers of its success, each one of `HEADERS`."""
    return [
        ResponseHeader(name=name, description=HEADERS[name]["description"], documentation_only=True) for name in names
    ]


class _SchemaRouter(Router):
    """Leaves out the HTML page that Litestar adds for every other path: what is not there is a problem here too."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        if isinstance(value, HTTPRouteHandler) and "/{path:str}" in value.paths:
            return []
        return super().register(value)


class _Rendering(OpenAPIRenderPlugin):
    """Serves the document in one form, written once."""

    def __init__(self, form: str, media_type: MediaType | str) -> None:
        super().__init__(path=f"/openapi.{form}", media_type=media_type)  # type: ignore[arg-type]  # any will do
        self._form = form
        self._written: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._written is None:
            self._written = render_document(request.app, self._form).encode()
        return self._written


def create_openapi_config() -> OpenAPIConfig:
    """Return how the document is made and where it is served: `/schema/openapi.json` and `.yaml`."""
    return OpenAPIConfig(
        title="todo_service",
        version=__version__,
        summary="A complete to-do service.",
        description=_DESCRIPTION,
        contact=Contact(name="The maintainers of todo_service"),
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        servers=[Server(url="/", description="The service that served this document.")],
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
                    description="An access token of `createToken`, or the secret of an API key.",
                )
            }
        ),
        openapi_router=_SchemaRouter(path="/schema", route_handlers=[], opt={PUBLIC: True}, include_in_schema=False),
        render_plugins=[_Rendering("json", MediaType.JSON), _Rendering("yaml", "application/yaml")],
        use_handler_docstrings=True,
    )


def build_document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI document of an application."""
    handlers = {
        handler.operation_id: handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if isinstance(handler.operation_id, str)
    }
    return postprocess(app.openapi_schema.to_schema(), handlers)


def render_document(app: Litestar, form: str) -> str:
    """Return the OpenAPI document of an application as `json` or `yaml` text."""
    document = build_document(app)
    if form == "yaml":
        return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)).rstrip()
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
