"""Serves one webhook: reads its events, and sends its deliveries one after another.

Events become pending deliveries, and then the position in their source is stored. If the process crashes in between,
the same events are read again and get the same ids. The runner re-reads the webhook before each effect, and its writes
require that the worker still holds it, so nothing more is sent to a webhook that was deleted, paused or taken over. A
webhook of a disabled account waits, and continues where it stopped once the account is enabled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from odmantic import ObjectId
from odmantic.query import asc, desc

from todo_service.bounded_cache import BoundedCache
from todo_service.bounds.webhooks import LISTED_DELIVERIES, PENDING_DELIVERIES, STORED_DELIVERIES
from todo_service.cancellation import is_cancelled
from todo_service.store.base import Condition, DocumentStore
from todo_service.store.errors import DuplicateDocument, StoreUnavailable
from todo_service.webhooks.deliveries import (
    FAILING_PERIOD,
    GONE_STATUS,
    build_delivery,
    derive_delivery_id,
    record_attempt,
)
from todo_service.webhooks.documents import Webhook, WebhookDelivery
from todo_service.webhooks.lanes import Lane, Speed
from todo_service.webhooks.positions import Positions, set_initial_position
from todo_service.webhooks.secret_box import SecretBox, decrypt_secrets
from todo_service.webhooks.sender import AttemptOutcome, Sender
from todo_service.webhooks.signing import sign
from todo_service.webhooks.sources import EventPage, EventSource, get_event_time
from todo_service.webhooks.workers import WorkerGroup

SHORTEST_POLL: Final = 0.25
LONGEST_POLL: Final = 2.0
"""The interval at which the sources of events are read while they return documents, in seconds. It grows while there
are no new events among them: MongoDB's feed repeats the changes of the last seconds."""
IDLE_POLL: Final = 300.0
"""The interval at which the sources are read while they return nothing, in seconds. It is a safety net: a write makes
the runner read them at once (`wake`)."""
_RETRY_SECONDS: Final = 2.0
_DISABLED_SECONDS: Final = 10.0
"""The interval at which a disabled account is checked."""
_SLOW_SECONDS: Final = 5.0
"""A receiver is slow if an attempt takes longer."""
_REMEMBERED: Final = 1_000
"""The number of recent deliveries whose ids are kept, because MongoDB's feed repeats the changes of the last
seconds."""
_MIN_AGE: Final = timedelta(minutes=2)
"""The minimum time for which a delivery is stored. Its event is not read again after that."""
_TRIM_PERIOD: Final = timedelta(minutes=1)
logger = structlog.get_logger(__name__)


class Due(msgspec.Struct, frozen=True):
    """A pending delivery."""

    id: str
    due_at: datetime


class Context(NamedTuple):
    """What the runners of a worker share.

    Attributes:
        store: The store.
        sources: The sources of events.
        sender: Sends deliveries.
        secret_box: Decrypts the signing secrets.
        workers: The workers, among them this one with its heartbeat.
        is_disabled: Returns whether an account is disabled.
        now: Returns the current time.
        record: Counts an attempt: its outcome, and for the first attempt the seconds since the event.
    """

    store: DocumentStore
    sources: tuple[EventSource, ...]
    sender: Sender
    secret_box: SecretBox
    workers: WorkerGroup
    is_disabled: Callable[[ObjectId], Awaitable[bool]]
    now: Callable[[], datetime]
    record: Callable[[str, float | None], None]


class _AccountDisabled(Exception):
    """The account of the webhook is disabled."""


