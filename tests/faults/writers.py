"""Clients that write continuously, record the responses, and check the stored data afterwards.

Each todo belongs to one writer, so the responses determine its possible states: after a success, one state; after a
request without a success, the states before and after it. A request with an `Idempotency-Key` is retried until it gets
a response, and must have taken effect once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import httpx

from tests.faults.figures import RESPONSE_SECONDS, Figures
from tests.faults.processes import ServiceProcess
from tests.people import UserCreateFactory
from todo_service.web.problems import find_problem_type

_PATIENCE: Final = 30.0
_TIMEOUT_SECONDS: Final = 12.0
"""The timeout of a request, short enough to report it before the patience with all requests ends."""
_TICK: Final = 0.02
_DUE: Final = "2030-01-01T09:00:00.000Z"


class Response(NamedTuple):
    """A response: its status, its body and its headers."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def good(self) -> bool:
        return self.status < 300


class Client:
    """A client that checks that each response keeps the guarantees.

    Args:
        url: The URL of the service.
        figures: Counts the responses.
        mortal: Whether the service itself may be killed, so that a request may get no response.
        response_seconds: The maximum duration of a request.
    """

    def __init__(
        self, url: str, figures: Figures, *, mortal: bool = False, response_seconds: float = RESPONSE_SECONDS
    ) -> None:
        self._figures = figures
        self._response_seconds = response_seconds
        self._http = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_SECONDS, limits=httpx.Limits(max_connections=64))
        self._late = 0.0
        self.url = url
        self._watch: asyncio.Task[None] | None = None
        self.mortal = mortal
        self.authorization: dict[str, str] = {}
        self.faults: list[str] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Client]:
        """Keep the client open until the block ends."""
        self._watch = asyncio.create_task(self._measure_lateness())
        try:
            yield self
        finally:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            await self._http.aclose()

    async def ask(self, method: str, path: str, **request: Any) -> Response | None:
        """Send a request and return the response, or None if the service was killed."""
        headers = self.authorization | request.pop("headers", {})
        started, late = time.monotonic(), self._late
        try:
            response = await self._http.request(method, path, headers=headers, **request)
        # anyio raises an AttributeError if a connection closes while it is being opened
        except (httpx.TransportError, AttributeError) as error:
            if not self.mortal or isinstance(error, httpx.TimeoutException):
                self.faults.append(f"{method} {path}: {error!r} from {error.__cause__!r}")
            self._figures.statuses["none"] += 1
            return None
        # subtract the delay of this process itself
        seconds = time.monotonic() - started - (self._late - late)
        self._figures.slowest = max(self._figures.slowest, seconds)
        self._figures.statuses[str(response.status_code)] += 1
        if seconds > self._response_seconds:
            self.faults.append(f"{method} {path}: {response.status_code} after {seconds:.1f} s")
        kind = response.headers.get("content-type", "")
        if response.status_code >= 500 and (
            response.status_code != 503
            or kind != find_problem_type(path).media_type
            or not int(response.headers.get("retry-after", "0"))
        ):
            self.faults.append(f"{method} {path}: {response.status_code} {kind} {response.text}")
        return Response(response.status_code, response.json() if response.content else None, response.headers)

    async def sign_up(self) -> None:
        """Register and sign in."""
        user = UserCreateFactory.build()
        body = {"username": user.username, "email": user.email, "password": user.password}
        form = {"grant_type": "password", "username": user.username, "password": user.password}
        made = await self.ask("POST", "/v1/users", json=body)
        assert made is not None
        assert made.status == 201, made
        response = await self.ask("POST", "/v1/auth/token", data=form)
        assert response is not None
        assert response.status == 200, response
        self.authorization = {"Authorization": f"Bearer {response.body['access_token']}"}

    async def await_ready(self) -> float:
        """Wait until the service is ready, and return how long that took, in seconds. Until then, connections may be
        refused.
        """
        started = time.monotonic()
        while True:
            with suppress(httpx.TransportError, AttributeError):
                if (await self._http.get("/health/ready")).status_code == 200:
                    return time.monotonic() - started
            assert time.monotonic() - started < _PATIENCE, "the service does not become ready"
            await asyncio.sleep(_TICK)

    @asynccontextmanager
    async def checking_liveness(self) -> AsyncIterator[None]:
        """Check that the service stays live until the block ends, whatever its store does."""

        async def watch() -> None:
            while True:
                response = await self.ask("GET", "/health/live")
                if response is None or response.status != 200:
                    self.faults.append(f"liveness: {response and response.status}")
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _measure_lateness(self) -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(_TICK)
            self._late += max(0.0, time.monotonic() - started - 2 * _TICK)


