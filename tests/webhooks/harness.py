"""Consumers of webhooks with clocks of their own, on a store without a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from odmantic import ObjectId

from tests.clock import Clock
from tests.serving import SECRET_KEY
from todo_service.accounts.liveness import is_disabled
from todo_service.accounts.time_zones import TimeZones
from todo_service.background import BackgroundJobs, Job
from todo_service.store.base import DocumentStore
from todo_service.todos.service import Todos
from todo_service.webhooks.addresses import AddressPolicy
from todo_service.webhooks.consumer import WebhookConsumer
from todo_service.webhooks.delivery_requests import DeliveryRequests
from todo_service.webhooks.documents import Webhook, WebhookDelivery
from todo_service.webhooks.dto import EventName, WebhookCreate, WebhookWithSecret
from todo_service.webhooks.positions import Positions
from todo_service.webhooks.receivers import Receivers
from todo_service.webhooks.resolver import Resolver
from todo_service.webhooks.runner import Context
from todo_service.webhooks.secret_box import SecretBox
from todo_service.webhooks.sender import Sender
from todo_service.webhooks.service import Webhooks
from todo_service.webhooks.sources import ChangeEvents, FiringEvents
from todo_service.webhooks.workers import WorkerGroup

KEY = SECRET_KEY.encode()


class Steps:
    """A monotonic clock that only moves when it is told to.

    Attributes:
        seconds: The time.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Account:
    """An account with webhooks.

    Args:
        store: The store.
        keys: The secret keys, the current one first.
        user_id: The id of the account; a new one by default.

    Attributes:
        outcomes: The outcomes of all attempts.
        lags: The seconds from each event to its first attempt.
        stops: How often a consumer has found the account disabled.
    """

    def __init__(self, store: DocumentStore, *keys: bytes, user_id: ObjectId | None = None) -> None:
        self.store = store
        self.id = user_id or ObjectId()
        self.receivers = Receivers(AddressPolicy(["127.0.0.0/8"]), allow_http=True, resolver=Resolver())
        self.box = SecretBox(keys or [KEY])
        self.sources = (ChangeEvents(store), FiringEvents(store))
        self.webhooks = Webhooks(store, self.id, self.receivers, self.box, Positions(self.sources))
        self.deliveries = DeliveryRequests(store, self.id)
        self.todos = Todos(store, self.id, partial(TimeZones(store).get, self.id))
        self.outcomes: list[str] = []
        self.lags: list[float] = []
        self.stops = 0

    async def create_hook(self, url: str, *events: EventName) -> WebhookWithSecret:
        """Create a webhook, by default for all changes of todos."""
        chosen = [*events] or ["todo.changed", "todo.deleted", "todo.completed"]
        return await self.webhooks.create(WebhookCreate(url=url, events=chosen))

    async def get_hook(self, hook: WebhookWithSecret) -> Webhook:
        """Return the document of a webhook."""
        found = await self.store.get(Webhook, Webhook.id == ObjectId(hook.id))
        assert found is not None
        return found

    async def list_states(self) -> list[tuple[str, int]]:
        """Return the state and the number of tries of each delivery, the oldest first."""
        found = [each async for each in self.store.scan(WebhookDelivery)]
        return [(each.state, each.tries) for each in sorted(found, key=lambda each: each.created_at)]

    def create_consumer(self, clock: Clock | None = None, steps: Steps | None = None) -> WebhookConsumer:
        """Return a consumer, as a process of its own would have it."""
        workers = (
            WorkerGroup(self.store, ObjectId(), steps) if steps is not None else WorkerGroup(self.store, ObjectId())
        )
        return WebhookConsumer(self.create_context(workers, clock))

    def create_context(self, workers: WorkerGroup, clock: Clock | None = None) -> Context:
        """Return what the runners of a worker share."""
        return Context(
            self.store,
            self.sources,
            Sender(self.receivers),
            self.box,
            workers,
            self.is_disabled,
            (clock or Clock()).now,
            self.record,
        )

    def record(self, outcome: str, lag: float | None) -> None:
        """Record the outcome and the lag of an attempt."""
        self.outcomes.append(outcome)
        if lag is not None:
            self.lags.append(lag)

    async def is_disabled(self, account: ObjectId) -> bool:
        """Return whether an account is disabled. Counts the calls for which it is."""
        disabled = await is_disabled(self.store, account)
        self.stops += disabled
        return disabled

    async def wake(self, hook: WebhookWithSecret, consumer: WebhookConsumer) -> None:
        """Make a consumer look at a webhook at once."""
        await self.store.update(Webhook, Webhook.id == ObjectId(hook.id), changes={"requested": ObjectId()})
        await consumer.tick()


@asynccontextmanager
async def serving(consumer: WebhookConsumer) -> AsyncIterator[WebhookConsumer]:
    """Serve webhooks until the block ends. The consumer ticks when the test calls it."""
    async with consumer, BackgroundJobs([Job("watch for changes", consumer.watch, 1)]):
        await consumer.tick()
        yield consumer
