"""Lists deliveries for clients, sends pings, and sends deliveries again."""

from __future__ import annotations

import contextlib
from collections.abc import Container
from datetime import datetime
from typing import Any

from odmantic import ObjectId
from odmantic.query import desc

from todo_service.api_types import parse_id
from todo_service.applied_changes import AppliedChanges
from todo_service.bounds.webhooks import LISTED_DELIVERIES, REQUESTED_DELIVERIES
from todo_service.errors import Disabled, NotFound, TooManyRequests
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.optimistic import Attempts
from todo_service.timestamps import format_timestamp, now
from todo_service.versions import check_version
from todo_service.webhooks import dto
from todo_service.webhooks.deliveries import build_delivery, reset_delivery
from todo_service.webhooks.documents import Webhook, WebhookDelivery
from todo_service.webhooks.sources import Event


class DeliveryRequests:
    """The deliveries of the webhooks of one account.

    Args:
        store: The store.
        owner: The account.
    """

    def __init__(self, store: DocumentStore, owner: ObjectId) -> None:
        self._store = store
        self._owner = owner

    async def send_ping(
        self, hook_id: str, versions: Container[int] | None, identity: ObjectId | None = None
    ) -> dto.Delivery:
        """Request a delivery of the type `ping`.

        Args:
            hook_id: The id of the webhook.
            versions: The versions of the webhook that the caller accepts, or None for any.
            identity: The id of the delivery, if the request may be repeated.

        Raises:
            Stale: The webhook has another version.
            Disabled: The webhook is not enabled.
            TooManyRequests: Too many deliveries wait.
            NotFound: The account has no such webhook.
        """
        hook = await get_webhook(self._store, self._owner, hook_id)
        check_version(hook.version, versions)
        await self._require_ready(hook)
        moment = now()
        event = Event("ping", "", format_timestamp(moment), {})
        delivery = build_delivery(hook, event, moment, identity or ObjectId())
        with contextlib.suppress(DuplicateDocument):  # an earlier attempt of the same request
            await self._store.insert(delivery)
        await self._notify_worker(hook)
        return dto.Delivery.from_document(delivery)

    async def list_deliveries(self, hook_id: str) -> list[dto.Delivery]:
        """Return the last deliveries of a webhook, newest first.

        Raises:
            NotFound: The account has no such webhook.
        """
        hook = await get_webhook(self._store, self._owner, hook_id)
        found = await self._store.find(
            WebhookDelivery,
            WebhookDelivery.hook == hook.id,
            WebhookDelivery.account == self._owner,
            sort=(desc(WebhookDelivery.created_at), desc(WebhookDelivery.id)),
            limit=LISTED_DELIVERIES,
            into=dto.Delivery,
        )
        return [delivery.reverse_attempts() for delivery in found]

    async def retry(
        self,
        hook_id: str,
        delivery_id: str,
        change_id: ObjectId | None = None,
        first_attempt: datetime | None = None,
    ) -> dto.Delivery:
        """Request one more attempt of a delivery. One that is pending is sent now.

        Args:
            hook_id: The id of the webhook.
            delivery_id: The id of the delivery.
            change_id: The id of the change, if the request may be repeated. It is applied at most once.
            first_attempt: When the first attempt of the request began, if this is a later one.

        Raises:
            Gone: See `AppliedChanges.includes`.
            Disabled: The webhook is not enabled.
            TooManyRequests: Too many deliveries wait.
            NotFound: The account has no such webhook, or the webhook no such delivery.
        """
        hook = await get_webhook(self._store, self._owner, hook_id)
        identity = parse_id(delivery_id)
        if identity is None:
            raise NotFound("there is no such delivery")
        where = (
            WebhookDelivery.id == identity,
            WebhookDelivery.hook == hook.id,
            WebhookDelivery.account == self._owner,
        )
        applied_changes = AppliedChanges(first_attempt)
        async for _ in Attempts():
            delivery = await self._store.get(WebhookDelivery, *where)
            if delivery is None:
                raise NotFound("there is no such delivery")
            changes: dict[str, Any] = {}
            if not applied_changes.includes(delivery, change_id):
                await self._require_ready(hook)
                moment = now()
                changes = reset_delivery(delivery, moment)
                if change_id is not None:
                    changes["applied_change_ids"] = applied_changes.record(delivery, moment, change_id)
            same = (
                WebhookDelivery.state == delivery.state,
                WebhookDelivery.tries == delivery.tries,
                WebhookDelivery.due_at == delivery.due_at,
            )
            changed = await self._store.update(WebhookDelivery, *where, *same, changes=changes)
            if changed is not None:
                await self._notify_worker(hook)
                return dto.Delivery.from_document(changed)
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def _require_ready(self, hook: Webhook) -> None:
        """Check that a webhook is enabled, and that few enough deliveries wait."""
        if not hook.enabled:
            raise Disabled("the webhook is not enabled")
        waiting = await self._store.count(
            WebhookDelivery,
            WebhookDelivery.hook == hook.id,
            WebhookDelivery.state == "pending",
            WebhookDelivery.account == self._owner,
            limit=REQUESTED_DELIVERIES,
        )
        if waiting >= REQUESTED_DELIVERIES:
            raise TooManyRequests(f"{REQUESTED_DELIVERIES} deliveries of this webhook are already waiting")

    async def _notify_worker(self, hook: Webhook) -> None:
        """Tell the worker that serves a webhook to look for deliveries."""
        where = (Webhook.id == hook.id, Webhook.owner == self._owner)
        await self._store.update(Webhook, *where, changes={"requested": ObjectId()})


async def get_webhook(store: DocumentStore, owner: ObjectId, hook_id: str) -> Webhook:
    """Return a webhook of an account.

    Raises:
        NotFound: The account has no such webhook.
    """
    identity = parse_id(hook_id)
    found = None
    if identity is not None:
        found = await store.get(Webhook, Webhook.id == identity, Webhook.owner == owner)
    if found is None:
        raise NotFound("there is no such webhook")
    return found
