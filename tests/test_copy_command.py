"""`todo-service copy` as a process, also when it is killed or runs beside a service."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import httpx
import pytest
from odmantic import ObjectId

from tests.forking import run_forked
from tests.people import UserCreateFactory, assert_problem
from tests.serving import PLAIN_HTTP, SECRET_KEY, environment, run_command, running_service
from todo_service.services import MODELS
from todo_service.store.errors import StoreUnusable
from todo_service.store.registry import create_store
from todo_service.store.transfer.copying import copy
from todo_service.todos.documents import Todo
from todo_service.todos.uids import build_uid_fields

TODOS = 5000


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "todo_service", "copy", *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked(folder, "copy", *arguments, variables=environment(folder))


def create_address(form: str, folder: Path, mongodb_url: str) -> str:
    match form:
        case "mongodb":
            return mongodb_url
        case "embedded":
            return f"lmdb://{folder / 'copy' / 'store'}"
    return f"file://{folder / 'backup.ndjson.gz'}"


def encode_todo(number: int) -> bytes:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    owner = ObjectId(b"o" * 12)
    identity = ObjectId()
    todo = Todo(
        id=identity,
        account=owner,
        owner=owner,
        title=f"todo {number}",
        title_key=f"todo {number}",
        description="Water all of them. " * 10,
        completed=False,
        completed_at=None,
        priority="none",
        priority_rank=0,
        due_at=None,
        due_local=None,
        tags=["home"],
        list_id=None,
        steps=[],
        recurrence=None,
        position=float(number),
        words=["todo", str(number)],
        version=1,
        created_at=moment,
        updated_at=moment,
        **build_uid_fields(None, identity),
    )
    return bson.encode({"_id": todo.id, **todo.model_dump_doc()} | {"changed": bson.Timestamp(1_700_000_000, number)})


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embedded store with enough todos to kill a copy halfway."""
    folder = tmp_path_factory.mktemp("many") / "store"

    async def fill() -> None:
        store = create_store(f"lmdb://{folder}")
        await store.open(*MODELS)
        for start in range(0, TODOS, 1000):
            await store.load(Todo, [encode_todo(number) for number in range(start + 1, start + 1001)])
        await store.close()

    asyncio.run(fill())
    return folder


