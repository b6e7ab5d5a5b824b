"""The wiring of the services of an application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from litestar import Litestar
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from odmantic import ObjectId

from todo_service.accounts.administration import AccountAdministration
from todo_service.accounts.api_keys import ApiKeys
from todo_service.accounts.credentials import Credentials
from todo_service.accounts.documents import ApiKey, ClosedAccount, Invitation, Session, UsedTicket, User
from todo_service.accounts.invitations import Invitations
from todo_service.accounts.liveness import find_ended, is_disabled
from todo_service.accounts.middleware import AuthenticationMiddleware
from todo_service.accounts.passwords import Cost, Passwords
from todo_service.accounts.registrations import Registrations
from todo_service.accounts.service import Accounts
from todo_service.accounts.sessions import Sessions
from todo_service.accounts.tickets import Tickets
from todo_service.accounts.time_zones import TimeZones, ZoneVisits
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.applied_changes import AppliedChanges
from todo_service.background import FIRST_RETRY_SECONDS, BackgroundJobs, Job
from todo_service.bounds.accounts import PASSWORD_WAIT_SECONDS, PASSWORDS_OF_ADDRESS
from todo_service.bounds.todos import RULE_QUEUE, RULE_QUEUE_OF_ACCOUNT, RULE_SECONDS, RULE_THREADS
from todo_service.cancellation import is_cancelled
from todo_service.events.hub import SESSION_CHECK_SECONDS, EventHub
from todo_service.exchange.service import Transfer, TransferCapacity
from todo_service.executors import Executor
from todo_service.idempotency.derivation import get_first_attempt
from todo_service.idempotency.documents import IdempotentRequest
from todo_service.idempotency.middleware import IdempotencyMiddleware
from todo_service.idempotency.response_budget import ResponseBudget
from todo_service.lists.documents import DeletedList, TodoList
from todo_service.lists.service import Lists
from todo_service.lists.sweep import sweep_deleted_lists
from todo_service.observability.controllers import MetricsAccess
from todo_service.observability.metrics import Metrics
from todo_service.observability.request_log import RequestLog
from todo_service.rate_limits.concurrency import ConcurrencyLimiter
from todo_service.rate_limits.counters import LocalCounter, SharedCounter
from todo_service.rate_limits.policies import OptionsRateLimitMiddleware, RateLimits, parse_policies
from todo_service.reminders.documents import Firing
from todo_service.reminders.service import ReminderService
from todo_service.server.process import release_memory
from todo_service.settings import Settings
from todo_service.startup import open_store_with_retries
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.store.registry import find_local_folder, find_store_type
from todo_service.sync.counts import CountSnapshot
from todo_service.timestamps import now
from todo_service.todos.documents import AccountLease, Todo
from todo_service.todos.quotas import QuotaLimits
from todo_service.todos.service import Todos
from todo_service.todos.shared import SharedState
from todo_service.web.access_log import AccessLog
from todo_service.web.cursors import Cursors
from todo_service.web.health import Readiness
from todo_service.web.hosts import AllowedHosts
from todo_service.web.in_flight import InFlightRequests
from todo_service.web.middleware import OutermostMiddleware
from todo_service.web.prefixes import Prefixes
from todo_service.web.proxies import Proxies
from todo_service.web.requests import ApiRequest
from todo_service.web.response_headers import ResponseHeaders
from todo_service.web.timeouts import TimeoutMiddleware
from todo_service.webhooks.consumer import TICK_SECONDS, WebhookConsumer
from todo_service.webhooks.delivery_requests import DeliveryRequests
from todo_service.webhooks.documents import Webhook, WebhookDelivery, WebhookWorker
from todo_service.webhooks.service import Webhooks
from todo_service.webhooks.system import REENCRYPT_SECONDS, WebhookSystem

if TYPE_CHECKING:
    from litestar.types import ASGIApp

    from todo_service.observability.tracing import Tracing

MODELS: Final = (
    User,
    Session,
    ApiKey,
    Invitation,
    ClosedAccount,
    UsedTicket,
    Todo,
    AccountLease,
    TodoList,
    DeletedList,
    CountSnapshot,
    Firing,
    IdempotentRequest,
    Webhook,
    WebhookDelivery,
    WebhookWorker,
)
"""The models of all stored documents."""
SWEEP_SECONDS: Final = 60.0
FOLLOW_SECONDS: Final = 10.0
_POLL_SECONDS: Final = (0.04, 0.5)
"""The time between two polls for changes, in an embedded store and in one behind a network."""


class Services:
    """The services of one application.

    Args:
        settings: Validated settings.
        store: The store, not yet open.
        tracing: Creates spans, or None.
        password_cost: The cost of hashing a password.
        todos_state: The state that the todos of all accounts share; by default it follows from the settings.
        counter_timeout: The timeout of a call to a shared counter of the rate limits, in seconds.

    Attributes:
        rate_limits: The rate limits.
        events: Wakes and ends event streams.
    """

    def __init__(
        self,
        settings: Settings,
        store: DocumentStore,
        tracing: Tracing | None,
        password_cost: Cost,
        todos_state: SharedState | None,
        counter_timeout: float,
    ) -> None:
        self._settings = settings
        self._store = store
        self._tracing = tracing
        self._keys = [settings.secret_key, *settings.previous_secret_keys]
        self._metrics = Metrics()
        self._in_flight = InFlightRequests()
        observe(store, self._metrics.record_store_call)
        if tracing is not None:
            observe(store, tracing.record_store_call)
        self.events = EventHub(store, _choose_interval(settings), partial(find_ended, store))
        self._tickets = Tickets(store, self._keys)
        self._passwords = Passwords(self._metrics.record_password_queue, password_cost)
        self._sessions = Sessions(
            store,
            AccessTokens(self._keys, settings.access_token_seconds),
            RefreshTokens(self._keys),
            settings.refresh_token_days,
            self._metrics.record_sessions,
            self.events.end,
        )
        self._api_keys = ApiKeys(store, self.events.end)
        self._credentials = Credentials(self._sessions, self._api_keys)
        self._registrations = Registrations(store, self._passwords, Invitations(store, settings.registration))
        self._accounts = Accounts(store, self._passwords, self._sessions, self._api_keys)
        self._time_zones = TimeZones(store)
        self._zone_visits = ZoneVisits(store, self._create_todos)
        self._rules = Executor(
            "rules", threads=RULE_THREADS, queue=RULE_QUEUE, seconds=RULE_SECONDS, per_key=RULE_QUEUE_OF_ACCOUNT
        )
        quotas = QuotaLimits(settings.max_todos, settings.max_tags, settings.max_lists)
        self._todos_state = todos_state or SharedState(store, quotas)
        self._transfers = TransferCapacity()
        http = settings.environment == "development"
        record = self._metrics.record_webhook_attempt
        self._webhook_system = WebhookSystem(store, self._keys, settings.webhook_networks, http, record)
        self._reminders = ReminderService(store, self._time_zones.get, now, self._metrics.record_firing)
        self._response_budget = ResponseBudget()
        self._counter = _create_counter(settings, counter_timeout)
        policies = parse_policies(settings.rate_limit_api, settings.rate_limit_auth)
        limited = policies if settings.rate_limit_enabled else {}
        self.rate_limits = RateLimits(limited, self._counter, self._metrics.record_rejection)

    @asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Open the store and run the background jobs. Close everything in reverse order, even after errors."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._store.close)
            if self._tracing is not None:
                stack.push_async_callback(asyncio.to_thread, self._tracing.close)
            for each in (self._counter, self._passwords, self._rules, self._transfers):
                stack.callback(each.close)
            await open_store_with_retries(self._store, *MODELS)
            stack.push_async_callback(self._todos_state.close)
            consumer = await stack.enter_async_context(
                self._webhook_system.create_consumer(partial(is_disabled, self._store))
            )
            await stack.enter_async_context(BackgroundJobs(self._jobs(consumer)))
            yield

    def dependencies(self) -> dict[str, Provide]:
        """Return the dependencies of handlers, by parameter name."""
        settings = self._settings
        metrics_access = MetricsAccess(settings.metrics_token, open_to_all=settings.environment == "development")
        return {
            "accounts": _provide_value(self._accounts),
            "registrations": _provide_value(self._registrations),
            "sessions": _provide_value(self._sessions),
            "api_keys": _provide_value(self._api_keys),
            "limits": _provide_value(self.rate_limits),
            "password_limiter": _provide_value(ConcurrencyLimiter(PASSWORDS_OF_ADDRESS, seconds=PASSWORD_WAIT_SECONDS)),
            "readiness": _provide_value(Readiness(self._store)),
            "metrics": _provide_value(self._metrics),
            "hub": _provide_value(self.events),
            "tickets": _provide_value(self._tickets),
            "metrics_access": _provide_value(metrics_access),
            "in_flight": _provide_value(self._in_flight),
            "todos": Provide(self._todos, sync_to_thread=False),
            "lists": Provide(self._lists, sync_to_thread=False),
            "webhooks": Provide(self._webhooks, sync_to_thread=False),
            "deliveries": Provide(self._deliveries, sync_to_thread=False),
            "transfer": Provide(self._transfer, sync_to_thread=False),
        }

    def middleware(self) -> list[DefineMiddleware]:
        """Return the middleware, the outermost first."""
        return [
            DefineMiddleware(TimeoutMiddleware),
            DefineMiddleware(
                AuthenticationMiddleware,
                credentials=self._credentials,
                tickets=self._tickets,
                limits=self.rate_limits,
                concurrency=ConcurrencyLimiter(),
            ),
            DefineMiddleware(IdempotencyMiddleware, store=self._store, keys=self._keys, budget=self._response_budget),
        ]

    def state(self) -> dict[str, Any]:
        """Return the state of the application."""
        return {
            "store": self._store,
            "cursors": Cursors(self._keys),
            "credentials": self._credentials,
            "large_body_lock": asyncio.Lock(),
            "response_budget": self._response_budget,
            "in_flight": self._in_flight,
            "events": self.events,
        }

    def wrap(self, app: ASGIApp) -> OutermostMiddleware:
        """Wrap an application in the middleware that runs before Litestar."""
        settings = self._settings
        # with CORS, every response depends on the origin, even if the request has none
        extra_headers = [(b"vary", b"Origin")] if settings.cors_origins else []
        proxies = Proxies(settings.trusted_proxies) if settings.trusted_proxies else None
        prefixes = Prefixes(settings.root_path, proxies)
        if prefixes.vary:
            extra_headers.append((b"vary", b"X-Forwarded-Prefix"))
        return OutermostMiddleware(
            OptionsRateLimitMiddleware(app, self.rate_limits),
            self._in_flight,
            AccessLog(self._metrics, self._tracing, RequestLog(settings)),
            AllowedHosts(settings.allowed_hosts),
            ResponseHeaders(self._in_flight, extra_headers),
            prefixes,
            proxies,
        )

    def _jobs(self, consumer: WebhookConsumer) -> list[Job]:
        """Return the background jobs, which run on every replica."""
        return [
            Job("finish deletions of accounts", lambda: self._accounts.finish_deletions(now()), SWEEP_SECONDS),
            Job("sweep deleted lists", self._sweep_deleted_lists, SWEEP_SECONDS),
            Job("follow time zones of accounts", self._follow_time_zones, FOLLOW_SECONDS),
            Job("renew counts of todos", lambda: self._todos_state.counter.renew_snapshots(now()), SWEEP_SECONDS),
            Job("watch for changes", self.events.watch, FIRST_RETRY_SECONDS),
            Job("check sessions of event streams", self.events.check_sessions, SESSION_CHECK_SECONDS),
            Job("fire due dates and reminders", self._reminders.watch, FIRST_RETRY_SECONDS),
            Job("serve webhooks", consumer.tick, TICK_SECONDS),
            Job("write the heartbeat of webhooks", consumer.beat, TICK_SECONDS),
            Job("watch for changes for webhooks", consumer.watch, FIRST_RETRY_SECONDS),
            Job("encrypt signing secrets", self._webhook_system.reencrypt_secrets, REENCRYPT_SECONDS),
            Job("return free memory", self._release_memory, SWEEP_SECONDS / 3),
        ]

    async def _sweep_deleted_lists(self) -> None:
        await sweep_deleted_lists(self._store, self._create_todos, now())

    async def _release_memory(self) -> None:
        await asyncio.to_thread(release_memory, idle=self._in_flight.is_idle)

    async def _follow_time_zones(self) -> None:
        while not is_cancelled() and await self._zone_visits.run_round(now()):
            pass

    def _todos(self, request: ApiRequest) -> Todos:
        return self._create_todos(request.user.user_id, get_first_attempt(request))

    def _create_todos(self, owner: ObjectId, first_attempt: datetime | None = None) -> Todos:
        return Todos(
            self._store,
            owner,
            partial(self._time_zones.use, owner),
            self._rules,
            self._todos_state,
            partial(self._time_zones.get, owner),
            AppliedChanges(first_attempt),
        )

    def _lists(self, request: ApiRequest) -> Lists:
        return Lists(self._store, request.user.user_id, self._todos(request))

    def _webhooks(self, request: ApiRequest) -> Webhooks:
        return self._webhook_system.create_webhooks(request.user.user_id)

    def _deliveries(self, request: ApiRequest) -> DeliveryRequests:
        return self._webhook_system.create_deliveries(request.user.user_id)

    def _transfer(self, request: ApiRequest) -> Transfer:
        owner = request.user.user_id
        return Transfer(
            self._todos(request),
            self._lists(request),
            partial(self._time_zones.get, owner),
            owner,
            self._transfers,
        )


@contextmanager
def create_administration(settings: Settings, store: DocumentStore) -> Iterator[AccountAdministration]:
    """Return a context manager that provides the administration of the accounts in a store.

    Args:
        settings: Validated settings.
        store: The store, open for `MODELS`.
    """
    keys = [settings.secret_key, *settings.previous_secret_keys]
    access_tokens = AccessTokens(keys, settings.access_token_seconds)
    sessions = Sessions(store, access_tokens, RefreshTokens(keys), settings.refresh_token_days)
    api_keys = ApiKeys(store)
    invitations = Invitations(store, settings.registration)
    with closing(Passwords()) as passwords:
        accounts = Accounts(store, passwords, sessions, api_keys)
        registrations = Registrations(store, passwords, invitations)
        yield AccountAdministration(store, accounts, registrations, passwords, sessions, api_keys, invitations)


def _create_counter(settings: Settings, timeout: float) -> LocalCounter | SharedCounter:
    """Return the counters of the rate limits. Replicas that share the store also share the counters."""
    create_storage = find_store_type(settings.store_address).create_counter_storage
    if create_storage is None:
        return LocalCounter()
    return SharedCounter(partial(create_storage, settings.store_address), timeout)


def _choose_interval(settings: Settings) -> float:
    """Return the time between two polls for changes. Polling an embedded store costs least."""
    embedded, networked = _POLL_SECONDS
    return networked if find_local_folder(settings.store_address) is None else embedded


def _provide_value(value: Any) -> Provide:
    def provide() -> Any:
        return value

    provide.__annotations__["return"] = type(value)
    return Provide(provide, sync_to_thread=False, use_cache=True)
