"""The rules of webhooks."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import UNSET
from odmantic import ObjectId

from todo_service.bounds.requests import IDEMPOTENCY_SECONDS
from todo_service.bounds.webhooks import MAX_WEBHOOKS, SIGNING_SECRETS, WEBHOOK_DESCRIPTION_LENGTH
from todo_service.errors import Gone, Invalid, QuotaExceeded, ValidationIssue
from todo_service.store.base import DocumentStore
from todo_service.store.errors import DuplicateDocument
from todo_service.store.optimistic import Attempts
from todo_service.store.paging import CreationPosition, read_newest_first
from todo_service.store.slots import insert_into_slot
from todo_service.text import normalize_lines
from todo_service.timestamps import CLOCK_DIFFERENCE, now
from todo_service.versions import check_version
from todo_service.webhooks import dto
from todo_service.webhooks.delivery_requests import get_webhook
from todo_service.webhooks.documents import SigningSecret, Webhook, WebhookDelivery
from todo_service.webhooks.positions import Positions, set_initial_position
from todo_service.webhooks.receivers import Receivers
from todo_service.webhooks.secret_box import SecretBox, decrypt_secrets
from todo_service.webhooks.signing import derive_hook_id, format_secret, generate_secret

PREVIOUS_SECRET_LIFETIME: Final = timedelta(hours=24)
"""How long a signing secret signs after it has been replaced."""
_TOMBSTONE_LIFETIME: Final = timedelta(seconds=IDEMPOTENCY_SECONDS) + timedelta(hours=1)


class _Slot(msgspec.Struct, frozen=True):
    slot: int


class Webhooks:
    """The webhooks of one account.

    Args:
        store: The store.
        owner: The account.
        receivers: Checks URLs.
        box: Encrypts the signing secrets.
        positions: The positions in the sources of events.
    """

    def __init__(
        self, store: DocumentStore, owner: ObjectId, receivers: Receivers, box: SecretBox, positions: Positions
    ) -> None:
        self._store = store
        self._owner = owner
        self._receivers = receivers
        self._box = box
        self._positions = positions

    async def create(self, given: dto.WebhookCreate, seed: bytes | None = None) -> dto.WebhookWithSecret:
        """Create a webhook. It gets the events from now on.

        Args:
            given: The new webhook.
            seed: 32 secret bytes from which its id and its secret are derived, if the request may be repeated. A repeat
                returns the existing webhook.

        Raises:
            Invalid: A field breaks a rule.
            Gone: An earlier attempt of the same request created it, and it has been deleted since.
            QuotaExceeded: The account has `MAX_WEBHOOKS` webhooks.
        """
        hook_id = ObjectId() if seed is None else derive_hook_id(seed)
        secret = generate_secret(seed)
        document = await self._find_created(hook_id) if seed is not None else None
        if document is None:
            fields = await self._validate(given)
            moment = now()

            def build(slot: int) -> Webhook:
                return Webhook(
                    id=hook_id,
                    account=self._owner,
                    owner=self._owner,
                    slot=slot,
                    secrets=[SigningSecret(box=self._box.encrypt(secret, hook_id))],
                    started_at=moment,
                    version=1,
                    created_at=moment,
                    updated_at=moment,
                    **fields,
                )

            try:
                document = await insert_into_slot(self._store, build, self._find_taken_slots, MAX_WEBHOOKS)
            except DuplicateDocument:
                # a concurrent attempt of the same request has created it
                document = await self._find_created(hook_id)
            if document is None:
                raise QuotaExceeded("webhooks", MAX_WEBHOOKS)
        document = await set_initial_position(self._store, hook_id, self._positions) or document
        return dto.WebhookWithSecret.from_secret(document, format_secret(secret))

    async def _find_created(self, hook_id: ObjectId) -> Webhook | None:
        # a write, because an isolated MongoDB member can return data that is rolled back later
        created = await self._store.update(Webhook, Webhook.id == hook_id, Webhook.account == self._owner, changes={})
        if created is not None and created.owner is None:
            raise Gone("this webhook was created and has been deleted since")
        return created

    async def _find_taken_slots(self) -> list[int]:
        found = await self._store.find(Webhook, Webhook.owner == self._owner, sort=None, limit=MAX_WEBHOOKS, into=_Slot)
        return [each.slot for each in found]

    async def read_page(
        self, limit: int, after: CreationPosition | None
    ) -> tuple[list[dto.Webhook], CreationPosition | None]:
        """Return a page of webhooks, newest first, and the position of the next page, or None.

        Args:
            limit: The size of the page.
            after: The position of the page; None for the first.
        """
        mine = Webhook.owner == self._owner
        return await read_newest_first(self._store, Webhook, mine, after=after, limit=limit, into=dto.Webhook)

    async def get(self, hook_id: str) -> dto.Webhook:
        """Return a webhook.

        Raises:
            NotFound: The account has no such webhook.
        """
        return dto.Webhook.from_document(await get_webhook(self._store, self._owner, hook_id))

    async def update(self, hook_id: str, patch: dto.WebhookUpdate, versions: Container[int] | None) -> dto.Webhook:
        """Apply a merge patch. The version stays the same if nothing changes.

        A webhook that is enabled again gets the events from now on.

        Args:
            hook_id: The id of the webhook.
            patch: The merge patch.
            versions: The versions that the caller accepts; None for any.

        Raises:
            Invalid: A field breaks a rule.
            Stale: The webhook has another version.
            NotFound: The account has no such webhook.
        """
        fields = await self._validate(patch)
        async for _ in Attempts():
            hook = await get_webhook(self._store, self._owner, hook_id)
            check_version(hook.version, versions)
            changes = {name: value for name, value in fields.items() if getattr(hook, name) != value}
            if not changes:
                return dto.Webhook.from_document(hook)
            moment = max(now(), hook.updated_at)
            if changes.get("enabled"):
                changes |= {"started_at": moment, "position": b"", "disabled_reason": None, "failing_since": None}
            if "url" in changes:
                changes["failing_since"] = None
            changed = await self._change(hook, changes, moment)
            if changed is not None:
                started = await set_initial_position(self._store, hook.id, self._positions)
                return dto.Webhook.from_document(started or changed)
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def _change(self, hook: Webhook, changes: dict[str, Any], moment: datetime) -> Webhook | None:
        """Write the changes of a webhook. Return None if it has changed since it was read."""
        changes = changes | {"version": hook.version + 1, "updated_at": moment}
        where = (Webhook.id == hook.id, Webhook.owner == self._owner, Webhook.version == hook.version)
        return await self._store.update(Webhook, *where, changes=changes)

    async def delete(self, hook_id: str, versions: Container[int] | None) -> None:
        """Delete a webhook with its deliveries.

        Raises:
            Stale: The webhook has another version.
            NotFound: The account has no such webhook.
        """
        async for _ in Attempts():
            hook = await get_webhook(self._store, self._owner, hook_id)
            check_version(hook.version, versions)
            moment = now()
            changes: dict[str, Any] = {
                "owner": None,
                # unique and negative, so that it takes no webhook's slot
                "slot": -1 - int.from_bytes(hook.id.binary[-7:], "big"),
                "url": "",
                "events": [],
                "enabled": False,
                "description": "",
                "secrets": [],
                "position": b"",
                "expires_at": moment + _TOMBSTONE_LIFETIME,
            }
            if await self._change(hook, changes, moment) is not None:
                await self._store.delete(
                    WebhookDelivery, WebhookDelivery.hook == hook.id, WebhookDelivery.account == self._owner
                )
                return

    async def rotate(
        self,
        hook_id: str,
        versions: Container[int] | None,
        seed: bytes | None = None,
        first_attempt: datetime | None = None,
    ) -> dto.WebhookWithSecret:
        """Replace the signing secret. The old one also signs for `PREVIOUS_SECRET_LIFETIME`.

        Args:
            hook_id: The id of the webhook.
            versions: The versions that the caller accepts; None for any.
            seed: 32 secret bytes from which the secret is derived, if the request may be repeated.
            first_attempt: When the first attempt of the request began, if this is a later one.

        Raises:
            Stale: The webhook has another version.
            NotFound: The account has no such webhook.
            Gone: An earlier attempt may have replaced the secret, but others have replaced it too often since to tell.
        """
        secret = generate_secret(seed)
        async for _ in Attempts():
            hook = await get_webhook(self._store, self._owner, hook_id)
            if seed is not None and secret in decrypt_secrets(hook, self._box):
                return dto.WebhookWithSecret.from_secret(hook, format_secret(secret))
            if first_attempt is not None and _may_have_dropped_secret(hook, first_attempt):
                raise Gone("this secret may have been created, but others have replaced it since")
            check_version(hook.version, versions)
            moment = max(now(), hook.updated_at)
            earlier = [
                SigningSecret(box=each.box, until=each.until or moment + PREVIOUS_SECRET_LIFETIME)
                for each in hook.secrets
                if each.until is None or each.until > moment
            ]
            current = SigningSecret(box=self._box.encrypt(secret, hook.id))
            secrets = [current, *earlier][:SIGNING_SECRETS]
            changed = await self._change(hook, {"secrets": secrets}, moment)
            if changed is not None:
                return dto.WebhookWithSecret.from_secret(changed, format_secret(secret))
        raise AssertionError  # unreachable: the last attempt raises `Busy`

    async def _validate(self, given: dto.WebhookCreate | dto.WebhookUpdate) -> dict[str, Any]:
        """Return the given fields as they are stored.

        Raises:
            Invalid: A field breaks a rule.
        """
        fields: dict[str, Any] = {}
        issues = []
        if given.url is not UNSET:
            fields["url"] = given.url
            try:
                await self._receivers.check(given.url)
            except ValueError as error:
                issues.append(ValidationIssue("/url", str(error)))
        if given.events is not UNSET:
            fields["events"] = list(dict.fromkeys(given.events))
        if given.enabled is not UNSET:
            fields["enabled"] = given.enabled
        if given.description is not UNSET:
            try:
                fields["description"] = normalize_lines(given.description or "", WEBHOOK_DESCRIPTION_LENGTH)
            except ValueError as error:
                issues.append(ValidationIssue("/description", str(error)))
        if issues:
            raise Invalid(issues)
        return fields


def _may_have_dropped_secret(hook: Webhook, since: datetime) -> bool:
    """Return whether a secret created after a time may no longer be stored, because newer ones took its place."""
    replaced_at = [each.until - PREVIOUS_SECRET_LIFETIME for each in hook.secrets if each.until is not None]
    return len(hook.secrets) >= SIGNING_SECRETS and min(replaced_at) >= since - CLOCK_DIFFERENCE
