"""Wakes event streams when their account changes, and ends them with their session.

In each process, one task polls the store on behalf of all streams (`sync.change_poller`). It wakes the streams of the
accounts that have changed, and each stream reads the changes itself (`events.stream`). Without streams, the hub does
not poll. A stream reads everything once it has subscribed.

Another task checks the sessions and API keys of all streams together, every `SESSION_CHECK_SECONDS`. It reads the
store, because any process may have ended them, and a cache would delay the end of the stream. A stream of a session
that ends in this process ends at once.

One timer lets all streams that are asleep send their comments.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from typing import Final

from odmantic import ObjectId

from todo_service.bounds.events import HEARTBEAT_SECONDS, STREAMS
from todo_service.errors import TooManyRequests, Unauthenticated
from todo_service.reminders.feed import FiringFeed
from todo_service.security.caller import Caller
from todo_service.store.base import DocumentStore
from todo_service.sync.change_poller import watch_accounts
from todo_service.sync.changes import ChangeFeed
from todo_service.timer_wheel import TimerWheel

SESSION_CHECK_SECONDS: Final = 5.0
"""The time between two checks of the sessions and API keys of all streams."""
_WATCHED: Final = (*ChangeFeed.models, *FiringFeed.models)


class Subscription:
    """The interest of one event stream in the changes of its account.

    Attributes:
        caller: The caller that opened the stream.
        ended: Whether the stream is to end.
    """

    __slots__ = ("_is_woken", "_waiter", "caller", "ended")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.ended = False
        self._is_woken = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Wake the stream. If it is not asleep, its next sleep ends at once."""
        self._is_woken = True
        self.beat()

    def end(self) -> None:
        """Make the stream end."""
        self.ended = True
        self.wake()

    def beat(self) -> None:
        """Let the stream send a comment, if it is asleep."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def sleep(self) -> bool:
        """Sleep until the stream is woken, and return True; or return False when it is time for a comment."""
        if not self._is_woken:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        woken, self._is_woken = self._is_woken, False
        return woken


class EventHub:
    """Wakes and ends the event streams of a process.

    Args:
        store: The store.
        interval: The time between two polls for changes, in seconds.
        find_ended: Reads from the store which sessions and API keys of some callers have ended. Returns their ids.
    """

    def __init__(
        self,
        store: DocumentStore,
        interval: float,
        find_ended: Callable[[Collection[Caller]], Awaitable[set[ObjectId]]],
    ) -> None:
        self._store = store
        self._interval = interval
        self._find_ended = find_ended
        self._streams: dict[str, set[Subscription]] = {}
        self._heartbeats = TimerWheel(HEARTBEAT_SECONDS, Subscription.beat)
        self._is_needed = asyncio.Event()
        self._stopped = False

    @asynccontextmanager
    async def subscribe(self, caller: Caller) -> AsyncIterator[Subscription]:
        """Subscribe a stream for the duration of a block. It ends when its caller's token, session or API key ends.

        Raises:
            TooManyRequests: The account has `STREAMS` streams already.
            Unauthenticated: The session or API key has ended.
        """
        account = str(caller.user_id)
        streams = self._streams.setdefault(account, set())
        if len(streams) >= STREAMS:
            raise TooManyRequests(f"an account may have at most {STREAMS} event streams")
        subscription = Subscription(caller)
        subscription.ended = self._stopped
        streams.add(subscription)
        slot = self._heartbeats.add(subscription)
        expiry = asyncio.get_running_loop().call_later(caller.expires - time.time(), subscription.end)
        self._is_needed.set()
        try:
            # the check of the request may have used a cache
            if await self._find_ended([caller]):
                raise Unauthenticated("the session or the API key has ended", "invalid_token")
            yield subscription
        finally:
            expiry.cancel()
            self._heartbeats.remove(subscription, slot)
            streams.discard(subscription)
            if not streams:
                self._streams.pop(account, None)
            if not self._streams:
                self._is_needed.clear()

    def stop(self) -> None:
        """End all streams, also those that are opened later."""
        self._stopped = True
        for stream in self._iterate():
            stream.end()

    def end(self, session_ids: Collection[ObjectId]) -> None:
        """End the streams of sessions or API keys that have ended."""
        for stream in self._iterate():
            if stream.caller.session_id in session_ids:
                stream.end()

    async def check_sessions(self) -> None:
        """End the streams whose session or API key has ended. Call it every `SESSION_CHECK_SECONDS`.

        Raises:
            StoreError: The store could not be read.
        """
        callers = {stream.caller.session_id: stream.caller for stream in self._iterate()}
        if callers and (ended := await self._find_ended(callers.values())):
            self.end(ended)

    async def watch(self) -> None:
        """Poll the store while there are streams. It never returns.

        Raises:
            StoreError: The store could not be read. Call it again.
        """
        await watch_accounts(self._store, _WATCHED, self._interval, self._is_needed, self._wake)

    def _wake(self, accounts: Collection[str] | None) -> None:
        """Wake the streams of some accounts, or of all if `accounts` is None."""
        for account in self._streams if accounts is None else accounts:
            for stream in self._streams.get(account, ()):
                stream.wake()

    def _iterate(self) -> Iterator[Subscription]:
        return (stream for streams in self._streams.values() for stream in streams)
