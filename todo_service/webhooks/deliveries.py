"""The life of a delivery: it is pending until it is delivered, or all of its attempts have failed."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final

from odmantic import ObjectId

from todo_service.bounds.webhooks import LISTED_ATTEMPTS
from todo_service.webhooks.documents import DeliveryAttempt, Webhook, WebhookDelivery
from todo_service.webhooks.sender import AttemptOutcome
from todo_service.webhooks.sources import Event

RETRY_DELAYS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 5 * 60, 30 * 60, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)))
)
"""The delay after each failed attempt. If the attempt after the last delay fails too, so does the delivery."""
DELIVERY_LIFETIME: Final = timedelta(days=7)
"""How long a delivery is stored at most, from its creation or the last request to send it again."""
FAILING_PERIOD: Final = timedelta(days=5)
"""A webhook is disabled if an attempt fails this long after the first failure, with no success in between."""
GONE_STATUS: Final = 410


def derive_delivery_id(hook_id: ObjectId, event: Event) -> ObjectId:
    """Return the id of the delivery of an event, so that an event that is read twice is delivered once."""
    return ObjectId(hashlib.sha256(hook_id.binary + f"{event.type}:{event.key}".encode()).digest()[:12])


def build_delivery(
    hook: Webhook, event: Event, moment: datetime, delivery_id: ObjectId | None = None
) -> WebhookDelivery:
    """Return a new delivery.

    Args:
        hook: The webhook.
        event: The event.
        moment: When it is created. Deliveries are sent in the order of this time.
        delivery_id: Its id, if it is not derived from the event.
    """
    return WebhookDelivery(
        id=delivery_id or derive_delivery_id(hook.id, event),
        account=hook.account,
        hook=hook.id,
        type=event.type,
        body=event.render_body(),
        due_at=moment,
        created_at=moment,
        expires_at=moment + DELIVERY_LIFETIME,
    )


def reset_delivery(delivery: WebhookDelivery, moment: datetime) -> dict[str, Any]:
    """Return the changes for one more attempt. After that, a pending delivery continues its schedule."""
    tries = delivery.tries if delivery.state == "pending" else len(RETRY_DELAYS)
    return {"state": "pending", "due_at": moment, "tries": tries, "expires_at": moment + DELIVERY_LIFETIME}


def record_attempt(
    delivery: WebhookDelivery, outcome: AttemptOutcome, began: datetime, moment: datetime
) -> dict[str, Any]:
    """Return the changes that record an attempt.

    Args:
        delivery: The delivery.
        outcome: The outcome of the attempt.
        began: When the attempt began.
        moment: The current time.
    """
    attempt = DeliveryAttempt(at=began, status_code=outcome.status_code, error=outcome.error)
    attempts = [*delivery.attempts, attempt][-LISTED_ATTEMPTS:]
    changes: dict[str, Any] = {"attempts": attempts, "tries": delivery.tries + 1, "due_at": None}
    if outcome.delivered:
        return changes | {"state": "delivered"}
    if outcome.status_code == GONE_STATUS or delivery.tries >= len(RETRY_DELAYS):
        return changes | {"state": "failed"}
    delay = max(RETRY_DELAYS[delivery.tries], outcome.retry_after or timedelta())
    return changes | {"due_at": moment + delay}