class State(NamedTuple):
    """The compared fields of a todo."""

    version: int
    title: str
    completed: bool
    due_at: str | None


def read_state(todo: Mapping[str, Any]) -> State:
    """Return the compared fields of a todo as the service returns it."""
    return State(todo["version"], todo["title"], todo["completed"], todo["due_at"])


class KnownTodo:
    """A todo, as its writer knows it.

    Attributes:
        possible: Every state that it may have; None for a deleted todo.
        writes: The number of its acknowledged writes.
        busy: Whether a request with an `Idempotency-Key` that may change it has no response yet.
    """

    def __init__(self, identity: str, state: State) -> None:
        self.identity = identity
        self.possible: set[State | None] = {state}
        self.writes = 1
        self.busy = False

    def confirm(self, state: State | None) -> None:
        """Record an acknowledged write."""
        self.possible = {state}
        self.writes += 1

    def after(self, **changes: Any) -> State:
        """Return the state after changing the only possible state."""
        (state,) = self.possible
        assert state is not None
        return state._replace(version=state.version + 1, **changes)


class Request(NamedTuple):
    """A request with an `Idempotency-Key`, and a function that records its response."""

    path: str
    headers: dict[str, str]
    json: Any
    record: Callable[[Any], None]
    todos: tuple[KnownTodo, ...] = ()


