"""An index serves every list and search on both stores, and the cost of a page does not grow with the account."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import structs
from odmantic import Model
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent, register

from tests.clock import Clock
from tests.reminders.harness import create_service
from tests.todos.accounts import LARGE_LIST, SMALL_LIST, load
from todo_service.bounds.todos import SORTED_TODOS
from todo_service.services import MODELS
from todo_service.store.base import DocumentStore, Sort
from todo_service.store.embedded.indexes import IndexScan
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.store.mongodb.store import MongoDBStore
from todo_service.store.query.planner import plan_query
from todo_service.store.query.predicates import Node
from todo_service.sync.count_run import MIN_CHANGES
from todo_service.timestamps import Timestamp, now
from todo_service.todos import dto
from todo_service.todos.collation import sort_key
from todo_service.todos.dto import TagCount, TodoCreate, TodoQuery, TodoUpdate
from todo_service.todos.fields import priority_rank
from todo_service.todos.query import ORDERS, build_position, is_served_by_index
from todo_service.todos.service import Todos

pytestmark = pytest.mark.anyio
SIZE = 20_000
PAGE = 20
RESTARTED = 2
"""A scan that blocks the event loop for too long starts again in a thread, and examines its entries twice."""
SORTS = [direction + field for field in ORDERS for direction in ("", "-")]
LATE, LATER = (Timestamp.parse(f"2026-{text}T00:00:00Z") for text in ("01-14", "12-01"))
FILTERS: dict[str, dict[str, Any]] = {
    "open": {"completed": False},
    "completed": {"completed": True},
    "one priority": {"priority": ["high"]},
    "two priorities": {"priority": ["none", "urgent"]},
    "a rare tag": {"tag": ["rare"]},
    "a common tag": {"tag": ["common"]},
    "two tags": {"tag": ["common", "rare"]},
    "a small list": {"list_id": str(SMALL_LIST)},
    "a large list": {"list_id": str(LARGE_LIST)},
    "the inbox": {"list_id": "inbox"},
    "due after": {"due_after": LATER},
    "due before": {"due_before": LATE},
    "overdue": {"overdue": True},
    "not overdue": {"overdue": False},
    "created after": {"created_after": LATE},
    "created before": {"created_before": LATE},
    "updated after": {"updated_after": LATE},
    "a rare word": {"q": "seld"},
    "a common word": {"q": "some"},
    "a common word and a rare one": {"q": "something seldom"},
}


class Seen(NamedTuple):
    """The cost of a store call.

    Attributes:
        name: The name of the index; empty if nothing was read.
        examined: The number of examined keys or documents, whichever is larger.
    """

    name: str
    examined: int


class WatchedStore(EmbeddedStore):
    """An embedded store that records its plans and counts the entries that each one examines."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls: list[Seen] = []

    def _plan_scan(self, model: type[Model], nodes: tuple[Node, ...], sort: Sort | None) -> IndexScan:
        scan = super()._plan_scan(model, nodes, sort)
        index = plan_query(model, nodes, sort).declared
        if index.expires_after is not None:
            return scan  # of the job that deletes what has expired, which runs at any time
        entries, count, place = scan._iter_entries, scan.count, len(self.calls)
        self.calls.append(Seen(index.name, 0))

        def add_examined(number: int) -> None:
            self.calls[place] = Seen(self.calls[place].name, self.calls[place].examined + number)

        def counted(*arguments: Any) -> Iterator[tuple[bytes, bytes]]:
            for entry in entries(*arguments):
                add_examined(1)
                yield entry

        def numbered(*arguments: Any) -> int | None:
            found = count(*arguments)
            add_examined(found or 0)
            return found

        scan._iter_entries = counted  # type: ignore[method-assign, assignment]  # a wrapper that counts
        scan.count = numbered  # type: ignore[method-assign, assignment]  # as above
        return scan


