"""The documents of webhooks."""

from __future__ import annotations

from datetime import datetime

from odmantic import EmbeddedModel, Index, Model, ObjectId
from pymongo import IndexModel

from todo_service.api_types import redacted_repr
from todo_service.store.base import UNSTAMPED, Stamp


class SigningSecret(EmbeddedModel):
    """A signing secret, encrypted (see `webhooks.secret_box`).

    Attributes:
        until: When it stops signing; None for the current secret.
    """

    box: bytes
    until: datetime | None = None


class Webhook(Model):
    """A webhook, and the progress of its deliveries. A tombstone has no `owner`, and expires.

    Attributes:
        slot: Limits the number of webhooks of an account (see `store.slots`).
        secrets: The signing secrets, the current one first.
        disabled_reason: Why the service disabled it: `gone` or `failing`; None if it did not.
        started_at: When it was created or last enabled. It receives no earlier event.
        position: The position in each source of events, encoded (see `webhooks.sources`); empty if it has none yet.
        holder: The worker that serves it (see `webhooks.workers`).
        requested: Changes when a client requests a delivery, so that the worker looks for it.
        failing_since: The first failed attempt after the last success; None after a success.
    """

    account: ObjectId
    owner: ObjectId | None
    slot: int
    url: str
    events: list[str]
    enabled: bool
    description: str
    secrets: list[SigningSecret]
    disabled_reason: str | None = None
    started_at: datetime
    position: bytes = b""
    holder: ObjectId | None = None
    requested: ObjectId | None = None
    failing_since: datetime | None = None
    version: int
    created_at: datetime
    updated_at: datetime
    changed: Stamp = UNSTAMPED
    expires_at: datetime | None = None

    model_config = {
        "collection": "webhooks",
        "indexes": lambda: [
            Index(Webhook.owner, Webhook.created_at, Webhook.id, name="owner_created_at"),
            Index(Webhook.owner, Webhook.slot, name="owner_slot", unique=True),
            Index(Webhook.account, Webhook.id, name="account"),
            Index(Webhook.enabled, Webhook.id, name="enabled"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }

    def __repr__(self) -> str:
        return redacted_repr(self, "url", "secrets")

    __str__ = __repr__


class DeliveryAttempt(EmbeddedModel):
    """An attempt to deliver. It has a status code, or else an error."""

    at: datetime
    status_code: int | None = None
    error: str | None = None


class WebhookDelivery(Model):
    """A delivery of an event to a webhook. Its id is derived from both, so that an event is delivered once.

    Attributes:
        body: The body of the request, the same at every attempt.
        state: `pending`, `delivered` or `failed`.
        due_at: When the next attempt is due; None if there is none.
        tries: The number of attempts that count towards the schedule of retries.
        attempts: The last attempts, the oldest first.
        applied_change_ids: The last requests to send it again that may be repeated (see `applied_changes`).
    """

    account: ObjectId
    hook: ObjectId
    type: str
    body: bytes
    state: str = "pending"
    due_at: datetime | None
    tries: int = 0
    attempts: list[DeliveryAttempt] = []
    applied_change_ids: list[ObjectId] = []
    created_at: datetime
    expires_at: datetime

    model_config = {
        "collection": "webhook_deliveries",
        "indexes": lambda: [
            Index(WebhookDelivery.hook, WebhookDelivery.created_at, WebhookDelivery.id, name="hook_created_at"),
            Index(
                WebhookDelivery.hook,
                WebhookDelivery.state,
                WebhookDelivery.due_at,
                WebhookDelivery.id,
                name="hook_state_due_at",
            ),
            Index(WebhookDelivery.account, WebhookDelivery.id, name="account"),
            IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0),
        ],
    }

    def __repr__(self) -> str:
        return redacted_repr(self, "body")

    __str__ = __repr__


class WebhookWorker(Model):
    """A process that serves webhooks. It increments `beats` while it lives (see `webhooks.workers`)."""

    beats: int
    expires_at: datetime

    model_config = {
        "collection": "webhook_workers",
        "indexes": lambda: [IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0)],
    }
