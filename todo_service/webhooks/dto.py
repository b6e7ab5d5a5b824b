"""The requests and responses of the webhook endpoints."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.api_types import (
    SHOWN,
    Id,
    NextCursor,
    Time,
    Version,
    redacted_repr,
)
from todo_service.bounds.texts import UNTRIMMED_FACTOR
from todo_service.bounds.webhooks import LISTED_DELIVERIES, URL_LENGTH, WEBHOOK_DESCRIPTION_LENGTH
from todo_service.decoding import declare_read_only
from todo_service.store.structs import build_struct
from todo_service.webhooks.documents import Webhook as WebhookDocument
from todo_service.webhooks.documents import WebhookDelivery as DeliveryDocument

EventName = Literal[
    "todo.changed",
    "todo.deleted",
    "todo.completed",
    "todo.due",
    "todo.reminder",
    "list.changed",
    "list.deleted",
]
EVENT_NAMES: Final[tuple[str, ...]] = get_args(EventName)
WebhookEvent = Annotated[EventName, Meta(title="WebhookEvent", description="An event type.", examples=["todo.changed"])]
Url = Annotated[
    str,
    Meta(
        description=(
            "The URL of the receiver. Its scheme is https, in development also http. Its host must have public "
            "addresses only, unless WEBHOOK_NETWORKS allows others. The port is 80, 443 or at least 1024."
        ),
        examples=["https://example.com/hooks/todos"],
        min_length=1,
        max_length=URL_LENGTH,
        extra_json_schema={SHOWN: {"format": "uri"}},
    ),
]
Events = Annotated[
    list[WebhookEvent],
    Meta(
        description="The types of the events that are sent. Duplicates are dropped.",
        examples=[["todo.changed", "todo.deleted"]],
        min_length=1,
        max_length=len(EVENT_NAMES) * 2,
    ),
]
Enabled = Annotated[
    bool,
    Meta(
        description="Whether events are sent. Those that occur while it is false are not sent later.", examples=[True]
    ),
]
WebhookDescription = Annotated[
    str,
    Meta(
        description=(
            "A note for people, as plain text. CRLF is stored as LF; control characters other than tabs and line "
            "endings are rejected."
        ),
        examples=["the bot of the team"],
        max_length=WEBHOOK_DESCRIPTION_LENGTH * UNTRIMMED_FACTOR,
        extra_json_schema={SHOWN: {"maxLength": WEBHOOK_DESCRIPTION_LENGTH}},
    ),
]


class WebhookCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new webhook."""

    url: Url
    events: Events
    enabled: Enabled = True
    description: WebhookDescription = ""

    def __repr__(self) -> str:
        return redacted_repr(self, "url")


class WebhookUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of a webhook."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    enabled: Enabled | UnsetType = UNSET
    description: WebhookDescription | UnsetType | None = UNSET

    def __repr__(self) -> str:
        return redacted_repr(self, "url")


class Webhook(msgspec.Struct, frozen=True):
    """A webhook, without its signing secret."""

    id: Id
    url: Url
    events: Events
    enabled: Enabled
    description: WebhookDescription
    disabled_reason: Annotated[
        Annotated[
            Literal["gone", "failing"],
            Meta(title="DisabledReason", description="Why the service has disabled a webhook."),
        ]
        | None,
        Meta(
            description=(
                "Why the service has disabled it: `gone` after a response with status 410, `failing` if an "
                "attempt fails five days or more after the first failure, with no success in between. Null if the "
                "service has not disabled it."
            ),
            examples=[None],
        ),
    ]
    version: Version
    created_at: Time
    updated_at: Time

    @classmethod
    def from_document(cls, document: WebhookDocument) -> Webhook:
        """Return the API representation of a webhook."""
        return build_struct(document, cls)

    def __repr__(self) -> str:
        return redacted_repr(self, "url")


class WebhookWithSecret(Webhook, frozen=True):
    """A webhook, with its new signing secret."""

    secret: Annotated[
        str,
        Meta(
            description="The secret that signs deliveries (Standard Webhooks). It is shown only once.",
            examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="],
        ),
    ]

    @classmethod
    def from_secret(cls, document: WebhookDocument, secret: str) -> WebhookWithSecret:
        """Return the API representation of a webhook with its secret."""
        return cls(**msgspec.structs.asdict(Webhook.from_document(document)), secret=secret)

    def __repr__(self) -> str:
        return redacted_repr(self, "url", "secret")


class WebhookPage(msgspec.Struct, frozen=True):
    """A page of webhooks, newest first."""

    items: Annotated[list[Webhook], Meta(description="The webhooks of this page.")]
    next_cursor: NextCursor


class DeliveryAttempt(msgspec.Struct, frozen=True):
    """An attempt to deliver."""

    at: Annotated[Time, Meta(description="When the attempt began.")]
    status_code: Annotated[
        int | None, Meta(description="The status code of the response; null if there was none.", examples=[204])
    ]
    error: Annotated[str | None, Meta(description="Why there was no response; null if there was one.", examples=[None])]


class Delivery(msgspec.Struct, frozen=True):
    """A delivery of an event. Its id is the `webhook-id` of every attempt."""

    id: Id
    type: Annotated[str, Meta(description="The type of the event, or `ping`.", examples=["todo.changed"])]
    state: Annotated[
        Literal["pending", "delivered", "failed"],
        Meta(
            title="DeliveryState",
            description="`pending` until an attempt succeeds, the last one fails, or any gets a 410.",
        ),
    ]
    created_at: Time
    attempts: Annotated[list[DeliveryAttempt], Meta(description="The last attempts, the newest first.")]

    @classmethod
    def from_document(cls, document: DeliveryDocument) -> Delivery:
        """Return the API representation of a delivery."""
        return build_struct(document, cls).reverse_attempts()

    def reverse_attempts(self) -> Delivery:
        """Return the delivery with its attempts in reverse order. They are stored oldest first."""
        return msgspec.structs.replace(self, attempts=self.attempts[::-1])


class DeliveryList(msgspec.Struct, frozen=True):
    """The last deliveries of a webhook."""

    items: Annotated[list[Delivery], Meta(description=f"The last {LISTED_DELIVERIES} deliveries, the newest first.")]


declare_read_only(WebhookWithSecret, WebhookCreate)
declare_read_only(Webhook, WebhookUpdate)
