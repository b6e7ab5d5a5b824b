"""The OpenAPI document: its metadata, its declarations and its routes.

Litestar builds the document from the handlers, and `postprocessing` fixes it for generated clients. The same document
is served under `/schema`, shown on the docs page and printed by `todo-service openapi`. It describes the parameters of
a `QueryRequest`, and the bodies that a handler declares in `opt` (see `web.route_options`).
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
from litestar.openapi.spec import (
    Components,
    Contact,
    License,
    OAuthFlow,
    OAuthFlows,
    Reference,
    SecurityScheme,
    Server,
    Tag,
)
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ControllerRouterHandler

from todo_service import __version__
from todo_service.web.oauth import TOKEN_PATH
from todo_service.web.openapi.document import Json
from todo_service.web.openapi.headers import HEADERS
from todo_service.web.openapi.postprocessing import postprocess
from todo_service.web.openapi.prefixed_urls import fill_urls, mark_urls
from todo_service.web.openapi.responses import describe_status
from todo_service.web.prefixes import get_prefix
from todo_service.web.problems import Problem
from todo_service.web.route_options import PUBLIC

_DESCRIPTION: Final = """\
A complete to-do service: accounts, sessions, todos, lists and tags.

Every error is a problem (RFC 9457) with a `request_id`. Clients may set the id with the `X-Request-ID` header. A single
document has an `ETag`: send it as `If-Match` to change the document only if it has not changed since. Collections are
paginated: to get the next page, pass the `next_cursor` of the current one as `cursor`. Unknown fields and parameters
are rejected."""

_SECURITY_SCHEMES: Final[dict[str, SecurityScheme | Reference]] = {
    "bearer": SecurityScheme(
        type="http",
        scheme="bearer",
        description="An access token from `createToken`, or the secret of an API key.",
    ),
    "password": SecurityScheme(
        type="oauth2",
        flows=OAuthFlows(password=OAuthFlow(token_url=TOKEN_PATH, refresh_url=TOKEN_PATH, scopes={})),
        description="The username or the email, and the password. A client id and a client secret are not needed.",
    ),
}


def declare_problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Declare the errors of an operation, for a handler's `responses`.

    Errors that follow from the route (its body, its path parameters, its authentication) are added automatically.

    Args:
        *statuses: The HTTP status codes.
    """
    return {
        status: ResponseSpec(
            Problem, media_type=Problem.media_type, generate_examples=False, description=describe_status(status)
        )
        for status in statuses
    }


def declare_headers(*names: str) -> list[ResponseHeader]:
    """Declare the headers of an operation's successful response, for a handler's `response_headers`.

    Args:
        *names: Keys of `HEADERS`.
    """
    return [
        ResponseHeader(name=name, description=HEADERS[name]["description"], documentation_only=True) for name in names
    ]


class _SchemaRouter(Router):
    """Omits the catch-all HTML page of Litestar, so that unknown paths are problems here too."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:
        if isinstance(value, HTTPRouteHandler) and "/{path:str}" in value.paths:
            return []
        return super().register(value)


class _CachedRenderPlugin(OpenAPIRenderPlugin):
    """Serves the document in one format, rendered once for all prefixes."""

    def __init__(self, form: str, media_type: MediaType | str) -> None:
        super().__init__(path=f"/openapi.{form}", media_type=media_type)  # type: ignore[arg-type]  # any media type works
        self._form = form
        self._content: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._content is None:
            self._content = _render(mark_urls(build_openapi(request.app)), self._form).encode()
        return fill_urls(self._content, get_prefix(request.scope))


def create_openapi_config() -> OpenAPIConfig:
    """Return the configuration of the document, served as `/schema/openapi.json` and `/schema/openapi.yaml`."""
    return OpenAPIConfig(
        title="todo_service",
        version=__version__,
        summary="A complete to-do service.",
        description=_DESCRIPTION,
        contact=Contact(name="The maintainers of todo_service"),
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        servers=[Server(url="/", description="The service that served this document.")],
        tags=[
            Tag(name="Users", description="Registration and your account."),
            Tag(name="Sessions", description="Sign-in, tokens and sessions."),
            Tag(name="API keys", description="Long-lived keys for scripts and SDKs."),
            Tag(name="Todos", description="Todos, their changes, and import and export."),
            Tag(name="Lists", description="Lists that group todos."),
            Tag(name="Tags", description="The tags of todos."),
            Tag(name="Events", description="The changes of todos and lists as they happen."),
            Tag(name="Webhooks", description="Signed requests that tell other programs what has changed."),
            Tag(name="Operations", description="Service information and health checks."),
        ],
        security=[{"bearer": []}, {"password": []}],
        components=Components(security_schemes=_SECURITY_SCHEMES),
        openapi_router=_SchemaRouter(path="/schema", route_handlers=[], opt={PUBLIC: True}, include_in_schema=False),
        render_plugins=[_CachedRenderPlugin("json", MediaType.JSON), _CachedRenderPlugin("yaml", "application/yaml")],
        use_handler_docstrings=True,
    )


def build_openapi(app: Litestar) -> dict[str, Any]:
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
    return _render(build_openapi(app), form)


def _render(document: Json, form: str) -> str:
    if form == "yaml":
        # with libyaml it takes a fifth of the time
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return str(yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)).rstrip()
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
