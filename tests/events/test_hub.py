"""The hub of a process ends its streams with their sessions and API keys, whichever process has ended these."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import pytest
from litestar import Litestar
from odmantic import ObjectId

from tests.application import create_test_store
from tests.people import Person, UserCreateFactory
from tests.waiting import wait_until
from todo_service.accounts.administration import AccountAdministration
from todo_service.accounts.documents import Session, User
from todo_service.accounts.liveness import find_ended
from todo_service.accounts.sessions import Client, Sessions
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.bounds.events import STREAMS
from todo_service.errors import Unauthenticated
from todo_service.events.hub import EventHub, Subscription
from todo_service.lists.documents import TodoList
from todo_service.security.caller import Caller
from todo_service.services import MODELS, create_administration
from todo_service.settings import Settings
from todo_service.store.base import DocumentStore
from todo_service.store.instrumentation import observe
from todo_service.store.mongodb.store import RESOLVE_AFTER
from todo_service.timestamps import now

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]


class Scene(NamedTuple):
    """An account with two sessions and an API key.

    Attributes:
        laptop: The owner in one session.
        phone: The owner in another session.
        key: The owner with the API key.
        key_id: The id of the key.
        administration: The administration of the accounts.
        store: The store.
    """

    laptop: Person
    phone: Person
    key: Person
    key_id: str
    administration: AccountAdministration
    store: DocumentStore

    async def find_phone_session(self) -> ObjectId:
        """Return the id of the session of the phone."""
        sessions = (await self.phone.get("/v1/sessions")).json()["items"]
        return ObjectId(next(each["id"] for each in sessions if each["current"]))

    async def administer(self, name: str, *arguments: Any) -> None:
        """Call a method of the administration with the account."""
        user = await self.administration.find(self.laptop.username)
        await getattr(self.administration, name)(user, *arguments)


async def sign_out(scene: Scene) -> None:
    await scene.laptop.delete(f"/v1/sessions/{await scene.find_phone_session()}")


async def revoke(scene: Scene) -> None:
    await scene.laptop.client.post("/v1/auth/revoke", data={"token": scene.phone.refresh_token})


async def sign_out_everywhere(scene: Scene) -> None:
    await scene.laptop.delete("/v1/sessions")


async def change_password(scene: Scene) -> None:
    change = {"current_password": scene.laptop.password, "new_password": "a new password of ours"}
    assert (await scene.laptop.post("/v1/users/me/password", json=change)).status_code == 204


async def delete_key(scene: Scene) -> None:
    await scene.laptop.delete(f"/v1/api-keys/{scene.key_id}")


async def delete_account(scene: Scene) -> None:
    await scene.laptop.delete("/v1/users/me", json={"password": scene.laptop.password})


async def expire(scene: Scene) -> None:
    changes = {"expires_at": now() - timedelta(seconds=1)}
    await scene.store.update(Session, Session.id == await scene.find_phone_session(), changes=changes)


async def disable_account_half_way(scene: Scene) -> None:
    """Disable the account without the cleanup after the atomic write."""
    user = await scene.administration.find(scene.laptop.username)
    await scene.store.update(User, User.id == ObjectId(user.id), changes={"disabled": True, "password_generation": 2})


EVERYTHING: Final = {"laptop", "phone", "key"}
ENDINGS: Final[dict[str, tuple[Callable[[Scene], Awaitable[None]], set[str]]]] = {
    "sign out": (sign_out, {"phone"}),
    "revoke": (revoke, {"phone"}),
    "sign out everywhere": (sign_out_everywhere, {"laptop", "phone"}),
    "change the password": (change_password, {"phone"}),
    "delete the API key": (delete_key, {"key"}),
    "delete the account": (delete_account, EVERYTHING),
    "expire": (expire, {"phone"}),
    "disable half-way": (disable_account_half_way, EVERYTHING),
    "users disable": (lambda scene: scene.administer("disable"), EVERYTHING),
    "users password": (lambda scene: scene.administer("set_password", "a new password of ours"), {"laptop", "phone"}),
    "users sessions --end": (lambda scene: scene.administer("end_sessions"), {"laptop", "phone"}),
    "users delete": (lambda scene: scene.administer("delete"), EVERYTHING),
}
"""What ends sessions and API keys, and which."""


@pytest.fixture
async def scene(ada: Person, app: Litestar, settings: Settings) -> AsyncIterator[Scene]:
    phone, key = copy.copy(ada), copy.copy(ada)
    await phone.sign_in()
    created = (await ada.post("/v1/api-keys", json={"name": "x", "scope": "read"})).json()
    key.access_token = created["secret"]
    with create_administration(settings, app.state.store) as administration:
        yield Scene(ada, phone, key, created["id"], administration, app.state.store)


def create_hub(store: DocumentStore) -> EventHub:
    """Return a hub as another process has it."""
    return EventHub(store, 1.0, partial(find_ended, store))


@pytest.mark.parametrize(("end", "expected"), ENDINGS.values(), ids=ENDINGS)
async def test_whatever_ends_a_session_ends_its_streams(
    scene: Scene, app: Litestar, end: Callable[[Scene], Awaitable[None]], expected: set[str]
) -> None:
    hub = create_hub(scene.store)
    callers: dict[str, Caller] = {
        name: await app.state.credentials.authenticate(getattr(scene, name).access_token) for name in EVERYTHING
    }
    async with AsyncExitStack() as stack:
        streams = {name: await stack.enter_async_context(hub.subscribe(callers[name])) for name in EVERYTHING}
        await hub.check_sessions()
        assert list_ended(streams) == set()

        await end(scene)
        await hub.check_sessions()

        assert list_ended(streams) == expected
    for name in expected:
        with pytest.raises(Unauthenticated):
            await hub.subscribe(callers[name]).__aenter__()


def list_ended(streams: dict[str, Subscription]) -> set[str]:
    return {name for name, stream in streams.items() if stream.ended}


async def test_the_streams_of_a_process_are_checked_together(store_url: str, settings: Settings) -> None:
    store = create_test_store(store_url, RESOLVE_AFTER)
    await store.open(*MODELS)
    tokens = AccessTokens([settings.secret_key], 600)
    sessions = Sessions(store, tokens, RefreshTokens([settings.secret_key]), 30)
    hub = create_hub(store)
    calls: Counter[str] = Counter()
    observe(store, lambda operation, _, __: calls.update([operation]))
    counted = []
    async with AsyncExitStack() as stack:
        with create_administration(settings, store) as administration:
            for _ in range(2):
                user = await administration.create(UserCreateFactory.build(display_name="", time_zone="UTC"))
                for _ in range(STREAMS):
                    issued = await sessions.start(ObjectId(user.id), 1, Client("", ""))
                    await stack.enter_async_context(hub.subscribe(tokens.verify(issued.access)))
                calls.clear()
                await hub.check_sessions()
                counted.append(calls.copy())
    calls.clear()
    unknown = [Caller(ObjectId(), ObjectId(), expires=0) for _ in range(250)]

    assert await find_ended(store, unknown) == {caller.session_id for caller in unknown}
    assert calls == {"find": 3 + 3}
    assert counted == [{"find": 1 + 1}] * 2
    await store.close()


async def test_idle_streams_read_no_documents_where_stamps_are_resolved_at_once(
    store_url: str, settings: Settings
) -> None:
    async with AsyncExitStack() as stack:
        store = create_test_store(store_url, RESOLVE_AFTER)
        await store.open(*MODELS)
        stack.push_async_callback(store.close)
        tokens = AccessTokens([settings.secret_key], 600)
        account = await stack.enter_context(create_administration(settings, store)).create(
            UserCreateFactory.build(display_name="", time_zone="UTC")
        )
        issued = await Sessions(store, tokens, RefreshTokens([settings.secret_key]), 30).start(
            ObjectId(account.id), 1, Client("", "")
        )
        hub = EventHub(store, 0.001, partial(find_ended, store))
        stream = await stack.enter_async_context(hub.subscribe(tokens.verify(issued.access)))
        watching = asyncio.create_task(hub.watch())
        stack.callback(watching.cancel)
        calls: Counter[str] = Counter()
        observe(store, lambda operation, _, __: calls.update([operation]))

        async def has_polled() -> bool:
            return calls["resolved_stamp"] >= 20

        assert await stream.sleep()  # woken by the first poll
        for _ in range(2):
            await store.insert(create_list(ObjectId(account.id)))
            assert await stream.sleep()
        calls.clear()
        await wait_until(has_polled)

        assert store.resolves_at_once is (calls.keys() == {"resolved_stamp"})


def create_list(account: ObjectId) -> TodoList:
    return TodoList(
        id=ObjectId(),
        account=account,
        owner=account,
        name="list",
        color=None,
        position=1.0,
        archived=False,
        uid_key=ObjectId(),
        version=1,
        created_at=now(),
        updated_at=now(),
    )
