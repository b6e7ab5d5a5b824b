"""README.md, docs/tour.md, docs/moving.md and docs/operations.md: their commands run as printed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.forking import run_forked
from tests.people import build_report
from tests.serving import SECRET_KEY, START_SECONDS, environment, running_service
from tests.test_docs import SCRIPTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MOVING = (ROOT / "docs" / "moving.md").read_text()
TOUR = (ROOT / "docs" / "tour.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def read_commands(page: str, section: str) -> str:
    """Return the shell commands in a section of a page."""
    text = page.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))


REGISTRATION = read_commands(README, "Your first todo").split("TODO=")[0]


def run_script(
    script: str, folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run shell commands in a folder, and check that none of them fails."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],  # noqa: S607  # the pages are written for a shell
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=2 * START_SECONDS,
        check=True,
    )


def test_the_first_todo_works_as_printed(tmp_path: Path, store_url: str) -> None:
    variables = {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}
    with running_service(tmp_path, variables) as service:
        script = read_commands(README, "Your first todo").replace("http://127.0.0.1:8000", service.url)
        done = run_script(script, tmp_path)

    registered, listed, changed, completed = re.findall(r"\{(?:[^{}]|\{[^{}]*\})*\}", done.stdout)
    assert '"username":"ada"' in registered
    assert '"title":"Water the plants"' in listed
    assert '"due_at":"2027-01-31T08:00:00.000Z"' in listed
    assert '"title":"Water all the plants"' in changed
    assert '"version":2' in changed
    assert '"due_at":null' in changed
    assert '"completed":true' in completed
    assert done.stdout.endswith("204\n")


def test_the_tour_works_as_printed(tmp_path: Path, store_url: str) -> None:
    variables = {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}
    with running_service(tmp_path, variables) as service:
        script = (REGISTRATION + "\necho\necho ---\n" + read_commands(TOUR, "Commands")).replace("\n\n", "\necho\n")
        done = run_script(script.replace("http://127.0.0.1:8000", service.url), tmp_path)

    responses = [line for line in done.stdout.split("---\n")[1].split("\n") if line]
    completed, completions, reopened, moved, *responses = responses
    found, changes, summary, tags, batch, by_key, sessions, changed, twice, imported, deleted = responses
    assert json.loads(completed)["due_at"] == "2027-03-28T07:00:00.000Z"
    assert [each["due_at"] for each in json.loads(completions)["items"]] == ["2027-03-27T08:00:00.000Z"]
    assert json.loads(reopened)["due_at"] == json.loads(moved)["due_at"] == "2027-03-27T08:00:00.000Z"
    assert [todo["title"] for todo in json.loads(found)["items"]] == ["Gärten gießen"]
    assert json.loads(changes)["has_more"] is False
    assert json.loads(summary)["by_tag"] == [{"name": "home", "count": 1}]
    assert json.loads(tags)["items"] == [{"name": "home", "count": 1}]
    assert [result["status"] for result in json.loads(batch)["results"]] == [201, 404]
    assert [todo["title"] for todo in json.loads(by_key)["items"]] == ["Gärten gießen", "Rake the leaves"]
    assert [session["current"] for session in json.loads(sessions)["items"]] == [True]
    assert changed == "204"
    assert twice[: len(twice) // 2] == twice[len(twice) // 2 :]
    assert json.loads(imported) == build_report(unchanged=3)
    assert deleted == "204"


def test_back_up_restore_and_migrate_work_as_printed(tmp_path: Path, mongodb_url: str) -> None:
    script = read_commands(OPERATIONS, "Back up, restore and migrate")
    script = script.replace("pdm run todo-service", f"{sys.executable} -m todo_service")
    script = script.replace("mongodb://127.0.0.1:27017/todo", mongodb_url)
    copying, starting = script.split("SECRET_KEY=")
    assert starting.endswith(" pdm start\n")
    with running_service(tmp_path) as service:
        script = REGISTRATION.replace("http://127.0.0.1:8000", service.url) + copying
        done = run_script(script, tmp_path, environment(tmp_path, HOME=str(tmp_path)))

    hashes = re.findall(r"holds 2 documents, 2 of them newly written; content hash ([0-9a-f]{64})", done.stdout)
    assert len(hashes) == 3
    assert len(set(hashes)) == 1
    for variables in ({"DATA_DIR": str(tmp_path / "restored")}, {"STORE_URL": mongodb_url, "SECRET_KEY": SECRET_KEY}):
        with running_service(tmp_path, variables) as service:
            form = {"grant_type": "password", "username": "ada", "password": "correct horse battery"}
            assert service.post("/v1/auth/token", data=form).status_code == 200


def test_the_service_starts_as_printed(tmp_path: Path, mongodb_url: str) -> None:
    environments = re.findall(r"^(.*)\bpdm start$", README, re.MULTILINE)
    assert SCRIPTS["start"]["composite"] == ["pdm sync --prod --quiet", "todo-service serve {args}"]

    for number, text in enumerate(environments):
        folder = tmp_path / str(number)
        folder.mkdir()
        variables = dict(re.findall(r"(\w+)=(\S+) ", text.replace("mongodb://127.0.0.1:27017/todo", mongodb_url)))
        with running_service(folder, variables) as service:
            assert service.get("/docs").status_code == 200
            assert (folder / "store").exists() == ("STORE_URL" not in variables)
    assert len(environments) == 2


def test_an_import_works_as_printed(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "exchange" / "corpus" / "todoist" / "project.csv", tmp_path / "file.csv")
    with running_service(tmp_path) as service:
        [importing] = re.findall(r"```sh\n(.*?)```", MOVING, re.DOTALL)
        script = REGISTRATION + "\necho\n" + importing
        done = run_script(script.replace("http://127.0.0.1:8000", service.url), tmp_path)

    report = json.loads(done.stdout.splitlines()[-1])
    assert report["imported"] > 1
    assert report["rejected"] == []


def test_an_invitation_is_created_as_printed(tmp_path: Path) -> None:
    [command] = re.findall(r"^pdm run todo-service (users .*)$", OPERATIONS, re.MULTILINE)
    done = run_forked(tmp_path, *shlex.split(command), variables=environment(tmp_path))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize("command", ["start", "test"])
def test_the_two_opening_commands_are_pdm_scripts(command: str) -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()

    assert f'pip install "pdm[locked]" && pdm {command}\n' in README.split("## Your first todo")[0]
    assert re.search(rf"^{command} = ", project, re.MULTILINE)