class HookRunner:
    """Serves one webhook until it is deleted, disabled or held by another worker.

    Args:
        hook_id: The webhook.
        context: What the runners share.
    """

    def __init__(self, hook_id: ObjectId, context: Context) -> None:
        self._hook_id = hook_id
        self._context = context
        self._store = context.store
        self._positions = Positions(context.sources)
        self._woken = asyncio.Event()
        self._is_stale = True
        self._poll = SHORTEST_POLL
        self._speed = Speed.UNKNOWN
        self._hook: Webhook | None = None
        self._pending: list[Due] = []
        self._stored = 0
        self._trim_at: datetime | None = None
        self._recent_ids: BoundedCache[ObjectId, None] = BoundedCache(_REMEMBERED)

    def invalidate(self) -> None:
        """Make the runner read the webhook and its deliveries again."""
        self._is_stale = True
        self._woken.set()

    def wake(self) -> None:
        """Make the runner read the sources of events, because the account may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Serve the webhook."""
        while True:
            try:
                pause = await self._work()
                if pause is None:
                    await self._delete_orphans()
            except _AccountDisabled:
                self._hook, pause = None, _DISABLED_SECONDS
            except StoreUnavailable as error:
                logger.warning("a webhook waits for the store", webhook=str(self._hook_id), reason=str(error))
                self._hook, pause = None, _RETRY_SECONDS
            except Exception:
                logger.exception("failed to serve a webhook", webhook=str(self._hook_id))
                self._hook, pause = None, _RETRY_SECONDS
            if pause is None or is_cancelled():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    async def _work(self) -> float | None:
        """Read new events and send what is due.

        Returns:
            The pause until the next call in seconds, or None if this worker no longer serves the webhook.
        """
        self._woken.clear()
        if self._is_stale or self._hook is None:
            self._is_stale = False
            if not await self._reload():
                return None
        if not self._context.workers.may_send():
            return SHORTEST_POLL
        self._poll = await self._read_events()
        moment = self._context.now()
        for due in [each for each in self._pending if each.due_at <= moment]:
            if not self._context.workers.may_send():
                break
            if not await self._attempt(ObjectId(due.id)):
                return None
        await self._trim()
        waits = [max(0.0, (each.due_at - self._context.now()).total_seconds()) for each in self._pending]
        return min([self._poll, *waits])

    async def _reload(self) -> bool:
        """Read the webhook and its pending deliveries. Return whether this worker serves it."""
        hook = await self._get_hook()
        if hook is None:
            return False
        if not hook.position:
            await set_initial_position(self._store, hook.id, self._positions)
            hook = await self._get_hook()
            if hook is None:
                return False
        if hook.failing_since is not None:
            self._speed = Speed.SLOW
        self._hook = hook
        self._pending = await self._store.find(
            WebhookDelivery,
            WebhookDelivery.hook == self._hook_id,
            WebhookDelivery.state == "pending",
            sort=(asc(WebhookDelivery.due_at), asc(WebhookDelivery.id)),
            limit=4 * PENDING_DELIVERIES,
            into=Due,
        )
        self._stored = await self._store.count(
            WebhookDelivery, WebhookDelivery.hook == self._hook_id, limit=STORED_DELIVERIES
        )
        return True

    async def _get_hook(self) -> Webhook | None:
        """Return the webhook if it is enabled and this worker holds it.

        Raises:
            _AccountDisabled: Its account is disabled.
        """
        hook = await self._store.get(Webhook, *self._match())
        if hook is not None and await self._context.is_disabled(hook.account):
            raise _AccountDisabled
        return hook

    async def _delete_orphans(self) -> None:
        """Delete the deliveries that were inserted while the webhook was deleted."""
        hook = await self._store.get(Webhook, Webhook.id == self._hook_id)
        if hook is None or hook.owner is None:
            await self._store.delete(WebhookDelivery, WebhookDelivery.hook == self._hook_id)

    def _match(self) -> list[Condition]:
        held = Webhook.holder == self._context.workers.worker_id
        return [Webhook.id == self._hook_id, held, Webhook.enabled == True]  # noqa: E712  # an expression

    async def _read_events(self) -> float:
        """Turn new events into pending deliveries. Return the pause until the next call in seconds."""
        found, more, idle = False, False, True
        for source in self._context.sources:
            room = min(PENDING_DELIVERIES - len(self._pending), STORED_DELIVERIES - self._stored)
            hook = self._hook
            if hook is None or room <= 0 or not hook.position:
                idle = False
                break
            positions = self._positions.decode(hook.position)
            position = positions.get(source.name) or source.start(hook.changed)
            page = await source.read(hook.account, position, room, hook.started_at, self._context.now())
            more |= page.more
            idle = idle and not page.advanced
            if page.advanced:
                found |= await self._store_page(hook, source, positions, page)
            else:
                # this position need not be stored: there is no event between the stored one and this one
                positions[source.name] = page.position
                self._hook = hook.model_copy(update={"position": self._positions.encode(positions)})
        if more:
            return 0.0
        if found:
            return SHORTEST_POLL
        return IDLE_POLL if idle else min(max(2 * self._poll, SHORTEST_POLL), LONGEST_POLL)

    async def _store_page(
        self, hook: Webhook, source: EventSource, positions: dict[str, bytes], page: EventPage
    ) -> bool:
        """Store the deliveries of a page, then the position after it. Return whether there is a new delivery."""
        current = await self._get_hook()
        if current is None or current.started_at != hook.started_at:
            self.invalidate()  # it was paused, and events that occurred in the meantime are not sent
            return False
        moment = self._context.now()
        wanted = [event for event in page.events if event.type in current.events]
        new = 0
        for index, event in enumerate(wanted):
            delivery_id = derive_delivery_id(hook.id, event)
            if delivery_id in self._recent_ids:
                continue
            # each is created a millisecond after the one before it, so that they are sent in their order
            created = moment - timedelta(milliseconds=len(wanted) - index)
            delivery = build_delivery(current, event, created)
            with contextlib.suppress(DuplicateDocument):  # it was read before
                await self._store.insert(delivery)
                self._pending.append(Due(str(delivery.id), created))
                new += 1
            self._recent_ids[delivery_id] = None
        self._stored += new
        encoded = self._positions.encode(positions | {source.name: page.position})
        same = (Webhook.started_at == hook.started_at, Webhook.position == current.position)
        changed = await self._store.update(Webhook, *self._match(), *same, changes={"position": encoded})
        if changed is None:
            self.invalidate()
        else:
            self._hook = changed
        return new > 0

    async def _attempt(self, delivery_id: ObjectId) -> bool:
        """Make an attempt. Return whether this worker still serves the webhook."""
        assert self._hook is not None  # its events have been read
        async with self._context.sender.enter_lane(self._hook.account, self._speed) as lane:
            hook = await self._get_hook()
            if hook is None:
                return False
            where = (
                WebhookDelivery.id == delivery_id,
                WebhookDelivery.hook == hook.id,
                WebhookDelivery.state == "pending",
            )
            delivery = await self._store.get(WebhookDelivery, *where)
            began = self._context.now()
            if delivery is None or delivery.due_at is None or delivery.due_at > began:
                self.invalidate()
                return True
            if not self._context.workers.may_send():
                return True
            outcome = await self._send(lane, hook, delivery, began)
        moment = self._context.now()
        quick = outcome.delivered and (moment - began).total_seconds() <= _SLOW_SECONDS
        self._speed = Speed.QUICK if quick else Speed.SLOW
        changes = record_attempt(delivery, outcome, began, moment)
        await self._store.update(WebhookDelivery, *where, WebhookDelivery.tries == delivery.tries, changes=changes)
        self._count(delivery, changes, began)
        self._pending = [each for each in self._pending if each.id != str(delivery_id)]
        if changes["due_at"] is not None:
            self._pending.append(Due(str(delivery_id), changes["due_at"]))
        return await self._record_outcome(hook, outcome, began)

    async def _send(self, lane: Lane, hook: Webhook, delivery: WebhookDelivery, began: datetime) -> AttemptOutcome:
        signing = [each for each in hook.secrets if each.until is None or each.until > began]
        secrets = decrypt_secrets(hook.model_copy(update={"secrets": signing}), self._context.secret_box)
        if not secrets:
            return AttemptOutcome(error="the signing secret cannot be decrypted: replace it")
        headers = sign(secrets, str(delivery.id), int(began.timestamp()), delivery.body)
        return await self._context.sender.send(lane, hook.url, headers, delivery.body)

    def _count(self, delivery: WebhookDelivery, changes: dict[str, Any], began: datetime) -> None:
        outcome = "retried" if changes["due_at"] is not None else changes["state"]
        lag = (began - get_event_time(delivery.body)).total_seconds() if not delivery.attempts else None
        self._context.record(outcome, lag)

    async def _record_outcome(self, hook: Webhook, outcome: AttemptOutcome, began: datetime) -> bool:
        """Record in the webhook whether its attempts fail. Disable it once its receiver is gone or has failed for
        `FAILING_PERIOD`.

        Returns:
            Whether this worker still serves it.
        """
        same = (Webhook.id == hook.id, Webhook.version == hook.version)
        if outcome.delivered:
            if hook.failing_since is not None:
                await self._store.update(Webhook, *same, changes={"failing_since": None})
            return True
        if outcome.status_code == GONE_STATUS:
            return not await self._disable(hook, "gone")
        if hook.failing_since is None:
            await self._store.update(Webhook, *same, changes={"failing_since": began})
        elif self._context.now() - hook.failing_since >= FAILING_PERIOD:
            return not await self._disable(hook, "failing")
        return True

    async def _disable(self, hook: Webhook, reason: str) -> bool:
        """Disable the webhook, unless it has changed since it was read. Return whether it was disabled."""
        changes = {
            "enabled": False,
            "disabled_reason": reason,
            "version": hook.version + 1,
            "updated_at": self._context.now(),
        }
        disabled = await self._store.update(Webhook, *self._match(), Webhook.version == hook.version, changes=changes)
        if disabled is not None:
            logger.warning("a webhook was disabled", webhook=str(hook.id), reason=reason)
        return disabled is not None

    async def _trim(self) -> None:
        """Delete the finished deliveries that are no longer listed."""
        moment = self._context.now()
        if self._stored <= LISTED_DELIVERIES or (self._trim_at is not None and moment < self._trim_at):
            return
        self._trim_at = moment + _TRIM_PERIOD
        listed = await self._store.find(
            WebhookDelivery,
            WebhookDelivery.hook == self._hook_id,
            sort=(desc(WebhookDelivery.created_at), desc(WebhookDelivery.id)),
            limit=LISTED_DELIVERIES,
            into=_Created,
        )
        if len(listed) == LISTED_DELIVERIES:
            oldest = min(listed[-1].created_at, moment - _MIN_AGE)
            await self._store.delete(
                WebhookDelivery,
                WebhookDelivery.hook == self._hook_id,
                WebhookDelivery.created_at < oldest,
                WebhookDelivery.state != "pending",
            )
        self._stored = await self._store.count(
            WebhookDelivery, WebhookDelivery.hook == self._hook_id, limit=STORED_DELIVERIES
        )


class _Created(msgspec.Struct, frozen=True):
    created_at: datetime
