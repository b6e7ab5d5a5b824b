"""Where the parts meet: the one place that knows them all."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from todo_service import bounds
from todo_service.accounts.api_keys import ApiKeys
from todo_service.accounts.controllers import ApiKeysController, SessionsController, TokensController, UsersController
from todo_service.accounts.credentials import Credentials
from todo_service.accounts.documents import ApiKey, ClosedAccount, Session, User
from todo_service.accounts.middleware import AuthenticationMiddleware
from todo_service.accounts.passwords import PRODUCTION_COST, Cost, Passwords
from todo_service.accounts.service import Accounts
from todo_service.accounts.sessions import Sessions
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.background import BackgroundJobs, Job
from todo_service.exchange.controllers import ExchangeController
from todo_service.exchange.service import Transfer, TransferCapacity
from todo_service.executors import Executor
from todo_service.idempotency.answer_budget import AnswerBudget
from todo_service.idempotency.middleware import Idempotency, IdempotentRequest
from todo_service.lists.controllers import ListsController
from todo_service.lists.documents import DeletedList, TodoList
from todo_service.lists.service import Lists
from todo_service.observability.controllers import MetricsAccess, MetricsController
from todo_service.observability.logs import configure_logging
from todo_service.observability.metrics import Metrics
from todo_service.rate_limits.concurrency import ConcurrentRequestLimit
from todo_service.rate_limits.counters import LocalCounter, SharedCounter
from todo_service.rate_limits.policies import OptionsRateLimitMiddleware, RateLimits, count_unrouted, parse_policies
from todo_service.server.run import GracefulShutdown, return_free_memory, return_large_memory
from todo_service.settings import Settings, load_settings
from todo_service.startup import open_store_within
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.store.registry import create_store, find_store_type
from todo_service.sync.counts import CountSnapshot
from todo_service.timestamps import now
from todo_service.todos.controllers import TagsController, TodosController
from todo_service.todos.documents import Todo
from todo_service.todos.quotas import QuotaLimits
from todo_service.todos.service import Todos
from todo_service.todos.shared import SharedState
from todo_service.web.boundary import Boundary
from todo_service.web.cursors import Cursors
from todo_service.web.docs import DocsController
from todo_service.web.health import OperationsController, Readiness
from todo_service.web.openapi.config import configuration, written
from todo_service.web.problems import exception_handlers
from todo_service.web.proxies import Proxies
from todo_service.web.requests import ApiRequest, refuse_unknown_parameters
from todo_service.web.timeouts import TimeoutMiddleware, TimeoutSweeper

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Scope

    from todo_service.observability.tracing import Tracing

MODELS: Final = (User, Session, ApiKey, ClosedAccount, Todo, TodoList, DeletedList, CountSnapshot, IdempotentRequest)
"""Every model that is stored."""
SWEEP_SECONDS: Final = 60.0
_COLLECTED_AFTER: Final = (20_000, 20, 20)
"""How many objects that others may refer to are made before each collection of garbage, by generation (`gc`)."""
logger = structlog.get_logger(__name__)


def create_app(
    settings: Settings,
    store: DocumentStore,
    tracing: Tracing | None = None,
    password_cost: Cost = PRODUCTION_COST,
    shared_state: SharedState | None = None,
) -> Litestar:
    """Wire the service.

    Args:
        settings: Checked settings.
        store: The store, not yet open: the application opens it when it starts and closes it when it stops.
        tracing: Makes spans, if there are to be any; closed as well when the application stops.
        password_cost: What hashing a password costs. Tests choose a cheap one.
        shared_state: What todos share, made from the settings unless it is given; closed as well.

    Returns:
        The application. Its `state` holds the store, the cursors, the budget of stored answers, and the boundary that
        drains it (`web.boundary`).
    """
    keys = [settings.secret_key, *settings.previous_secret_keys]
    metrics = Metrics()
    observe(store, metrics.store_called)
    if tracing is not None:
        observe(store, tracing.store_called)
    passwords = Passwords(metrics.passwords_waiting, password_cost)
    sessions = Sessions(
        store,
        AccessTokens(keys, settings.access_token_seconds),
        RefreshTokens(keys),
        settings.refresh_token_days,
        metrics.sessions_changed,
    )
    api_keys = ApiKeys(store)
    todos_state = shared_state or SharedState(
        store, QuotaLimits(settings.max_todos, settings.max_tags, settings.max_lists)
    )
    credentials = Credentials(sessions, api_keys)
    accounts = Accounts(store, passwords, sessions, api_keys)
    rules = Executor(
        "rules",
        threads=bounds.RULE_THREADS,
        queue=bounds.RULE_QUEUE,
        seconds=bounds.RULE_SECONDS,
        per_key=bounds.RULE_QUEUE_OF_ACCOUNT,
    )
    transfers = TransferCapacity()
    answers = AnswerBudget()
    # where replicas share the store, they share the counts
    shared = find_store_type(settings.store_address).is_shared
    counter = SharedCounter(settings.store_address) if shared else LocalCounter()
    rate_limits = RateLimits(
        parse_policies(settings.rate_limit_api, settings.rate_limit_auth) if settings.rate_limit_enabled else {},
        counter,
        metrics.rate_limited,
    )

    # on every replica
    jobs = [
        Job("finish deletions of accounts", lambda: accounts.finish_deletions(now()), SWEEP_SECONDS),
        Job("renew counts of todos", lambda: todos_state.counting.renew(now()), SWEEP_SECONDS),
        Job("return free memory", partial(asyncio.to_thread, return_free_memory), SWEEP_SECONDS / 3),
    ]

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        # closes in reverse order, and everything, whatever fails
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            if tracing is not None:
                stack.push_async_callback(asyncio.to_thread, tracing.close)
            stack.callback(counter.close)
            stack.callback(passwords.close)
            stack.callback(rules.close)
            stack.callback(transfers.close)
            await open_store_within(store, *MODELS)
            stack.push_async_callback(todos_state.close)
            await stack.enter_async_context(BackgroundJobs(jobs))
            yield

    async def after_exception(_: Exception, scope: Scope) -> None:
        await count_unrouted(rate_limits, scope)

    def todos_of(request: ApiRequest) -> Todos:
        owner = request.user.user_id
        return Todos(store, owner, lambda: accounts.time_zone(owner), rules, todos_state)

    def lists_of(request: ApiRequest) -> Lists:
        return Lists(store, request.user.user_id, todos_of(request))

    def transfer_of(request: ApiRequest) -> Transfer:
        owner = request.user.user_id
        return Transfer(todos_of(request), lists_of(request), lambda: accounts.time_zone(owner), owner, transfers)

    def boundary_of(request: ApiRequest) -> Boundary:
        boundary: Boundary = request.app.state.boundary
        return boundary

    app = Litestar(
        route_handlers=[
            OperationsController,
            MetricsController,
            DocsController,
            Router(
                "/",
                route_handlers=[UsersController, TokensController, SessionsController, ApiKeysController],
                request_max_body_size=min(bounds.SMALL_BODY_BYTES, settings.max_body_bytes),
            ),
            TodosController,
            ExchangeController,
            ListsController,
            TagsController,
        ],
        lifespan=[lifespan],
        dependencies={
            "accounts": _always(accounts),
            "sessions": _always(sessions),
            "api_keys": _always(api_keys),
            "limits": _always(rate_limits),
            "password_turns": _always(ConcurrentRequestLimit(bounds.PASSWORDS_OF_ADDRESS)),
            "store": _always(store),
            "readiness": _always(Readiness(store)),
            "metrics": _always(metrics),
            "metrics_access": _always(
                MetricsAccess(settings.metrics_token, open_to_all=settings.environment == "development")
            ),
            "boundary": Provide(boundary_of, sync_to_thread=False),
            "todos": Provide(todos_of, sync_to_thread=False),
            "lists": Provide(lists_of, sync_to_thread=False),
            "transfer": Provide(transfer_of, sync_to_thread=False),
        },
        middleware=[
            DefineMiddleware(TimeoutMiddleware, sweeper=TimeoutSweeper()),
            DefineMiddleware(
                AuthenticationMiddleware,
                credentials=credentials,
                limits=rate_limits,
                concurrency=ConcurrentRequestLimit(),
            ),
            DefineMiddleware(Idempotency, store=store, keys=keys, answers=answers),
        ],
        request_class=ApiRequest,
        before_request=refuse_unknown_parameters,
        exception_handlers=exception_handlers(),
        after_exception=[after_exception],
        request_max_body_size=settings.max_body_bytes,
        cors_config=_cors(settings),
        openapi_config=configuration(),
        logging_config=None,
    )
    app.state.store = store
    app.state.cursors = Cursors(keys)
    app.state.credentials = credentials
    app.state.large_body_lock = asyncio.Lock()
    app.state.answers = answers
    app.state.boundary = app.asgi_handler = Boundary(
        OptionsRateLimitMiddleware(app.asgi_handler, rate_limits),
        metrics,
        settings.allowed_hosts,
        Proxies(settings.trusted_proxies) if settings.trusted_proxies else None,
        tracing,
        # with CORS, an answer depends on who asks, also one to a request without an origin
        headers=((b"vary", b"Origin"),) if settings.cors_origins else (),
    )
    return app


def create_app_from_environment() -> ASGIApp:
    """Wire the service as the environment says; the server's workers start from here."""
    settings = load_settings()
    configure_logging(settings)
    return_large_memory()
    app = create_app(settings, create_store(settings.store_address), _tracing())
    # what is there now stays there: a full collection, which looks at it all, would hold up every request for 50 ms;
    # so would one of what is remembered, for 10 ms, and hardly anything that a request leaves behind needs one
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)
    return GracefulShutdown(app, app.state.boundary)


def _tracing() -> Tracing | None:
    """Return what makes spans, where the environment asks for traces by OpenTelemetry's own variables."""
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or exporter == "none"
        or not (exporter or any(os.environ.get(name) for name in endpoints))
    ):
        return None
    try:
        from todo_service.observability.tracing import (
            tracing_as_configured,  # an extra: most have neither wish nor need for it
        )
    except ModuleNotFoundError:
        logger.warning("no traces are sent: OpenTelemetry is not installed, see the extra otel")
        return None
    return tracing_as_configured()


def openapi_document(form: str) -> str:
    """Return the OpenAPI document as `json` or `yaml` text. No store is opened."""
    with TemporaryDirectory() as folder:
        settings = load_settings({"DATA_DIR": folder})
        return written(create_app(settings, create_store(settings.store_address)), form)


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
