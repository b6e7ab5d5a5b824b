"""Tracing: a span for each request and for each call to the store, and no overhead if it is disabled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from litestar import Litestar
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.people import Person
from tests.serving import environment, running_service
from todo_service.app import create_app
from todo_service.observability.tracing import Tracing
from todo_service.settings import Settings
from todo_service.store.registry import create_store

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """An exporter that collects spans in memory."""
    return InMemorySpanExporter()


@pytest.fixture
async def app(settings: Settings, exporter: InMemorySpanExporter) -> AsyncIterator[Litestar]:
    """The application, with its spans sent to the exporter."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    application = create_app(settings, create_store(settings.store_address), Tracing(provider))
    async with application.lifespan():
        yield application


def get_attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@pytest.mark.anyio
async def test_a_request_is_a_span_by_its_route_that_continues_the_caller_s_trace(
    ada: Person, exporter: InMemorySpanExporter
) -> None:
    todo = await ada.todo()
    exporter.clear()

    await ada.get(f"/v1/todos/{todo['id']}", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})

    *calls, request = exporter.get_finished_spans()
    assert request.name == "GET /v1/todos/{todo_id}"
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    assert get_attributes(request) == {
        "http.request.method": "GET",
        "http.route": "/v1/todos/{todo_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
    }
    assert [call.name for call in calls] == ["store get"]
    assert calls[0].parent is not None
    assert calls[0].parent.span_id == request.context.span_id


@pytest.mark.anyio
@pytest.mark.parametrize("sent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"])
async def test_a_malformed_traceparent_begins_a_trace_of_its_own(
    client: httpx.AsyncClient, exporter: InMemorySpanExporter, sent: str
) -> None:
    exporter.clear()

    response = await client.get("/nowhere?secret", headers={"traceparent": sent})

    (request,) = exporter.get_finished_spans()
    assert response.status_code == 404
    assert request.parent is None
    assert request.name == "GET -"
    assert "secret" not in request.to_json()


@pytest.mark.anyio
async def test_the_caller_s_sampling_decision_is_respected(
    client: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    exporter.clear()

    await client.get("/", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})

    assert not exporter.get_finished_spans()


@pytest.mark.anyio
async def test_an_unavailable_store_is_an_error_of_the_span(
    app: Litestar, client: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    await app.state.store.close()
    exporter.clear()

    await client.get("/health/ready")

    ping, request = exporter.get_finished_spans()
    assert ping.status.status_code is StatusCode.ERROR
    assert request.status.status_code is StatusCode.ERROR


class Collector(BaseHTTPRequestHandler):
    """Receives exported spans."""

    received: list[tuple[str, bytes]] = []

    def do_POST(self) -> None:
        self.received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_environment_selects_the_exporter(tmp_path: Path, workers: str) -> None:
    Collector.received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        Thread(target=collector.serve_forever, daemon=True).start()
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
            "LOG_FORMAT": "json",
            "WORKERS": workers,
        }
        with running_service(tmp_path, variables) as service:
            header = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-ID": "the-request"}
            assert service.get("/v1/todos/unread", headers=header).status_code == 401
            assert service.stop() == 0
        collector.shutdown()

    lines = [json.loads(line) for line in (tmp_path / "service.log").read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == "the-request"]
    assert line["trace_id"] == TRACE
    assert {path for path, _ in Collector.received} == {"/v1/traces"}
    sent = b"".join(body for _, body in Collector.received)
    assert bytes.fromhex(TRACE) in sent
    assert b"GET /v1/todos/{todo_id}" in sent
    assert b"todo_service" in sent
    assert b"unread" not in sent


def test_an_unavailable_collector_does_not_delay_the_service(tmp_path: Path) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with running_service(tmp_path, variables) as service:
        assert service.get("/").status_code == 200
        assert service.stop() == 0


PROGRAM = """
import asyncio, sys
{before}
from todo_service.app import create_app_from_environment
create_app_from_environment()
print("todo_service.observability.tracing" in sys.modules, "opentelemetry.sdk" in sys.modules)
"""


def import_app(folder: Path, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
    ],
    ids=lambda variables: " ".join(variables) or "nothing",
)
def test_opentelemetry_is_not_imported_by_default(tmp_path: Path, variables: dict[str, str]) -> None:
    assert import_app(tmp_path, **variables).stdout == "False False\n"


def test_opentelemetry_is_imported_with_an_exporter(tmp_path: Path) -> None:
    assert import_app(tmp_path, OTEL_TRACES_EXPORTER="console").stdout.startswith("True True\n")


def test_without_the_extra_a_warning_is_logged(tmp_path: Path) -> None:
    done = import_app(tmp_path, "sys.modules['opentelemetry'] = None", OTEL_TRACES_EXPORTER="otlp")

    assert done.stdout == "False False\n"
    assert "OpenTelemetry is not installed" in done.stderr


def test_an_unknown_exporter_is_logged(tmp_path: Path) -> None:
    done = import_app(tmp_path, OTEL_TRACES_EXPORTER="pigeon")

    assert "unknown trace exporter" in done.stderr
    assert "pigeon" in done.stderr
