"""Serves the webhooks that belong to this process, each with its own runner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final, Self

import msgspec
import structlog
from odmantic import ObjectId
from odmantic.query import asc

from todo_service.bounds.webhooks import CONCURRENT_CLAIMS
from todo_service.store.base import DocumentStore
from todo_service.store.errors import StoreUnavailable
from todo_service.store.paging import iterate_pages, read_page
from todo_service.sync.change_poller import watch_accounts
from todo_service.webhooks.documents import Webhook
from todo_service.webhooks.runner import Context, HookRunner
from todo_service.webhooks.workers import choose_worker

TICK_SECONDS: Final = 1.0
"""The interval at which the webhooks are polled, and at which the heartbeat is checked."""
CHANGE_POLL_SECONDS: Final = 0.25
"""The interval at which the store is polled for changes of accounts, while this process serves webhooks."""
_PAGE_SIZE: Final = 1_000
logger = structlog.get_logger(__name__)


class Hook(msgspec.Struct, frozen=True):
    """An enabled webhook.

    Attributes:
        version: The version. It changes with the webhook.
        requested: Changes when a client requests a delivery.
    """

    id: str
    account: str
    holder: str | None
    version: int
    requested: str | None


class _Served(msgspec.Struct, frozen=True):
    runner: HookRunner
    task: asyncio.Task[None]
    seen: Hook


class WebhookConsumer:
    """An async context manager that stops all runners on exit.

    Call `tick` and `beat` every `TICK_SECONDS`, each in a task of its own, and run `watch` in another one.

    Args:
        context: What the runners share.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store: DocumentStore = context.store
        self._workers = context.workers
        self._served: dict[ObjectId, _Served] = {}
        self._is_serving = asyncio.Event()
        self._is_active = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._served.values():
            each.task.cancel()
        if self._served:
            await asyncio.wait([each.task for each in self._served.values()])
        self._served = {}
        try:
            await self._workers.leave()
        except StoreUnavailable as error:
            logger.warning(
                "other processes take over webhooks with a delay: the store is unavailable", reason=str(error)
            )

    async def tick(self) -> None:
        """Claim the webhooks that belong to this worker, start and stop runners, and invalidate those whose webhook has
        changed."""
        hooks = {ObjectId(hook.id): hook for hook in await self._list_enabled()}
        for hook_id in self._served.keys() - hooks.keys():
            self._served[hook_id].runner.invalidate()  # it reads the webhook again, and stops
        self._served = {hook_id: each for hook_id, each in self._served.items() if not each.task.done()}
        if not self._served:
            self._is_serving.clear()
        self._is_active = bool(hooks or self._served)
        if not self._is_active:
            return
        await self._workers.beat()
        # a worker is inserted before it claims a webhook, so read the workers after the webhooks
        alive = await self._workers.find_alive()
        # another worker has claimed them while this one was suspended; this one may claim them again below
        await self._stop([each for each in self._served if each in hooks and not self._holds(hooks[each])])
        changes: list[Callable[[], Awaitable[None]]] = []
        for hook_id, hook in hooks.items():
            mine = choose_worker(hook_id, alive) == self._workers.worker_id
            holder = ObjectId(hook.holder) if hook.holder is not None else None
            if self._holds(hook) and mine:
                self._serve_or_invalidate(hook_id, hook)
            elif self._holds(hook):
                changes.append(partial(self._release, hook_id))
            elif mine and (holder is None or holder not in alive):
                changes.append(partial(self._claim, hook_id, holder))
        for start in range(0, len(changes), CONCURRENT_CLAIMS):
            batch = (change() for change in changes[start : start + CONCURRENT_CLAIMS])
            for error in await asyncio.gather(*batch, return_exceptions=True):
                if error is not None:
                    raise error

    async def beat(self) -> None:
        """Write the heartbeat while there are webhooks. `tick` writes it too, but may outlast the lease."""
        if self._is_active:
            await self._workers.beat()

    async def watch(self) -> None:
        """Poll the store for changes while this worker serves webhooks, and let the runners of the accounts that have
        changed read them, until the task is cancelled.

        Raises:
            StoreError: The store could not be read. Call it again.
        """
        models = [model for source in self._context.sources for model in source.models]
        await watch_accounts(self._store, models, CHANGE_POLL_SECONDS, self._is_serving, self._notice_changes)

    def _notice_changes(self, accounts: Collection[str] | None) -> None:
        """Make the runners of some accounts read the changes, or all runners if `accounts` is None."""
        for each in self._served.values():
            if accounts is None or each.seen.account in accounts:
                each.runner.wake()

    async def _list_enabled(self) -> list[Hook]:
        async def read(after: tuple[ObjectId] | None) -> tuple[list[Hook], tuple[ObjectId] | None]:
            return await read_page(
                self._store,
                Webhook,
                Webhook.enabled == True,  # noqa: E712  # an expression
                sort=(asc(Webhook.id),),
                after=after,
                limit=_PAGE_SIZE,
                into=Hook,
                position=lambda last: (ObjectId(last.id),),
            )

        return [hook async for page in iterate_pages(read) for hook in page]

    def _serve_or_invalidate(self, hook_id: ObjectId, hook: Hook) -> None:
        """Serve a webhook that this worker holds, or make its runner read it again if it has changed."""
        served = self._served.get(hook_id)
        if served is None:
            self._serve(hook_id, hook)
        elif served.seen != hook:
            served.runner.invalidate()
            self._served[hook_id] = msgspec.structs.replace(served, seen=hook)

    async def _release(self, hook_id: ObjectId) -> None:
        """Release a webhook that this worker holds, because it belongs to another one."""
        await self._stop([hook_id] if hook_id in self._served else [])
        await self._store.update(
            Webhook,
            Webhook.id == hook_id,
            Webhook.holder == self._workers.worker_id,
            changes={"holder": None},
        )

    async def _claim(self, hook_id: ObjectId, holder: ObjectId | None) -> None:
        """Claim a webhook, unless another worker has claimed it first."""
        claimed = await self._store.update(
            Webhook,
            Webhook.id == hook_id,
            Webhook.enabled == True,  # noqa: E712  # an expression
            Webhook.holder == holder,
            changes={"holder": self._workers.worker_id},
            into=Hook,
        )
        if claimed is not None:
            self._serve(hook_id, claimed)

    def _holds(self, hook: Hook) -> bool:
        return hook.holder == str(self._workers.worker_id)

    async def _stop(self, hook_ids: Collection[ObjectId]) -> None:
        """Stop the runners of some webhooks, and wait until they have ended."""
        for hook_id in hook_ids:
            self._served[hook_id].task.cancel()
        if hook_ids:
            await asyncio.wait([self._served[hook_id].task for hook_id in hook_ids])
        for hook_id in hook_ids:
            del self._served[hook_id]

    def _serve(self, hook_id: ObjectId, hook: Hook) -> None:
        runner = HookRunner(hook_id, self._context)
        task = asyncio.create_task(runner.run(), name=f"webhook {hook_id}")
        self._served[hook_id] = _Served(runner, task, hook)
        self._is_serving.set()