class Commands(CommandListener):
    """Records the commands on the collection of todos in MongoDB."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate") and event.command.get(event.command_name) == "todos":
            own = ("$", "lsid", "maxTimeMS", "cursor")
            asked = {name: value for name, value in event.command.items() if not name.startswith(own)}
            self.asked.append(asked | ({"cursor": {}} if event.command_name == "aggregate" else {}))

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass


class Watched(NamedTuple):
    """A store with a large account that records its calls."""

    store: DocumentStore
    todos: Todos
    commands: Commands
    database: Any

    def seen(self) -> list[Seen]:
        """Return the calls since the last call of this method."""
        if isinstance(self.store, WatchedStore):
            found = list(self.store.calls)
            self.store.calls.clear()
            return found
        found = [self._explained(command) for command in self.commands.asked]
        self.commands.asked.clear()
        return found

    def _explained(self, command: dict[str, Any]) -> Seen:
        explained = self.database.command("explain", command, verbosity="executionStats")
        [stages] = [list(_having("stage", plan)) for plan in _found("winningPlan", explained)]
        [examined] = [
            max(stats["totalKeysExamined"], stats["totalDocsExamined"])
            for stats in _having("totalKeysExamined", explained)
        ]
        names = {stage["stage"] for stage in stages}
        assert "COLLSCAN" not in names, command
        assert "SORT" not in names or examined <= SORTED_TODOS, (command, examined)
        indexes = {stage["indexName"] for stage in stages if "indexName" in stage}
        assert len(indexes) == (names != {"EOF"}), command
        return Seen("".join(indexes), examined)


def _found(name: str, explained: Any) -> Iterator[Any]:
    """Yield every value with this key, at any depth."""
    for inner in _having(name, explained):
        yield inner[name]


def _having(name: str, explained: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary with this key, at any depth."""
    if isinstance(explained, dict):
        if name in explained:
            yield explained
        explained = list(explained.values())
    if isinstance(explained, list):
        for value in explained:
            yield from _having(name, value)


@pytest.fixture(scope="module", params=["embedded", "mongodb"])
async def watched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, anyio_backend: Any
) -> AsyncIterator[Watched]:
    """A large account and a small one, on each store."""
    commands = Commands()
    register(commands)
    async with AsyncExitStack() as stack:
        if request.param == "embedded":
            store: DocumentStore = WatchedStore(tmp_path_factory.mktemp("plans") / "store")
            database = None
        else:
            uri: str = request.getfixturevalue("mongodb_uri")
            address, _, options = uri.partition("?")
            name = f"test_{uuid.uuid4().hex}"
            url = f"{address.rstrip('/')}/{name}" + (f"?{options}" if options else "")
            store = MongoDBStore(url, resolve_after=timedelta(0))  # the tests have a single writer
            client = stack.enter_context(MongoClient[dict[str, Any]](uri))
            stack.callback(client.drop_database, name)
            database = client[name]
        await store.open(*MODELS)
        stack.push_async_callback(store.close)

        async def time_zone() -> str:
            return "UTC"

        await load(store, 50)
        yield Watched(store, Todos(store, await load(store, SIZE), time_zone), commands, database)


def list_todo(todo: dto.Todo) -> dto.ListedTodo:
    """Return a todo that is due at a moment as a list reads it."""
    return dto.ListedTodo(
        **structs.asdict(todo),
        due_end=todo.due_at,
        title_key=sort_key(todo.title),
        priority_rank=priority_rank(todo.priority),
    )


def queries() -> Iterator[tuple[str, TodoQuery]]:
    """Yield every filter with every sort order, and every pair of filters with one of them."""
    for sort in SORTS:
        yield sort, TodoQuery(sort=sort, limit=PAGE)  # type: ignore[arg-type]  # one of them
        for name, given in FILTERS.items():
            yield f"{name}, {sort}", TodoQuery(sort=sort, limit=PAGE, **given)  # type: ignore[arg-type]  # as above
    for (one, given), (other, more) in itertools.combinations(FILTERS.items(), 2):
        yield f"{one}, {other}", TodoQuery(sort="-title", limit=PAGE, **(given | more))