class Writers:
    """Concurrent writers of one account.

    Args:
        client: Their client, signed in.
        seed: The seed of their random choices.
        number: The number of writers.
    """

    def __init__(self, client: Client, seed: int, number: int = 6) -> None:
        self.client = client
        self.acknowledged = 0
        self._chance = random.Random(seed)  # noqa: S311  # no secret
        self._writers = [_Writer(self, f"{seed}-{index}") for index in range(number)]
        self._stopping = False
        self._progress = asyncio.Event()
        self._refused = asyncio.Event()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write until the block ends, or until the service stops responding."""
        self._stopping = False
        tasks = [asyncio.create_task(writer.run()) for writer in self._writers]
        try:
            yield
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def await_acknowledged(self, further: int) -> None:
        """Wait for a number of further acknowledged writes."""
        wanted = self.acknowledged + further
        try:
            async with asyncio.timeout(_PATIENCE):
                while self.acknowledged < wanted:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            raise AssertionError(f"nothing can be written: {self.client.faults[:10]}") from None

    async def await_rejection(self) -> None:
        """Wait until a further request gets a 503."""
        self._refused.clear()
        async with asyncio.timeout(_PATIENCE):
            await self._refused.wait()

    async def finish(self) -> None:
        """Retry all requests without a response until they have one."""
        async with asyncio.timeout(_PATIENCE):
            while any(writer.pending for writer in self._writers):
                # concurrently: each retry of an interrupted request first watches its lease for more than a second
                await asyncio.gather(*(writer.repeat() for writer in self._writers for _ in writer.pending))
                await asyncio.sleep(0.1)

    async def compare(self, store: str, figures: Figures) -> None:
        """Compare the acknowledged writes with the stored todos."""
        there: dict[str, State] = {}
        parameters: dict[str, Any] = {"limit": 200, "sort": "created_at"}
        while True:
            page = await self.client.ask("GET", "/v1/todos", params=parameters)
            assert page is not None
            assert page.status == 200, page
            there |= {todo["id"]: read_state(todo) for todo in page.body["items"]}
            if page.body["next_cursor"] is None:
                break
            parameters["cursor"] = page.body["next_cursor"]
        figures.acknowledged[store] += self.acknowledged
        lost = []
        for todo in (todo for writer in self._writers for todo in writer.todos):
            found = there.pop(todo.identity, None)
            if found in todo.possible:
                figures.found[store] += todo.writes
            else:
                lost.append((todo.identity, todo.possible, found))
        unsure = [title for writer in self._writers for title in writer.unsure]
        doubled = [state for state in there.values() if unsure.count(state.title) != 1]
        titles = [state.title for state in there.values()]
        assert not lost, lost[:5]
        assert not doubled, doubled[:5]
        assert len(titles) == len(set(titles))
        assert not self.client.faults, self.client.faults[:10]

    def record_rejection(self) -> None:
        self._refused.set()

    def record_progress(self, writes: int) -> None:
        self.acknowledged += writes
        self._progress.set()

    @property
    def stopping(self) -> bool:
        return self._stopping

    @property
    def chance(self) -> random.Random:
        return self._chance


class _Writer:
    def __init__(self, all_writers: Writers, name: str) -> None:
        self._all = all_writers
        self._client = all_writers.client
        self._chance = all_writers.chance
        self._name = name
        self._count = 0
        self.todos: list[KnownTodo] = []
        self.unsure: list[str] = []
        self.pending: list[Request] = []

    async def run(self) -> None:
        """Write until told to stop, or until the service does not respond."""
        while not self._all.stopping:
            response = await self._write()
            if response is None:
                return
            if response.status == 503:
                self._all.record_rejection()
            if not response.good:
                await asyncio.sleep(_TICK)

    async def repeat(self) -> Response | None:
        """Retry the oldest request without a response. If its first attempt is still running, retry it again later."""
        if not self.pending:
            return None
        request = self.pending.pop(0)
        return await self._send(request)

    async def _write(self) -> Response | None:
        if self.pending and self._chance.random() < 0.5:
            return await self.repeat()
        free = [todo for todo in self.todos[-30:] if not todo.busy and todo.possible != {None}]
        if len(free) < 4:
            return await self._create()
        todo = self._chance.choice(free)
        if len(todo.possible) > 1:
            return await self._read_state(todo)
        acts = [self._create, self._create_once, self._batch]
        on_one = [self._patch, self._patch, self._complete, self._delete]
        act = self._chance.randrange(len(acts) + len(on_one))
        return await (acts[act]() if act < len(acts) else on_one[act - len(acts)](todo))

    async def _create(self) -> Response | None:
        body = self._body()
        response = await self._client.ask("POST", "/v1/todos", json=body)
        if response is not None and response.status == 201:
            self._record_created(response.body, body["title"])
        else:
            self._expect(response)
            self.unsure.append(body["title"])
        return response

    async def _create_once(self) -> Response | None:
        body = self._body()
        return await self._send(
            self._request("/v1/todos", body, lambda made: self._record_created(made, body["title"]))
        )

    async def _patch(self, todo: KnownTodo) -> Response | None:
        (before,) = todo.possible
        assert before is not None
        after = todo.after(title=self._title())
        response = await self._client.ask(
            "PATCH",
            f"/v1/todos/{todo.identity}",
            json={"title": after.title},
            headers={"If-Match": f'"{before.version}"'},
        )
        if response is not None and response.status == 200:
            self._check_result(todo, after, response.body)
        else:
            self._expect(response)
            todo.possible.add(after)
        return response

    async def _complete(self, todo: KnownTodo) -> Response | None:
        after = _complete(todo)
        path = f"/v1/todos/{todo.identity}/complete"
        if after is None:
            return await self._delete(todo)
        return await self._send(self._request(path, None, lambda body: self._check_result(todo, after, body), todo))

    async def _delete(self, todo: KnownTodo) -> Response | None:
        response = await self._client.ask("DELETE", f"/v1/todos/{todo.identity}")
        if response is not None and response.status == 204:
            todo.confirm(None)
            self._all.record_progress(1)
        else:
            self._expect(response)
            todo.possible.add(None)
        return response

    async def _batch(self) -> Response | None:
        bodies = [self._body() for _ in range(2)]
        free = [todo for todo in self.todos[-30:] if not todo.busy and None not in todo.possible]
        certain = [todo for todo in free if len(todo.possible) == 1][-3:]
        operations: list[dict[str, Any]] = [{"op": "create", "todo": body} for body in bodies]
        expected: list[tuple[KnownTodo, State | None]] = []
        for todo, op in zip(certain, ("update", "complete", "delete"), strict=False):
            after = todo.after(title=self._title()) if op == "update" else _complete(todo) if op == "complete" else None
            if after is None:
                op = "delete"
            operation: dict[str, Any] = {"op": op, "id": todo.identity}
            if op == "update" and after is not None:
                operation["todo"] = {"title": after.title}
            operations.append(operation)
            expected.append((todo, after))

        def record(response: Any) -> None:
            results = response["results"]
            bad = [result for result in results if result["status"] >= 300]
            if bad:
                self._client.faults.append(f"batch: {bad}")
                return
            for body, result in zip(bodies, results, strict=False):
                self._record_created(result["todo"], body["title"])
            for (todo, after), result in zip(expected, results[len(bodies) :], strict=True):
                self._check_result(todo, after, result.get("todo"))

        request = self._request("/v1/todos/batch", {"operations": operations}, record, *(todo for todo, _ in expected))
        return await self._send(request)

    async def _read_state(self, todo: KnownTodo) -> Response | None:
        """Find out which of its possible states a todo has."""
        response = await self._client.ask("GET", f"/v1/todos/{todo.identity}")
        if response is None or response.status not in (200, 404):
            self._expect(response)
            return response
        found = read_state(response.body) if response.status == 200 else None
        if found in todo.possible:
            todo.possible = {found}
        else:
            self._client.faults.append(f"lost: {todo.identity} may be {todo.possible}, but is {found}")
        return response

    async def _send(self, request: Request) -> Response | None:
        for todo in request.todos:
            todo.busy = True
        response = await self._client.ask("POST", request.path, json=request.json, headers=request.headers)
        if response is None or not response.good:
            self._expect(response, 409)
            self.pending.append(request)
            return response
        for todo in request.todos:
            todo.busy = False
        request.record(response.body)
        if self._chance.random() < 0.1:
            again = await self._client.ask("POST", request.path, json=request.json, headers=request.headers)
            if again is not None and again.good and again.body != response.body:
                self._client.faults.append(f"{request.path}: the retry returned {again.body}, not {response.body}")
            self._expect(again, 200, 201)
        return response

    def _expect(self, response: Response | None, *statuses: int) -> None:
        if response is not None and response.status != 503 and response.status not in statuses:
            self._client.faults.append(f"unexpected: {response.status} {response.body}")

    def _request(self, path: str, body: Any, record: Callable[[Any], None], *todos: KnownTodo) -> Request:
        self._count += 1
        return Request(path, {"Idempotency-Key": f"{self._name}-{self._count}"}, body, record, todos)

    def _record_created(self, todo: Mapping[str, Any], title: str) -> None:
        state = read_state(todo)
        if (state.version, state.title) != (1, title):
            self._client.faults.append(f"made {state} for {title}")
        self.todos.append(KnownTodo(todo["id"], state))
        self._all.record_progress(1)

    def _check_result(self, todo: KnownTodo, after: State | None, body: Mapping[str, Any] | None) -> None:
        found = None if body is None else read_state(body)
        if found != after:
            self._client.faults.append(f"{todo.identity}: found {found}, expected {after}")
        todo.confirm(after)
        self._all.record_progress(1)

    def _title(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"title": self._title(), "description": "x" * self._chance.randrange(400)}
        if self._chance.random() < 0.5:
            body |= {"due_at": _DUE, "recurrence": "FREQ=DAILY"}
        return body


def _complete(todo: KnownTodo) -> State | None:
    """Return the state after completing a todo, or None if it is already completed."""
    (state,) = todo.possible
    assert state is not None
    if state.completed:
        return None
    if state.due_at is None:
        return todo.after(completed=True)
    following = datetime.fromisoformat(state.due_at) + timedelta(days=1)
    return todo.after(due_at=following.strftime("%Y-%m-%dT%H:%M:%S.000Z"))


@asynccontextmanager
async def running_for_writers(
    service: ServiceProcess, figures: Figures, seed: int, name: str
) -> AsyncIterator[tuple[Client, Writers]]:
    """Run a service with the writers of a new account. Afterwards, check that it has every acknowledged write.

    Args:
        service: The service.
        figures: Collects the result.
        seed: The seed of the writers' random choices.
        name: The name of the result.
    """
    async with Client(service.url, figures).opened() as client:
        service.start()
        try:
            await client.await_ready()
            await client.sign_up()
            writers = Writers(client, seed)
            yield client, writers
            await writers.finish()
            await writers.compare(name, figures)
        finally:
            assert service.stop() == 0
