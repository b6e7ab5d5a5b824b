"""One client cannot occupy what all clients share: memory for bodies, turns of imports, exports and long reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.serving import Service, running_service
from tests.todos.test_transfer_bounds import SlowImport, sign_in
from tests.web.test_backpressure import MIB, begin_import
from tests.web.test_connections import assert_bare_problem, read_all
from todo_service.bounds.accounts import PASSWORD_QUEUE, PASSWORDS_OF_ADDRESS
from todo_service.bounds.connections import CLIENT_SHARE
from todo_service.bounds.exchange import EXPORT_QUEUE, EXPORTS_OF_ACCOUNT, IMPORTS, IMPORTS_OF_ACCOUNT
from todo_service.bounds.store import SCAN_QUEUE, SCAN_THREADS, SCANS_PER_ACCOUNT
from todo_service.bounds.todos import RULE_QUEUE, RULE_QUEUE_OF_ACCOUNT
from todo_service.server.flow import MemoryBudget, Shortage

SHARES = {
    "memory for bodies": (CLIENT_SHARE, 1),
    "imports": (IMPORTS_OF_ACCOUNT, IMPORTS),
    "exports": (EXPORTS_OF_ACCOUNT, EXPORT_QUEUE),
    "threads for long reads": (1, SCAN_THREADS),
    "queue for long reads": (SCANS_PER_ACCOUNT, SCAN_QUEUE),
    "recurrence rules": (RULE_QUEUE_OF_ACCOUNT, RULE_QUEUE),
    "passwords": (PASSWORDS_OF_ADDRESS, PASSWORD_QUEUE),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("shares"), {"LOG_FORMAT": "json"}) as running:
        yield running


@pytest.mark.parametrize("resource", SHARES)
def test_a_client_has_at_most_half_of_a_resource(resource: str) -> None:
    share, total = SHARES[resource]

    assert share <= total / 2


def test_an_account_has_at_most_half_of_the_memory_for_bodies(service: Service) -> None:
    body = b"x" * (63 * MIB)
    with closing(sign_in(service, "ada")) as ada, closing(sign_in(service, "bob")) as bob, ExitStack() as opened:
        header = {"Authorization": ada.headers["Authorization"]}
        held, refused = (
            opened.enter_context(begin_import(service, header, body, 64 * MIB, "text/csv")) for _ in range(2)
        )
        response = read_all(refused)
        of_ada = ada.post("/v1/todos", json={"title": "x", "description": "x" * 9000})
        large = [{"op": "create", "todo": {"title": "x", "description": "x" * 9000}}] * 90
        batch = ada.post("/v1/todos/batch", json={"operations": large})
        of_bob = bob.post(
            "/v1/todos/import",
            content=b"[" + b" " * (64 * MIB - 2) + b"]",
            headers={"Content-Type": "application/json"},
        )
        held.close()

    assert_bare_problem(response, 429)
    assert b"retry-after: 10" in response
    assert (of_ada.status_code, batch.status_code, of_bob.status_code) == (201, 200, 200)


def test_the_imports_of_an_account_leave_turns_to_others(service: Service) -> None:
    rows = b"title\n" + b"a todo\n" * 20_000
    with closing(sign_in(service, "carol")) as carol, closing(sign_in(service, "dave")) as dave, ExitStack() as opened:
        for _ in range(IMPORTS_OF_ACCOUNT):
            opened.enter_context(closing(SlowImport(carol, rows, "text/csv"))).send()
        of_dave = [dave.post("/v1/todos/import", json=[{"title": "x"}]) for _ in range(3)]
        third = carol.post("/v1/todos/import", json=[])

    assert [response.status_code for response in of_dave] == [200] * 3
    assert third.status_code == 429  # the two imports are still running
    assert int(third.headers["Retry-After"]) >= 1


def test_memory_is_charged_to_one_client_at_a_time() -> None:
    budget = MemoryBudget(1000)
    first, second, other = budget.reserve("a"), budget.reserve("a"), budget.reserve("b")

    assert first.grow(500) is None
    assert second.grow(1) is Shortage.SHARE
    assert other.grow(500) is None
    assert budget.reserve("c").grow(1) is Shortage.BUDGET

    first.charge("c")
    assert second.grow(1) is Shortage.BUDGET
    other.release()
    assert second.grow(500) is None
    assert budget.reserve("c").grow(1) is Shortage.SHARE
    first.release()
    assert budget.reserve("c").grow(500) is None


def test_a_share_is_half_of_the_budget_without_the_spare_memory() -> None:
    budget = MemoryBudget(1000)
    large, small = budget.reserve("a"), budget.reserve("a")

    assert large.grow(301, spare=400) is Shortage.SHARE
    assert large.grow(300, spare=400) is None
    assert small.grow(200) is None
    assert small.grow(1) is Shortage.SHARE
