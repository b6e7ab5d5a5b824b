"""Where the parts meet: the one place that knows them all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import limits
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from todo_service.accounts.api_keys import MARK, ApiKeys
from todo_service.accounts.controllers import ApiKeysController, SessionsController, TokensController, UsersController
from todo_service.accounts.documents import ApiKey, Session, User
from todo_service.accounts.passwords import Passwords
from todo_service.accounts.service import Accounts
from todo_service.accounts.sessions import Sessions
from todo_service.accounts.tokens import AccessTokens, Caller, RefreshTokens
from todo_service.logs import configure_logging
from todo_service.server import Draining
from todo_service.settings import Settings, load_settings
from todo_service.store.base import DocumentStore
from todo_service.store.opening import open_store
from todo_service.todos.controllers import ListsController, TagsController, TodosController
from todo_service.todos.documents import Todo, TodoList
from todo_service.todos.lists import Lists
from todo_service.todos.service import Todos
from todo_service.todos.transfer import Transfer
from todo_service.web.authentication import Admission
from todo_service.web.boundary import Boundary
from todo_service.web.docs import DocsController
from todo_service.web.idempotency import Idempotency, IdempotentRequest
from todo_service.web.limits import RateLimits
from todo_service.web.openapi import configuration, written
from todo_service.web.operations import OperationsController
from todo_service.web.paging import Cursors
from todo_service.web.problems import exception_handlers
from todo_service.web.requests import ApiRequest, refuse_unknown_parameters

if TYPE_CHECKING:
    from litestar.types import ASGIApp

MODELS: Final = (User, Session, ApiKey, Todo, TodoList, IdempotentRequest)
"""Every model that is stored."""


def create_app(settings: Settings, store: DocumentStore) -> Litestar:
    """Wire the service.

    Args:
        settings: Checked settings.
        store: The store, not yet open: the application opens it when it starts and closes it when it stops.

    Returns:
        The application. Its `state` holds the store, and the boundary that drains it (see `web.boundary`).
    """
    keys = [settings.secret_key, *settings.previous_secret_keys]
    passwords = Passwords()
    sessions = Sessions(
        store, AccessTokens(keys, settings.access_token_seconds), RefreshTokens(keys), settings.refresh_token_days
    )
    api_keys = ApiKeys(store)
    accounts = Accounts(store, passwords, sessions, api_keys)
    rate_limits = RateLimits(
        {"api": limits.parse(settings.rate_limit_api), "auth": limits.parse(settings.rate_limit_auth)}
        if settings.rate_limit_enabled
        else {}
    )

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await store.open(*MODELS)
        try:
            yield
        finally:
            passwords.close()
            await store.close()

    async def authenticate(token: str) -> Caller:
        return await (api_keys.authenticate(token) if token.startswith(MARK) else sessions.authenticate(token))

    def todos_of(request: ApiRequest) -> Todos:
        owner = request.user.user_id
        return Todos(store, owner, lambda: accounts.time_zone(owner))

    def lists_of(request: ApiRequest) -> Lists:
        return Lists(store, request.user.user_id, todos_of(request))

    def transfer_of(request: ApiRequest) -> Transfer:
        owner = request.user.user_id
        return Transfer(todos_of(request), lists_of(request), lambda: accounts.time_zone(owner))

    def boundary_of(request: ApiRequest) -> Boundary:
        boundary: Boundary = request.app.state.boundary
        return boundary

    app = Litestar(
        route_handlers=[
            OperationsController,
            DocsController,
            UsersController,
            TokensController,
            SessionsController,
            ApiKeysController,
            TodosController,
            ListsController,
            TagsController,
        ],
        lifespan=[lifespan],
        dependencies={
            "accounts": _always(accounts),
            "sessions": _always(sessions),
            "api_keys": _always(api_keys),
            "limits": _always(rate_limits),
            "cursors": _always(Cursors(keys)),
            "store": _always(store),
            "boundary": Provide(boundary_of, sync_to_thread=False),
            "todos": Provide(todos_of, sync_to_thread=False),
            "lists": Provide(lists_of, sync_to_thread=False),
            "transfer": Provide(transfer_of, sync_to_thread=False),
        },
        middleware=[
            DefineMiddleware(Admission, authenticate=authenticate, limits=rate_limits),
            DefineMiddleware(Idempotency, store=store, keys=keys),
        ],
        request_class=ApiRequest,
        before_request=refuse_unknown_parameters,
        exception_handlers=exception_handlers(),
        request_max_body_size=settings.max_body_bytes,
        cors_config=_cors(settings),
        openapi_config=configuration(),
        logging_config=None,
    )
    app.state.store = store
    app.state.boundary = app.asgi_handler = Boundary(app.asgi_handler, settings.allowed_hosts)
    return app


def create_app_from_environment() -> ASGIApp:
    """Wire the service as the environment says; the server's workers start from here."""
    settings = load_settings()
    configure_logging(settings)
    app = create_app(settings, open_store(settings.store_address))
    return Draining(app, app.state.boundary)


def openapi_document(form: str) -> str:
    """Return the OpenAPI document as `json` or `yaml` text. No store is opened."""
    with TemporaryDirectory() as folder:
        settings = load_settings({"DATA_DIR": folder})
        return written(create_app(settings, open_store(settings.store_address)), form)


def _always(value: Any) -> Provide:
    def provide() -> Any:
        return value

    provide.__annotations__["return"] = type(value)
    return Provide(provide, sync_to_thread=False, use_cache=True)


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "Idempotency-Key",
            "X-Request-ID",
        ],
        expose_headers=[
            "ETag",
            "Link",
            "Location",
            "Retry-After",
            "RateLimit",
            "RateLimit-Policy",
            "X-Request-ID",
            "Idempotency-Replayed",
        ],
    )