async def test_every_list_and_search_is_served_by_an_index_and_sorts_few_todos(watched: Watched) -> None:
    watched.seen()
    for name, query in queries():
        _, after = await watched.todos.read_page(query, None)
        if after is not None:
            await watched.todos.read_page(query, after)
        seen = watched.seen()
        assert seen or (query.completed and query.overdue), name
        assert all(call.name.startswith("owner_") for call in seen if call.name), (name, seen)


async def test_a_page_served_by_an_index_costs_the_same_at_any_depth(watched: Watched) -> None:
    for name, query in queries():
        if not is_served_by_index(query):
            continue
        everything, _ = await watched.todos.read_page(structs.replace(query, limit=2000), None)
        middle = build_position(query.sort, list_todo(everything[len(everything) // 2]))
        for after in (None, middle):
            watched.seen()
            items, _ = await watched.todos.read_page(query, after)
            examined = sum(call.examined for call in watched.seen())
            assert examined <= RESTARTED * (len(items) + 20), (name, after, examined)


@pytest.mark.parametrize(
    "name", ["a rare tag", "two tags", "a small list", "due before", "a rare word", "a common word and a rare one"]
)
async def test_the_cost_of_a_selective_filter_is_the_number_of_its_matches(watched: Watched, name: str) -> None:
    others: list[dict[str, Any]] = [{}, {"completed": False}, {"q": "some"}]
    for sort, other in itertools.product(SORTS, others):
        query = TodoQuery(sort=sort, limit=PAGE, **(other | FILTERS[name]))
        watched.seen()
        await watched.todos.read_page(query, None)
        examined = [call.examined for call in watched.seen()]
        assert max(examined) <= RESTARTED * (SORTED_TODOS + 1), (sort, examined)
        # two counts or three, and up to two ranges, for each of which the embedded store plans both indexes
        assert len(examined) <= 7, (sort, examined)


async def test_the_cost_of_counts_and_changes_depends_on_the_changes_alone(watched: Watched) -> None:
    """Once a large account has been counted, the cost of counting it again is proportional to the changes since."""
    todos = watched.todos
    examined = SIZE
    while examined > RESTARTED * (MIN_CHANGES + 20):
        watched.seen()
        await todos.count_tags()
        examined = sum(call.examined for call in watched.seen())
    [some], _ = await todos.read_page(TodoQuery(limit=1), None)

    for number in range(50):
        # more changes than the history of a todo holds
        await todos.update(some.id, TodoUpdate(priority=("low", "high")[number % 2]), None)
    for number in range(3):
        await todos.update(some.id, TodoUpdate(tags=[f"tag {number}"]), None)
        watched.seen()
        tags = await todos.count_tags()
        counted = sum(call.examined for call in watched.seen())
        since = (await todos.read_changes(None, PAGE)).next
        await todos.read_changes(since, PAGE)
        synced = sum(call.examined for call in watched.seen())

        assert TagCount(f"tag {number}", 1) in tags
        assert counted <= RESTARTED * (MIN_CHANGES + 20)
        assert synced <= RESTARTED * (2 * PAGE + 20)


async def test_firing_reads_only_what_is_due(watched: Watched) -> None:
    clock, start = Clock(), now()
    for hours in range(1, 31):
        due_at = Timestamp.fromtimestamp((start + timedelta(hours=hours)).timestamp(), UTC)
        await watched.todos.create(TodoCreate(title="x", due_at=due_at))
    service = create_service(watched.store, clock)
    for ahead, due in ((3.5, 3), (4.5, 1), (4.7, 0)):
        clock.set(start + timedelta(hours=ahead))
        watched.seen()
        await service.fire_due()
        seen = [call for call in watched.seen() if call.name == "next_fire"]
        assert seen
        assert sum(call.examined for call in seen) <= RESTARTED * 2 * (due + 1)
