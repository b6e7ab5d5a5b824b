"""Logging: one line per event in both formats, without forged lines or secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.people import UserCreateFactory
from tests.serving import environment, running_service

PROGRAM = """
import logging, structlog
from todo_service.observability.logs import configure_logging
from todo_service.settings import load_settings
configure_logging(load_settings())
log = structlog.get_logger("somewhere")
log.info("first", text="one\\nFORGED line", other="\\x1b[31mred")
log.debug("not shown")
logging.getLogger("library").warning("from a %s", "library\\nFORGED")
logging.getLogger("uvicorn.error").info("not shown")
def fail():
    password = "the secret of a frame"
    raise RuntimeError("inside")
try:
    fail()
except RuntimeError:
    log.exception("failed")
"""


def run_program(folder: Path, form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment(folder, LOG_FORMAT=form),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_logs_have_one_object_per_line(tmp_path: Path) -> None:
    first, library, failed = map(json.loads, run_program(tmp_path, "json"))

    assert first["event"] == "first"
    assert first["text"] == "one\nFORGED line"
    assert (first["level"], first["logger"]) == ("info", "somewhere")
    assert first["timestamp"].endswith("Z")
    assert library["event"] == "from a library\nFORGED"
    assert failed["exception"][0]["exc_type"] == "RuntimeError"
    assert "the secret" not in json.dumps(failed)


def test_values_cannot_forge_console_lines(tmp_path: Path) -> None:
    shown = run_program(tmp_path, "console")

    assert not [line for line in shown if line.startswith("FORGED")]
    assert "\x1b" not in "".join(shown)
    assert [line for line in shown if "RuntimeError: inside" in line]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_request_is_logged_once_with_its_route_and_no_secret(tmp_path: Path, form: str) -> None:
    user = UserCreateFactory.build()
    with running_service(tmp_path, {"LOG_FORMAT": form}) as service:
        service.post("/v1/users", json={"username": user.username, "email": user.email, "password": user.password})
        form_fields = {"grant_type": "password", "username": user.username, "password": user.password}
        tokens = service.post("/v1/auth/token", data=form_fields).json()
        header = {"Authorization": f"Bearer {tokens['access_token']}", "X-Request-ID": "the-request"}
        service.get("/v1/todos/65f1a2b3c4d5e6f708192a3b?q=private", headers=header)
        service.stop()

    log = (tmp_path / "service.log").read_text()
    (line,) = [line for line in log.splitlines() if "the-request" in line]
    assert "/v1/todos/{todo_id" in line
    assert "65f1a2b3c4d5e6f708192a3b" not in line
    for secret in (user.password, tokens["access_token"], tokens["refresh_token"], "private", user.email):
        assert secret not in log


def test_line_of_a_request_is_written_before_the_next_request(tmp_path: Path) -> None:
    with running_service(tmp_path, {"LOG_FORMAT": "json"}) as service:
        service.get("/v1/todos", headers={"X-Request-ID": "the-request"})
        service.get("/health/live")
        service.process.kill()
        service.process.wait()

    (line,) = [line for line in (tmp_path / "service.log").read_text().splitlines() if "the-request" in line]
    values = json.loads(line)
    assert datetime.fromisoformat(values.pop("timestamp")).tzinfo is not None
    assert values.pop("milliseconds") > 0
    assert list(values.items()) == [
        ("method", "GET"),
        ("route", "/v1/todos"),
        ("status", 401),
        ("user", None),
        ("event", "request"),
        ("request_id", "the-request"),
        ("logger", "todo_service.requests"),
        ("level", "info"),
    ]


@pytest.mark.parametrize("form", ["json", "console"])
def test_requests_are_not_logged_at_level_warning(tmp_path: Path, form: str) -> None:
    with running_service(tmp_path, {"LOG_FORMAT": form, "LOG_LEVEL": "warning"}) as service:
        service.get("/v1/todos", headers={"X-Request-ID": "the-request"})
        service.stop()

    assert "the-request" not in (tmp_path / "service.log").read_text()
