"""The endpoints of webhooks."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from todo_service.api_types import PageQuery
from todo_service.idempotency.derivation import derive_idempotent_id, derive_secret, get_first_attempt
from todo_service.idempotency.replays import require_document
from todo_service.store.paging import CreationPosition
from todo_service.web.cursors import respond_with_page
from todo_service.web.entity_tags import entity_tag, parse_conditions, parse_if_match, respond_with_tag
from todo_service.web.openapi.config import declare_headers, declare_problems
from todo_service.web.requests import ApiRequest, QueryRequest
from todo_service.web.route_options import IDEMPOTENT, ON_REPLAY, RERUN
from todo_service.webhooks import dto
from todo_service.webhooks.delivery_requests import DeliveryRequests
from todo_service.webhooks.documents import WebhookDelivery
from todo_service.webhooks.service import Webhooks


class WebhooksController(Controller):
    """The webhooks of the caller."""

    path = "/v1/webhooks"
    tags = ["Webhooks"]

    @post(
        "/",
        operation_id="createWebhook",
        summary="Create a webhook",
        opt={IDEMPOTENT: RERUN},
        responses=declare_problems(400, 401, 409, 410, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag", "Location"),
    )
    async def create_webhook(
        self, request: ApiRequest, data: JSONBody[dto.WebhookCreate], webhooks: NamedDependency[Webhooks]
    ) -> Response[dto.WebhookWithSecret]:
        """Create a webhook. It receives events from now on.

        The secret signs the deliveries as Standard Webhooks 1.0.0 describes, and is shown only once.
        """
        created = await webhooks.create(data, derive_secret(request))
        headers = {"Location": f"/v1/webhooks/{created.id}", "ETag": entity_tag(created)}
        return Response(created, headers=headers)

    @get(
        "/",
        operation_id="listWebhooks",
        summary="List webhooks",
        responses=declare_problems(401, 422, 429, 503),
        response_headers=declare_headers("Link"),
    )
    async def list_webhooks(
        self, request: QueryRequest[PageQuery], webhooks: NamedDependency[Webhooks]
    ) -> Response[dto.WebhookPage]:
        """List the webhooks of the account without their secrets, newest first."""
        query = request.parameters()
        context = b"webhooks" + request.user.user_id.binary
        after = request.cursors.open(query.cursor, CreationPosition, context)
        items, position = await webhooks.read_page(query.limit, after)
        return respond_with_page(request, dto.WebhookPage(items, request.cursors.seal_next(position, context)))

    @get(
        "/{webhook_id:str}",
        operation_id="getWebhook",
        summary="Get a webhook",
        responses=declare_problems(401, 404, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def get_webhook(
        self, request: ApiRequest, webhook_id: FromPath[str], webhooks: NamedDependency[Webhooks]
    ) -> Response[dto.Webhook]:
        """Get a webhook without its secret. With `If-None-Match`, returns 304 if it has not changed."""
        return respond_with_tag(request, await webhooks.get(webhook_id))

    @patch(
        "/{webhook_id:str}",
        operation_id="updateWebhook",
        summary="Update a webhook",
        responses=declare_problems(400, 401, 404, 412, 413, 415, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def update_webhook(
        self,
        request: ApiRequest,
        webhook_id: FromPath[str],
        data: JSONBody[dto.WebhookUpdate],
        webhooks: NamedDependency[Webhooks],
    ) -> Response[dto.Webhook]:
        """Apply a merge patch to a webhook. With `If-Match`, returns 412 if it has changed.

        `enabled: false` pauses it. Events that occur in the meantime are not sent later.
        """
        changed = await webhooks.update(webhook_id, data, parse_conditions(request))
        return Response(changed, headers={"ETag": entity_tag(changed)})

    @delete(
        "/{webhook_id:str}",
        operation_id="deleteWebhook",
        summary="Delete a webhook",
        responses=declare_problems(401, 404, 412, 422, 429, 503),
    )
    async def delete_webhook(
        self, request: ApiRequest, webhook_id: FromPath[str], webhooks: NamedDependency[Webhooks]
    ) -> None:
        """Delete a webhook with its deliveries. Nothing more is sent."""
        await webhooks.delete(webhook_id, parse_conditions(request))

    @post(
        "/{webhook_id:str}/secret",
        operation_id="rotateWebhookSecret",
        summary="Replace the signing secret",
        status_code=200,
        opt={IDEMPOTENT: RERUN},
        responses=declare_problems(400, 401, 404, 409, 410, 412, 422, 429, 503),
        response_headers=declare_headers("ETag"),
    )
    async def rotate_secret(
        self, request: ApiRequest, webhook_id: FromPath[str], webhooks: NamedDependency[Webhooks]
    ) -> Response[dto.WebhookWithSecret]:
        """Replace the signing secret. For 24 hours, deliveries are signed with the old secret too."""
        rotated = await webhooks.rotate(
            webhook_id, parse_if_match(request), derive_secret(request), get_first_attempt(request)
        )
        return Response(rotated, headers={"ETag": entity_tag(rotated)})

    @post(
        "/{webhook_id:str}/test",
        operation_id="testWebhook",
        summary="Send a ping",
        status_code=202,
        opt={IDEMPOTENT: True, ON_REPLAY: require_document(WebhookDelivery)},
        responses=declare_problems(400, 401, 404, 409, 410, 412, 422, 429, 503),
    )
    async def test_webhook(
        self, request: ApiRequest, webhook_id: FromPath[str], deliveries: NamedDependency[DeliveryRequests]
    ) -> dto.Delivery:
        """Send a delivery of the type `ping`, with empty data. Returns 409 if the webhook is not enabled."""
        return await deliveries.send_ping(webhook_id, parse_if_match(request), derive_idempotent_id(request))

    @get(
        "/{webhook_id:str}/deliveries",
        operation_id="listWebhookDeliveries",
        summary="List deliveries",
        responses=declare_problems(401, 404, 422, 429, 503),
    )
    async def list_deliveries(
        self, request: ApiRequest, webhook_id: FromPath[str], deliveries: NamedDependency[DeliveryRequests]
    ) -> dto.DeliveryList:
        """List the last 100 deliveries of a webhook, the newest first. They are stored for up to seven days."""
        return dto.DeliveryList(await deliveries.list_deliveries(webhook_id))

    @post(
        "/{webhook_id:str}/deliveries/{delivery_id:str}/retry",
        operation_id="retryWebhookDelivery",
        summary="Send a delivery again",
        status_code=202,
        opt={IDEMPOTENT: True},
        responses=declare_problems(400, 401, 404, 409, 410, 422, 429, 503),
    )
    async def retry_delivery(
        self,
        request: ApiRequest,
        webhook_id: FromPath[str],
        delivery_id: FromPath[str],
        deliveries: NamedDependency[DeliveryRequests],
    ) -> dto.Delivery:
        """Send a delivery once more, with the same `webhook-id`. Returns 409 if the webhook is not enabled."""
        change_id, first_attempt = derive_idempotent_id(request), get_first_attempt(request)
        return await deliveries.retry(webhook_id, delivery_id, change_id, first_attempt)
