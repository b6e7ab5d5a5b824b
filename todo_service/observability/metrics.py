"""Metrics in Prometheus format, served at `GET /metrics`.

`METRICS` declares every metric. Each application has its own registry. With several workers, the parent process sets
`PROMETHEUS_MULTIPROC_DIR` to a directory where each worker stores its values; any worker serves the sum.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
"""The environment variable with the directory of the workers' values. prometheus_client reads it on import."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0)
_STORE_SECONDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)

# they double the number of series, and are not used
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


class Metric(NamedTuple):
    """A declared metric.

    Attributes:
        kind: `Counter`, `Histogram` or `Gauge`.
        name: The name without the prefix `todo_service_` and without the suffix of the kind.
        description: The help text.
        labels: The names of the labels.
        options: Further arguments of the kind.
    """

    kind: type[Counter | Histogram | Gauge]
    name: str
    description: str
    labels: tuple[str, ...] = ()
    options: dict[str, Any] = {}


METRICS: Final = {
    metric.name: metric
    for metric in (
        Metric(Counter, "http_requests", "HTTP requests.", ("method", "route", "status")),
        Metric(
            Histogram,
            "http_request_duration_seconds",
            "Seconds from a request's headers to the end of its response, except for event streams.",
            ("method", "route"),
            {"buckets": _REQUEST_SECONDS},
        ),
        Metric(
            Histogram,
            "store_duration_seconds",
            "Duration of calls to the document store, in seconds.",
            ("operation",),
            {"buckets": _STORE_SECONDS},
        ),
        Metric(
            Counter,
            "store_failures",
            "Calls to the document store that failed because it was unavailable.",
            ("operation",),
        ),
        Metric(Counter, "sessions", "Sessions created, refreshed and ended.", ("event",)),
        Metric(Counter, "rate_limited", "Requests rejected by a rate limit.", ("policy",)),
        Metric(Counter, "events", "Events sent to event streams.", ("type",)),
        Metric(
            Histogram,
            "event_lag_seconds",
            "Seconds from a change of a todo or a list until an open event stream sends it.",
            options={"buckets": _LAG_SECONDS},
        ),
        Metric(Gauge, "event_streams", "Open event streams.", options={"multiprocess_mode": "livesum"}),
        Metric(
            Counter,
            "webhook_attempts",
            "Attempts to deliver to webhooks: delivered, to be retried, or failed for good.",
            ("outcome",),
        ),
        Metric(
            Histogram,
            "webhook_lag_seconds",
            "Seconds from an event to the first attempt to deliver it.",
            options={"buckets": _LAG_SECONDS},
        ),
        Metric(Counter, "firings", "Due dates and reminders that fired.", ("kind",)),
        Metric(
            Histogram,
            "firing_lateness_seconds",
            "Seconds from the moment of a due date or a reminder until it fires.",
            options={"buckets": _LAG_SECONDS},
        ),
        Metric(
            Gauge,
            "argon2_queue_length",
            "Passwords that wait to be hashed.",
            options={"multiprocess_mode": "livesum"},
        ),
    )
}


class Metrics:
    """The metrics of an application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        metrics: dict[str, Any] = {
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
        self._requests: Counter = metrics["http_requests"]
        self._request_seconds: Histogram = metrics["http_request_duration_seconds"]
        self._store_seconds: Histogram = metrics["store_duration_seconds"]
        self._store_failures: Counter = metrics["store_failures"]
        self._sessions: Counter = metrics["sessions"]
        self._rate_limited: Counter = metrics["rate_limited"]
        self._events: Counter = metrics["events"]
        self._event_lag: Histogram = metrics["event_lag_seconds"]
        self._event_streams: Gauge = metrics["event_streams"]
        self._webhook_attempts: Counter = metrics["webhook_attempts"]
        self._webhook_lag: Histogram = metrics["webhook_lag_seconds"]
        self._firings: Counter = metrics["firings"]
        self._lateness: Histogram = metrics["firing_lateness_seconds"]
        self._argon2_queue: Gauge = metrics["argon2_queue_length"]
        # prometheus_client looks up children under a lock; cached ones cost a dictionary look-up
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._store_children: dict[str, Histogram] = {}
        for event in ("created", "refreshed", "ended"):
            self._sessions.labels(event)
        for outcome in ("delivered", "retried", "failed"):
            self._webhook_attempts.labels(outcome)
        for kind in ("due", "reminder"):
            self._firings.labels(kind)

    def record_request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count and time a request.

        Args:
            method: The HTTP method.
            route: The template of the path, never the path itself.
            status: The status of the response, 0 if there was none.
            seconds: The duration, in seconds; None to only count the request.
        """
        found = self._request_children.get((method, route, status))
        if found is None:
            known = method if method in _METHODS else "other"
            found = self._requests.labels(known, route, str(status)), self._request_seconds.labels(known, route)
            if known == method:
                self._request_children[method, route, status] = found
        found[0].inc()
        if seconds is not None:
            found[1].observe(seconds)

    def record_store_call(self, operation: str, seconds: float, available: bool) -> None:
        """Count and time a call to the store (a `store.instrumentation.Observer`)."""
        found = self._store_children.get(operation)
        if found is None:
            found = self._store_children[operation] = self._store_seconds.labels(operation)
        found.observe(seconds)
        if not available:
            self._store_failures.labels(operation).inc()

    def record_sessions(self, event: str, count: int) -> None:
        """Count sessions by event: `created`, `refreshed` or `ended`."""
        self._sessions.labels(event).inc(count)

    def record_rejection(self, policy: str) -> None:
        """Count a request rejected by a rate limit."""
        self._rate_limited.labels(policy).inc()

    def record_event(self, event: str) -> None:
        """Count an event that is sent, by its type."""
        self._events.labels(event).inc()

    def record_event_lag(self, seconds: float) -> None:
        """Record the time from a change until an event stream sends it."""
        self._event_lag.observe(max(0.0, seconds))

    @contextmanager
    def count_stream(self) -> Iterator[None]:
        """Count an event stream as open until the block ends."""
        self._event_streams.inc()
        try:
            yield
        finally:
            self._event_streams.dec()

    def record_webhook_attempt(self, outcome: str, lag: float | None) -> None:
        """Count an attempt to deliver to a webhook.

        Args:
            outcome: `delivered`, `retried` or `failed`.
            lag: The seconds since the event, if this is the first attempt.
        """
        self._webhook_attempts.labels(outcome).inc()
        if lag is not None:
            self._webhook_lag.observe(max(0.0, lag))

    def record_firing(self, kind: str, lateness: float) -> None:
        """Count a due date or a reminder that fires.

        Args:
            kind: `due` or `reminder`.
            lateness: The seconds since its moment.
        """
        self._firings.labels(kind).inc()
        self._lateness.observe(lateness)

    def record_password_queue(self, count: int) -> None:
        """Set the number of passwords that wait to be hashed."""
        self._argon2_queue.set(count)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics as text, and the media type.

        Args:
            accept: The `Accept` header, which selects the Prometheus or the OpenMetrics format.
        """
        registry = self._registry
        if folder := os.environ.get(FOLDER):
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]  # it has no annotations
            registry.register(_Workers(Path(folder)))
        try:
            encode, media_type = choose_encoder(accept)
        except Exception:  # the library fails in several ways on a malformed version
            encode, media_type = choose_encoder("")
        return encode(registry), media_type


class _Workers(Collector):
    """The process metrics of all workers, by process id. A live worker has a file for its gauges."""

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
