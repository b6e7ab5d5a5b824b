"""Bulk loading of todos: directly into a store, in batches, by several processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Final, NamedTuple

import click
import msgspec
from odmantic import ObjectId

from tests.benchmarks.accounts import PASSWORD
from tests.benchmarks.todos import todos
from todo_service.accounts.documents import User
from todo_service.accounts.passwords import Passwords
from todo_service.decoding import decode_hook
from todo_service.errors import Invalid
from todo_service.executors import Executor
from todo_service.services import MODELS
from todo_service.store.base import DocumentStore
from todo_service.store.registry import create_store
from todo_service.timestamps import now
from todo_service.todos.bulk_import import ImportMode
from todo_service.todos.dto import TodoImport
from todo_service.todos.import_records import ImportRecord
from todo_service.todos.quotas import QuotaLimits
from todo_service.todos.service import Todos
from todo_service.todos.shared import SharedState

_BATCH: Final = 1000
_ACCOUNTS_AT_ONCE: Final = 100


class Batch(NamedTuple):
    """A part of the work.

    Attributes:
        store_url: The address of the store.
        owner: The account, as 24 hex digits; None for new accounts with one todo each.
        start: The number of the first todo or account.
        size: The number of todos or accounts.
        total: The number of todos or accounts in all batches.
        password_hash: The password hash of all new accounts. Hashing each password would take most of the time.
    """

    store_url: str
    owner: str | None
    start: int
    size: int
    total: int
    password_hash: str = ""


def load_todos(store_url: str, owner: str, count: int, label: str) -> None:
    """Create todos in an account, with a progress bar."""
    _load([Batch(store_url, owner, start, size, count) for start, size in _slices(count, _BATCH)], label)


def load_accounts(store_url: str, count: int, label: str) -> None:
    """Create accounts with one todo each, with a progress bar."""
    passwords = Passwords()
    password_hash = asyncio.run(passwords.hash(PASSWORD))
    passwords.close()
    slices = _slices(count, _ACCOUNTS_AT_ONCE)
    _load([Batch(store_url, None, start, size, count, password_hash) for start, size in slices], label)


def _load(batches: list[Batch], label: str) -> None:
    # spawn instead of fork: an LMDB environment must not be used after a fork
    processes = ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn"))
    total = sum(batch.size for batch in batches)
    with processes, click.progressbar(length=total, label=label, show_pos=True, file=sys.stderr) as progress:
        work: list[Future[int]] = [processes.submit(_carry_out, batch) for batch in batches]
        try:
            for done in as_completed(work):
                progress.update(done.result())
        except BaseException:
            processes.shutdown(cancel_futures=True)
            raise


def _slices(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(size, count - start)) for start in range(0, count, size)]


class _Opened(NamedTuple):
    runner: asyncio.Runner
    store: DocumentStore
    store_url: str


_opened: _Opened | None = None
"""The open store of this process, reused for all batches."""


def _carry_out(batch: Batch) -> int:
    global _opened  # the state of a pool process between calls
    if _opened is None or _opened.store_url != batch.store_url:
        runner = asyncio.Runner()
        store = create_store(batch.store_url)
        runner.run(store.open(*MODELS))
        _opened = _Opened(runner, store, batch.store_url)
    _opened.runner.run(_insert(_opened.store, batch))
    return batch.size


async def _insert(store: DocumentStore, batch: Batch) -> None:
    bodies = todos(batch.size, batch.start, batch.total)
    made = [msgspec.convert(body, TodoImport, dec_hook=decode_hook) for body in bodies]
    if batch.owner is not None:
        await _add(store, ObjectId(batch.owner), made)
        return
    users = [_user(number, batch.password_hash) for number in range(batch.start, batch.start + batch.size)]
    await store.insert(*users)
    await asyncio.gather(*(_add(store, user.id, [todo]) for user, todo in zip(users, made, strict=True)))


async def _add(store: DocumentStore, owner: ObjectId, made: list[TodoImport]) -> None:
    async def time_zone() -> str:
        return "UTC"

    async def create_list(_: ObjectId) -> ObjectId:
        raise AssertionError  # the todos are in the inbox

    executor = Executor("bulk", threads=1, queue=1, seconds=60)
    # the measured accounts exceed the default quota
    shared = SharedState(store, QuotaLimits(todos=10**7))
    try:
        todos = Todos(store, owner, time_zone, shared=shared).start_import(executor, ImportMode(), create_list)
        results = await todos.write(list(map(ImportRecord, made)), [None] * len(made))
    finally:
        executor.close()
        await shared.close()
    refused = [result for result in results if isinstance(result, Invalid)]
    assert not refused, refused[0]


def _user(number: int, password_hash: str) -> User:
    name, moment, user_id = f"somebody-{number}", now(), ObjectId()
    return User(
        id=user_id,
        invitation=user_id,
        username=name,
        username_key=name,
        email=f"{name}@example.com",
        email_key=f"{name}@example.com",
        password_hash=password_hash,
        created_at=moment,
        updated_at=moment,
    )
