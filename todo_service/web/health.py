"""Service information and health checks: liveness and readiness."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final, Literal

import msgspec
import structlog
from litestar import Controller, get
from litestar.di import NamedDependency
from msgspec import Meta

from todo_service import __version__
from todo_service.bounds.requests import READINESS_SECONDS
from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreError
from todo_service.web.in_flight import InFlightRequests
from todo_service.web.openapi.config import declare_problems
from todo_service.web.prefixes import get_prefix
from todo_service.web.problems import ProblemError
from todo_service.web.requests import ApiRequest
from todo_service.web.route_options import LIMIT, PUBLIC

READY_SECONDS: Final = 2.0
"""The timeout of the store's ping, in seconds."""
logger = structlog.get_logger(__name__)


class Service(msgspec.Struct, frozen=True):
    """The service and the paths of its documentation."""

    name: Annotated[str, Meta(description="The name of the service.", examples=["todo_service"])]
    version: Annotated[str, Meta(description="The version of the service.", examples=[__version__])]
    docs: Annotated[str, Meta(description="The path of the docs page.", examples=["/docs"])]
    schema: Annotated[str, Meta(description="The path of the OpenAPI document.", examples=["/schema/openapi.json"])]


class Health(msgspec.Struct, frozen=True):
    """The service is healthy."""

    status: Annotated[Literal["ok"], Meta(description="Always `ok`.")] = "ok"


class Readiness:
    """Checks whether the store responds. Checks within a tenth of a second share one ping.

    Args:
        store: The store.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._ping: asyncio.Task[bool] | None = None
        self._since = 0.0

    async def check(self) -> bool:
        """Return whether the store responds, or has responded within the last tenth of a second."""
        loop = asyncio.get_running_loop()
        if self._ping is None or (self._ping.done() and loop.time() >= self._since + READINESS_SECONDS):
            self._since = loop.time()
            self._ping = loop.create_task(self._ping_store())
        return await asyncio.shield(self._ping)

    async def _ping_store(self) -> bool:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._store.ping()
        except (StoreError, TimeoutError) as error:
            logger.warning("not ready", reason=str(error) or "the store did not respond in time")
            return False
        return True


class OperationsController(Controller):
    """Service information and health checks."""

    path = "/"
    tags = ["Operations"]
    opt = {PUBLIC: True}

    @get("/", operation_id="getService", summary="Get the service")
    async def service(self, request: ApiRequest) -> Service:
        """Return the name, the version and the documentation of the service."""
        prefix = get_prefix(request.scope)
        return Service("todo_service", __version__, f"{prefix}/docs", f"{prefix}/schema/openapi.json")

    # /health has no rate limit: load balancers depend on it, and it is cheap
    @get("/health/live", operation_id="getLiveness", summary="Check liveness", opt={LIMIT: None})
    async def live(self) -> Health:
        """Respond as long as the process serves requests. The store is not checked."""
        return Health()

    @get(
        "/health/ready",
        operation_id="getReadiness",
        summary="Check readiness",
        opt={LIMIT: None},
        responses=declare_problems(503),
    )
    async def ready(
        self, readiness: NamedDependency[Readiness], in_flight: NamedDependency[InFlightRequests]
    ) -> Health:
        """Return 200 if the store responds within 2 s and the service is not shutting down."""
        if in_flight.draining:
            raise ProblemError("unavailable", "the service is shutting down", headers={"Retry-After": "5"})
        if not await readiness.check():
            raise ProblemError("unavailable", "the document store does not respond", headers={"Retry-After": "2"})
        return Health()
