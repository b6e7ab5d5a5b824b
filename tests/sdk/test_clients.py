"""Clients in other languages, generated from the document, run the same scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk import clients
from tests.sdk.clients import SCENARIOS, compile_strictly
from tests.sdk.tools import run
from tests.serving import Service

# register, sign in, three todos, two pages, a change, a stale one, complete, clear; four problems; export and import
# a CSV, a JSON and an iCalendar file, delete, get again, exceed the rate limit
STORY = "201 200 201 201 201 200 200 200 412 200 200 401 404 409 422 200 200 200 200 200 200 204 404 429"


@pytest.mark.parametrize("name", ["openapi_python_client", "openapi_generator"])
def test_a_python_client_runs_the_scenario(name: str, document: Path, tmp_path: Path, limited_service: Service) -> None:
    getattr(clients, name)(document, tmp_path)
    script = SCENARIOS / f"{name}.py"

    typed = run("mypy", "--strict", "--config-file", "", "--follow-imports", "silent", script, cwd=tmp_path)
    variables = {"SERVICE_URL": limited_service.url, "PYTHONPATH": str(tmp_path)}
    told = run("python", script, cwd=tmp_path, variables=variables)

    assert "no issues found" in typed
    assert told.strip() == STORY


@pytest.mark.parametrize("name", ["openapi_fetch", "hey_api"])
def test_a_typescript_client_runs_the_scenario(
    name: str, document: Path, tmp_path: Path, limited_service: Service
) -> None:
    getattr(clients, name)(document, tmp_path)

    compile_strictly(SCENARIOS / f"{name}.ts", tmp_path)
    told = run("node", f"built/{name}.js", cwd=tmp_path, variables={"SERVICE_URL": limited_service.url})

    assert told.strip() == STORY
