"""Clients for other languages are generated without a warning, and those with a compiler in Debian make six calls."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.sdk.languages import CLIENTS, compile_scenario, generate, run_shell
from tests.sdk.tools import FOLDER
from tests.serving import Service, running_service

PASSWORD = "correct horse battery"
TITLES = ["Water the plants", "Buy seeds", "Rake the leaves"]
PAGE = FOLDER.parent.parent / "docs" / "sdks.md"
USED = [name for name, client in CLIENTS.items() if client.scenario]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without rate limits."""
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def test_the_page_lists_the_clients() -> None:
    rows = re.findall(r"^\| (?:openapi-generator `)?([\w-]+).*\| (yes|no) \|$", PAGE.read_text(), re.MULTILINE)

    elsewhere = {"openapi-python-client", "openapi-typescript", "python"}  # and @hey-api: test_clients.py
    assert dict(rows) == dict.fromkeys(elsewhere, "yes") | {
        name: "yes" if client.scenario else "no" for name, client in CLIENTS.items() if name not in elsewhere
    }


@pytest.mark.parametrize("name", [name for name in CLIENTS if name not in USED])
def test_a_client_is_generated_without_a_warning(name: str, document: Path, tmp_path: Path) -> None:
    assert generate(CLIENTS[name], document, tmp_path) == []
    assert any((tmp_path / "client").iterdir())


@pytest.mark.parametrize("name", USED)
def test_a_client_is_generated_compiled_and_used(name: str, document: Path, tmp_path: Path, service: Service) -> None:
    client = CLIENTS[name]
    user = f"user-of-{name}"
    registration = {"username": user, "email": f"{user}@example.com", "password": PASSWORD}
    httpx.post(f"{service.url}/v1/users", json=registration).raise_for_status()

    assert generate(client, document, tmp_path) == []
    compile_scenario(client, tmp_path)
    account = {"SERVICE_URL": service.url, "SERVICE_USER": user, "SERVICE_PASSWORD": PASSWORD}
    said = run_shell(client.use, tmp_path, **account)

    (told,) = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    files = told.pop("files")
    rows = list(csv.DictReader(io.StringIO(files.pop("csv"), newline="")))
    assert [(row["title"], bool(row["due_at"])) for row in rows] == list(zip(TITLES, (False, True, True), strict=True))
    assert [todo["title"] for todo in json.loads(files.pop("json"))["todos"]] == TITLES
    assert re.findall(r"^SUMMARY:(.+)\r$", files.pop("ics"), re.MULTILINE) == TITLES
    assert files == {}
    assert told == {
        "signed in": "Bearer",
        "created": TITLES,
        "pages": [2, 1],
        "stale": [412, "urn:todo-service:problem:stale"],
        "cleared": [TITLES[0], True],
        "unchanged": dict.fromkeys(("csv", "json", "ics"), 3),  # of the import of the exported files
    }
