"""What is counted and measured, for Prometheus: `GET /metrics`.

`METRICS` is the one table. Every application has a registry of its own. With several workers, the server's parent names
a folder in `PROMETHEUS_MULTIPROC_DIR`, in which each worker keeps its figures; whichever is asked answers for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder of the workers' figures; prometheus_client reads it when it is imported."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STORE_SECONDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)

# a series more for each one that there is, and nobody reads them
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


class Metric(NamedTuple):
    """A declared metric.

    Attributes:
        kind: `Counter`, `Histogram` or `Gauge`.
        name: Its name without the prefix `todo_service_` and the suffix that Prometheus asks for.
        description: What it tells.
        labels: By what it is told apart.
        options: What else its kind needs.
    """

    kind: type[Counter | Histogram | Gauge]
    name: str
    description: str
    labels: tuple[str, ...] = ()
    options: dict[str, Any] = {}


METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric(Counter, "http_requests", "Requests that were answered.", ("method", "route", "status")),
        Metric(
            Histogram,
            "http_request_duration_seconds",
            "Seconds from a request's head to the end of its answer.",
            ("method", "route"),
            {"buckets": _REQUEST_SECONDS},
        ),
        Metric(
            Histogram,
            "store_duration_seconds",
            "Seconds that a call of the document store took.",
            ("operation",),
            {"buckets": _STORE_SECONDS},
        ),
        Metric(Counter, "store_failures", "Calls that the document store did not answer.", ("operation",)),
        Metric(Counter, "sessions", "Sessions that were created, refreshed or ended.", ("event",)),
        Metric(Counter, "rate_limited", "Requests that were refused by a rate limit.", ("policy",)),
        Metric(
            Gauge,
            "argon2_queue_length",
            "Passwords that wait for their turn to be hashed.",
            options={"multiprocess_mode": "livesum"},
        ),
    )
}


class Metrics:
    """The figures of this service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        made: dict[str, Any] = {
            metric.name: metric.kind(
                metric.name,
                metric.description,
                metric.labels,
                namespace="todo_service",
                registry=self._registry,
                **metric.options,
            )
            for metric in METRICS.values()
        }
        self._requests: Counter = made["http_requests"]
        self._request_seconds: Histogram = made["http_request_duration_seconds"]
        self._store_seconds: Histogram = made["store_duration_seconds"]
        self._store_failures: Counter = made["store_failures"]
        self._sessions: Counter = made["sessions"]
        self._rate_limited: Counter = made["rate_limited"]
        self._argon2_queue: Gauge = made["argon2_queue_length"]
        # a label's child is looked up under a lock, by texts; one that is known costs a dictionary's look-up
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._calls: dict[str, Histogram] = {}
        for event in ("created", "refreshed", "ended"):
            self._sessions.labels(event)

    def record_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: The HTTP method.
            route: The template of its path, never the path itself.
            status: The status of the answer, 0 if there was none.
            seconds: How long it took.
        """
        found = self._answers.get((method, route, status))
        if found is None:
            known = method if method in _METHODS else "other"
            found = self._requests.labels(known, route, str(status)), self._request_seconds.labels(known, route)
            if known == method:
                self._answers[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def record_store_call(self, operation: str, seconds: float, available: bool) -> None:
        """Count a call of the store (a `store.instrumentation.Observer`)."""
        found = self._calls.get(operation)
        if found is None:
            found = self._calls[operation] = self._store_seconds.labels(operation)
        found.observe(seconds)
        if not available:
            self._store_failures.labels(operation).inc()

    def record_sessions(self, event: str, count: int) -> None:
        """Count sessions that were `created`, `refreshed` or `ended`."""
        self._sessions.labels(event).inc(count)

    def record_refusal(self, policy: str) -> None:
        """Count a request that a limit refused."""
        self._rate_limited.labels(policy).inc()

    def record_password_queue(self, count: int) -> None:
        """Tell how many passwords wait for their turn."""
        self._argon2_queue.set(count)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return all figures as text, and its media type: Prometheus' own form, or OpenMetrics where it is accepted."""
        registry = self._registry
        if folder := os.environ.get(FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # it has no annotations
            registry.register(_Workers(Path(folder)))
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type


class _Workers(Collector):
    """The processes of all workers, by their ids: a worker that lives has a file for its gauges."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Family]:
        families: dict[str, Family] = {}
        for file in sorted(self._folder.glob("gauge_livesum_*.db")):
            pid = file.stem.rpartition("_")[2]
            for family in ProcessCollector(pid=partial(str, pid), registry=None).collect():
                known = families.setdefault(family.name, Family(family.name, family.documentation, family.type))
                for sample in family.samples:
                    known.add_sample(sample.name, {"pid": pid}, sample.value)
        return families.values()
