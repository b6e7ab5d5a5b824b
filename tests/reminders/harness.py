"""Accounts whose todos fire by a clock that tests can set, on a store without a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any

from odmantic import ObjectId

from tests.clock import Clock
from tests.todos.accounts import todo as build_todo
from todo_service.accounts.documents import User
from todo_service.accounts.time_zones import TimeZones
from todo_service.bounds.reminders import ACCOUNT_SHARE, FIRINGS
from todo_service.executors import Executor
from todo_service.reminders.documents import Firing
from todo_service.reminders.service import ReminderService
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now
from todo_service.todos.documents import Todo
from todo_service.todos.dto import Todo as TodoStruct
from todo_service.todos.dto import TodoCreate
from todo_service.todos.service import Todos


class Account:
    """An account.

    Args:
        store: The store.
        rules: Evaluates recurrence rules.
    """

    def __init__(self, store: DocumentStore, rules: Executor | None = None) -> None:
        self.store = store
        self.id = ObjectId()
        self.time_zones = TimeZones(store)
        self.todos = Todos(store, self.id, partial(self.time_zones.use, self.id), rules)

    async def register(self, time_zone: str = "UTC") -> None:
        """Insert the document of the account."""
        moment = now()
        await self.store.insert(
            User(
                id=self.id,
                username=str(self.id),
                username_key=str(self.id),
                email=f"{self.id}@example.com",
                email_key=f"{self.id}@example.com",
                password_hash="",
                invitation=self.id,
                time_zone=time_zone,
                version=1,
                created_at=moment,
                updated_at=moment,
            )
        )

    async def create(self, **fields: Any) -> TodoStruct:
        """Create a todo."""
        return await self.todos.create(TodoCreate(**{"title": "Water the plants"} | fields))

    async def insert_due(self, moments: Iterable[datetime]) -> None:
        """Insert open todos that are due at some moments."""
        todos = []
        for number, moment in enumerate(moments):
            todos.append(build_todo(self.id, number))
            todos[-1].due_at = todos[-1].due_end = todos[-1].next_fire = moment
            todos[-1].completed, todos[-1].completed_at = False, None
        await self.store.insert(*todos)

    async def read(self, todo: TodoStruct) -> Todo:
        """Return the document of a todo."""
        found = await self.store.get(Todo, Todo.id == ObjectId(todo.id))
        assert found is not None
        return found

    async def list_fired(self) -> list[tuple[str, str, datetime]]:
        """Return what has fired: the id of the todo, the reminder or `due`, and the moment, sorted by the moment."""
        found = [each async for each in self.store.scan(Firing) if each.account == self.id]
        fired = [(str(each.todo), describe(each), each.occurrence) for each in found]
        return sorted(fired, key=lambda each: (each[2], each))


async def register_account(store: DocumentStore) -> Account:
    """Register an account, and return it."""
    account = Account(store)
    await account.register()
    return account


def describe(firing: Firing) -> str:
    """Return what has fired, in words."""
    if firing.at is not None:
        return "at"
    return "due" if firing.minutes_before is None else f"{firing.minutes_before} before"


def ignore(_kind: str, _late: float) -> None:
    """Record nothing."""


def create_service(
    store: DocumentStore,
    clock: Clock,
    stored: int = FIRINGS,
    share: int = ACCOUNT_SHARE,
    record: Callable[[str, float], None] = ignore,
) -> ReminderService:
    """Return the service of a process."""
    return ReminderService(store, TimeZones(store).get, clock.now, record, stored, share)