def kill_halfway(folder: Path, *arguments: str) -> None:
    """Start a copy, and kill it when it has copied some of the todos."""
    process = subprocess.Popen(
        command(*arguments),
        env=environment(folder),
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.fullmatch(r"copying todos: \d0 %\n", line):
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("form", ["embedded", "mongodb", "backup"])
def test_a_killed_copy_is_unusable_until_the_same_command_completes_it(
    form: str, many: Path, tmp_path: Path, mongodb_url: str
) -> None:
    source, target = f"lmdb://{many}", create_address(form, tmp_path, mongodb_url)

    kill_halfway(tmp_path, source, target)
    if form == "backup":
        assert not Path(target.removeprefix("file://")).exists()
    else:
        check = run_forked(tmp_path, "check", variables=environment(tmp_path, STORE_URL=target, SECRET_KEY=SECRET_KEY))
        assert check.returncode == 1
        assert "was not finished" in check.stderr
    done = run(tmp_path, source, target)

    assert done.returncode == 0, done.stderr
    found = re.search(
        rf"holds {TODOS} documents, (\d+) of them newly written; content hash ([0-9a-f]{{64}})", done.stdout
    )
    assert found is not None, done.stdout
    assert int(found[1]) == TODOS if form == "backup" else 0 < int(found[1]) < TODOS
    back = run(tmp_path, target, f"lmdb://{tmp_path / 'back'}")
    assert back.returncode == 0, back.stderr
    assert found[2] in back.stdout
    assert ("NOT a point-in-time snapshot" in back.stdout) is (form == "mongodb")  # the test server is standalone
    if form == "backup":
        assert [path.name for path in tmp_path.glob("*.part")] == []


def test_progress_is_a_bar_on_a_terminal_and_plain_lines_otherwise(many: Path, tmp_path: Path) -> None:
    plain = run(tmp_path, f"lmdb://{many}", f"lmdb://{tmp_path / 'one'}")
    ours, theirs = pty.openpty()
    bar = subprocess.Popen(
        command(f"lmdb://{many}", f"lmdb://{tmp_path / 'two'}"),
        env=environment(tmp_path) | {"TERM": "xterm"},
        cwd=tmp_path,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # raised on Linux when the other end is closed
            break
        if not more:
            break
        shown += more
    os.close(ours)

    assert bar.wait() == 0
    assert b"copying todos" in shown
    assert b"#" in shown
    assert b"\r" in shown
    assert "\r" not in plain.stderr + plain.stdout
    assert f"copying todos: {TODOS} documents\n" in plain.stderr
    assert "copying todos: 40 %\n" in plain.stderr


def test_errors_are_reported_in_one_line_with_status_1(many: Path, tmp_path: Path, mongodb_url: str) -> None:
    source, target = f"lmdb://{many}", f"file://{tmp_path / 'b.gz'}"
    (tmp_path / "b.gz").write_bytes(b"precious")
    secret = "mongodb://user:secret-password@127.0.0.1:1/todo?serverSelectionTimeoutMS=100"

    refused = {
        "already exists; nothing was changed. --overwrite": run(tmp_path, source, target),
        "is not a backup": run(tmp_path, target, f"lmdb://{tmp_path / 'x'}"),
        "the same": run(tmp_path, source, source),
        "contains no store": run(tmp_path, f"lmdb://{tmp_path / 'nothing'}", mongodb_url),
        "begins with": run(tmp_path, source, "elsewhere"),
        "does not respond": run(tmp_path, source, secret),
    }

    for words, response in refused.items():
        assert response.returncode == 1
        assert response.stdout == ""
        lines = [line for line in response.stderr.splitlines() if line.startswith("todo-service: ")]
        assert len(lines) == 1, response.stderr
        assert words in lines[0]
        assert "secret-password" not in response.stderr
        assert "Traceback" not in response.stderr
    assert not (tmp_path / "x").exists()


def test_help_describes_the_arguments(tmp_path: Path) -> None:
    text = run(tmp_path, "--help").stdout

    for words in ("SOURCE TARGET", "lmdb:///path", "mongodb://", "file:///path", "--overwrite", "run it again"):
        assert words in " ".join(text.split())


class Account:
    """An account on a running service, and its client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.registered = UserCreateFactory.build()
        self.headers: dict[str, str] = {}
        self.refresh_token = ""

    def register(self) -> None:
        person = self.registered
        body = {"username": person.username, "email": person.email, "password": person.password}
        assert self.ask("POST", "/v1/users", json=body).status_code == 201
        form = {"grant_type": "password", "username": person.username, "password": person.password}
        response = self.ask("POST", "/v1/auth/token", data=form)
        self.headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
        self.refresh_token = response.json()["refresh_token"]

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        every_header = self.headers | (headers or {})
        return httpx.request(method, self.url + path, headers=every_header, timeout=10, verify=PLAIN_HTTP, **request)

    def create(self, title: str, **headers: str) -> httpx.Response:
        return self.ask("POST", "/v1/todos", json={"title": title}, headers=headers)

    def changes(self, since: str | None = None) -> httpx.Response:
        parameters = {"since": since} if since else {}
        return self.ask("GET", "/v1/todos/changes", params=parameters)

    def titles(self) -> list[str]:
        response = self.ask("GET", "/v1/todos")
        return [todo["title"] for todo in response.json()["items"]]


@pytest.mark.parametrize("form", ["embedded", "mongodb"])
def test_clients_keep_their_sessions_after_a_restore_and_restart_their_sync(
    form: str, tmp_path: Path, mongodb_url: str
) -> None:
    """Back up an embedded store that is being served, and serve the restored backup elsewhere."""
    (tmp_path / "old").mkdir()
    (tmp_path / "copy").mkdir()
    backup = f"file://{tmp_path / 'backup.ndjson.gz'}"
    target = create_address(form, tmp_path, mongodb_url)
    with running_service(tmp_path / "old") as service:
        ada = Account(service.url)
        ada.register()
        kept = ada.create("kept", **{"Idempotency-Key": "once"})
        ada.create("kept too")
        gone = ada.create("gone").json()["id"]
        ada.ask("DELETE", f"/v1/todos/{gone}")
        before = ada.changes().json()["next"]

        saved = run(tmp_path, f"lmdb://{tmp_path / 'old' / 'store'}", backup)
        lost = ada.create("written after the backup").json()
        after = ada.changes(before).json()
        assert [todo["id"] for todo in after["changed"]] == [lost["id"]]
        busy = run(tmp_path, backup, f"lmdb://{tmp_path / 'old' / 'store'}", "--overwrite")
    assert saved.returncode == 0, saved.stderr
    assert "secret_key" in saved.stdout
    assert busy.returncode == 1
    assert "a service uses it" in busy.stderr

    restored = run(tmp_path, backup, target)
    assert restored.returncode == 0, restored.stderr
    key = (tmp_path / "old" / "secret_key").read_text().strip()
    with running_service(tmp_path / "copy", {"STORE_URL": target, "SECRET_KEY": key}) as service:
        ada.url = service.url
        titles = ada.titles()
        repeated = ada.create("kept", **{"Idempotency-Key": "once"})
        for since in (before, after["next"]):
            assert_problem(ada.changes(since), 410)
            assert_problem(ada.ask("GET", "/v1/events", params={"since": since}), 410)
        anew = ada.changes().json()
        ada.create("new")
        following = ada.changes(anew["next"]).json()
        renewed = ada.ask(
            "POST", "/v1/auth/token", data={"grant_type": "refresh_token", "refresh_token": ada.refresh_token}
        )

    assert sorted(titles) == ["kept", "kept too"]
    assert repeated.headers["idempotency-replayed"] == "true"
    assert repeated.json() == kept.json()
    assert sorted(todo["title"] for todo in anew["changed"]) == ["kept", "kept too"]
    assert "new" in [todo["title"] for todo in following["changed"]]
    assert renewed.status_code == 200


def test_without_the_secret_key_users_must_sign_in_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with running_service(tmp_path / "old") as service:
        ada = Account(service.url)
        ada.register()
    moved = run(tmp_path, f"lmdb://{tmp_path / 'old' / 'store'}", f"lmdb://{tmp_path / 'new' / 'store'}")

    with running_service(tmp_path / "new") as service:
        ada.url = service.url
        without = ada.changes()
    shutil.copy(tmp_path / "old" / "secret_key", tmp_path / "new" / "secret_key")
    with running_service(tmp_path / "new") as service:
        ada.url = service.url
        with_key = ada.changes()

    assert moved.returncode == 0
    assert without.status_code == 401
    assert with_key.status_code == 200


def test_overwrite_replaces_the_unfinished_store_of_another_copy(many: Path, tmp_path: Path) -> None:
    target = f"lmdb://{tmp_path / 'store'}"
    kill_halfway(tmp_path, f"lmdb://{many}", target)
    with pytest.raises(StoreUnusable, match="not finished"):
        asyncio.run(copy(target, f"lmdb://{tmp_path / 'other'}", MODELS))
    backup = f"file://{tmp_path / 'b.gz'}"
    assert run(tmp_path, f"lmdb://{many}", backup).returncode == 0

    refused = run(tmp_path, backup, target)
    overwritten = run(tmp_path, backup, target, "--overwrite")

    assert refused.returncode == 1
    assert "another copy" in refused.stderr
    assert overwritten.returncode == 0, overwritten.stderr
    assert f"holds {TODOS} documents, {TODOS} of them" in overwritten.stdout


@pytest.mark.parametrize("form", ["env", "file"])
def test_an_address_can_be_read_from_a_variable_or_a_file(form: str, many: Path, tmp_path: Path) -> None:
    target = f"file://{tmp_path / 'backup.gz'}"
    (tmp_path / "address").write_text(f"lmdb://{many}\n")
    named = "env:SOURCE_URL" if form == "env" else f"@{tmp_path / 'address'}"

    done = run_command(tmp_path, "copy", named, target, SOURCE_URL=f"lmdb://{many}")

    assert done.returncode == 0, done.stderr
    assert f"holds {TODOS} documents" in done.stdout


@pytest.mark.parametrize("named", ["env:NOTHING", "@/nowhere/at/all", "@/dev/null"])
def test_a_missing_address_is_reported_in_one_line(named: str, tmp_path: Path) -> None:
    done = run(tmp_path, named, f"lmdb://{tmp_path / 'store'}")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert named.removeprefix("env:").removeprefix("@") in done.stderr
