"""Wires the parts of webhooks together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from odmantic import ObjectId

from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.webhooks.addresses import AddressPolicy
from todo_service.webhooks.consumer import WebhookConsumer
from todo_service.webhooks.delivery_requests import DeliveryRequests
from todo_service.webhooks.positions import Positions
from todo_service.webhooks.receivers import Receivers
from todo_service.webhooks.resolver import Resolver
from todo_service.webhooks.runner import Context
from todo_service.webhooks.secret_box import SecretBox, reencrypt_secrets
from todo_service.webhooks.sender import Sender
from todo_service.webhooks.service import Webhooks
from todo_service.webhooks.sources import ChangeEvents, EventSource, FiringEvents
from todo_service.webhooks.workers import WorkerGroup

REENCRYPT_SECONDS: Final = 3600.0
"""The interval at which signing secrets are encrypted under the current key."""


class WebhookSystem:
    """Creates the services of webhooks.

    Args:
        store: The store.
        secret_keys: The secret keys of the service, the current one first.
        networks: The networks that are allowed besides public addresses.
        allow_http: Whether the URLs of receivers may have the scheme `http`.
        record: Counts an attempt (see `runner.Context`).
    """

    def __init__(
        self,
        store: DocumentStore,
        secret_keys: Sequence[bytes],
        networks: Sequence[str],
        allow_http: bool,
        record: Callable[[str, float | None], None],
    ) -> None:
        self._store = store
        self._box = SecretBox(secret_keys)
        self._receivers = Receivers(AddressPolicy(networks), allow_http=allow_http, resolver=Resolver())
        self._record = record
        self._sources: tuple[EventSource, ...] = (ChangeEvents(store), FiringEvents(store))

    def create_webhooks(self, owner: ObjectId) -> Webhooks:
        """Return the webhooks of an account."""
        return Webhooks(self._store, owner, self._receivers, self._box, Positions(self._sources))

    def create_deliveries(self, owner: ObjectId) -> DeliveryRequests:
        """Return the deliveries of an account."""
        return DeliveryRequests(self._store, owner)

    def create_consumer(self, is_disabled: Callable[[ObjectId], Awaitable[bool]]) -> WebhookConsumer:
        """Return the consumer of this process.

        Args:
            is_disabled: Returns whether an account is disabled.
        """
        workers = WorkerGroup(self._store, ObjectId())
        sender = Sender(self._receivers)
        return WebhookConsumer(
            Context(self._store, self._sources, sender, self._box, workers, is_disabled, now, self._record)
        )

    async def reencrypt_secrets(self) -> None:
        """Encrypt all signing secrets under the current key, so that earlier keys may be removed."""
        await reencrypt_secrets(self._store, self._box)
