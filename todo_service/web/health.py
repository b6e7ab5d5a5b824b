"""The state of the service: what it is, whether it lives, whether it is ready."""

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
from todo_service.store.base import DocumentStore, StoreError
from todo_service.web.in_flight import InFlightRequests
from todo_service.web.openapi.config import declare_problems
from todo_service.web.problems import ProblemError
from todo_service.web.route_options import LIMIT, PUBLIC

READY_SECONDS: Final = 2.0
"""How long the store may take to answer."""
logger = structlog.get_logger(__name__)


class Service(msgspec.Struct):
    """What this service is, and where to read on."""

    name: Annotated[str, Meta(description="What it is called.", examples=["todo_service"])]
    version: Annotated[str, Meta(description="Its version.", examples=[__version__])]
    docs: Annotated[str, Meta(description="The path of the docs page.", examples=["/docs"])]
    schema: Annotated[str, Meta(description="The path of the OpenAPI document.", examples=["/schema/openapi.json"])]


class Health(msgspec.Struct):
    """That all is well."""

    status: Annotated[Literal["ok"], Meta(description="Always `ok`.")] = "ok"


class Readiness:
    """Whether the store answers. All who ask within a tenth of a second share one ping.

    Args:
        store: The store.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._ping: asyncio.Task[bool] | None = None
        self._since = 0.0

    async def check(self) -> bool:
        """Return whether the store answers, or did so within the last tenth of a second."""
        loop = asyncio.get_running_loop()
        if self._ping is None or (self._ping.done() and loop.time() >= self._since + READINESS_SECONDS):
            self._since = loop.time()
            self._ping = loop.create_task(self._ask())
        return await asyncio.shield(self._ping)

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._store.ping()
        except (StoreError, TimeoutError) as error:
            logger.warning("not ready", reason=str(error) or "the store did not answer in time")
            return False
        return True


class OperationsController(Controller):
    """What operators and monitors ask."""

    path = "/"
    tags = ["Operations"]
    opt = {PUBLIC: True}

    @get("/", operation_id="getService", summary="What this is")
    async def service(self) -> Service:
        """Name the service, its version and its documentation."""
        return Service("todo_service", __version__, "/docs", "/schema/openapi.json")

    # no limit for /health: load balancers go by it, and it costs next to nothing however often it is asked
    @get("/health/live", operation_id="getLiveness", summary="Whether the process serves", opt={LIMIT: None})
    async def live(self) -> Health:
        """Answer as long as the process serves; touches nothing else."""
        return Health()

    @get(
        "/health/ready",
        operation_id="getReadiness",
        summary="Whether requests can be served",
        opt={LIMIT: None},
        responses=declare_problems(503),
    )
    async def ready(
        self, readiness: NamedDependency[Readiness], in_flight: NamedDependency[InFlightRequests]
    ) -> Health:
        """Answer 200 when the store answers within 2 s and the service is not stopping."""
        if in_flight.draining:
            raise ProblemError("unavailable", "the service is stopping", headers={"Retry-After": "5"})
        if not await readiness.check():
            raise ProblemError("unavailable", "the document store does not answer", headers={"Retry-After": "2"})
        return Health()
