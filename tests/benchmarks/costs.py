"""The CPU time that a request costs the service and MongoDB, to estimate how many of each a load needs.

Eight users send requests concurrently, each to an account of 400 todos. The result is the minimum of several rounds,
because other activity on the machine can only increase it. The table is in docs/scaling.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.benchmarks.accounts import Account
from tests.benchmarks.todos import todos
from tests.cost import processor_seconds
from tests.mongod import running_mongod
from tests.serving import SECRET_KEY, running_service

_USERS: Final = 8
_TODOS: Final = 400
_BATCH: Final = 100
_ROUNDS: Final = 5
_REQUESTS: Final = 100
"""The number of requests of each call and user in a round."""
_NEW: Final[dict[str, Any]] = next(todos(1))
_Call = Callable[["_User", int], None]


class _User:
    """A user who sends requests.

    Attributes:
        account: The account.
        ids: The ids of its first todos.
    """

    def __init__(self, url: str, number: int) -> None:
        self.account = Account(url, f"user{number}")
        self.ids: list[str] = []
        for start in range(0, _TODOS, _BATCH):
            operations = [{"op": "create", "todo": todo} for todo in todos(_BATCH, start, _TODOS)]
            created = self.account.ask("POST", "/v1/todos/batch", 200, json={"operations": operations}).json()
            self.ids += [result["todo"]["id"] for result in created["results"]]

    def get(self, path: str) -> None:
        self.account.ask("GET", path, 200)

    def write(self, method: str, path: str, status: int, body: Mapping[str, Any] | None = None) -> None:
        self.account.ask(method, path, status, json=body)

    def choose(self, number: int) -> str:
        """Return the path of the n-th todo."""
        return f"/v1/todos/{self.ids[number % _TODOS]}"


_CALLS: Final[Mapping[str, _Call]] = {
    "read a todo": lambda user, number: user.get(user.choose(number)),
    "list 20": lambda user, _: user.get("/v1/todos?limit=20"),
    "list 20, filtered and sorted": lambda user, _: user.get(
        "/v1/todos?completed=false&tag=home&sort=-priority&limit=20"
    ),
    "summary": lambda user, _: user.get("/v1/todos/summary"),
    "create": lambda user, _: user.write("POST", "/v1/todos", 201, _NEW),
    "update": lambda user, number: user.write("PATCH", user.choose(number), 200, {"title": f"Changed {number}"}),
    "complete": lambda user, number: user.write("POST", f"{user.choose(number)}/complete", 200),
}


def main() -> None:
    """Measure all calls, and print a table."""
    print("| call | service, ms | MongoDB, ms |")
    print("|---|--:|--:|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "mongod").mkdir()
        url, mongod = stack.enter_context(running_mongod(folder / "mongod"))
        variables = {"STORE_URL": f"{url}/costs", "SECRET_KEY": SECRET_KEY, "ENVIRONMENT": "production"}
        service = stack.enter_context(running_service(folder, variables, forked=False))
        users = [_User(service.url, number) for number in range(_USERS)]
        pool = stack.enter_context(ThreadPoolExecutor(_USERS))
        processes = (service.process.pid, mongod.pid)
        for name, call in _CALLS.items():
            rounds = []
            for start in range(0, _ROUNDS * _REQUESTS, _REQUESTS):
                before = [processor_seconds(process) for process in processes]
                list(pool.map(partial(_run, call, start), users))
                after = [processor_seconds(process) for process in processes]
                rounds.append([used - spent for used, spent in zip(after, before, strict=True)])
            lowest = [min(costs) / _USERS / _REQUESTS * 1000 for costs in zip(*rounds, strict=True)]
            print(f"| {name} | {lowest[0]:.2f} | {lowest[1]:.2f} |", flush=True)


def _run(call: _Call, start: int, user: _User) -> None:
    for number in range(start, start + _REQUESTS):
        call(user, number)


if __name__ == "__main__":
    main()
