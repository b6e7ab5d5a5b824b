"""Concurrent changes of one document: all succeed, one after the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import httpx
import pytest

from tests.people import Person
from tests.serving import SECRET_KEY, running_service
from todo_service.bounds.requests import CONCURRENT_REQUESTS
from todo_service.errors import Busy
from todo_service.store.optimistic import Attempts

pytestmark = pytest.mark.anyio


async def test_five_hundred_concurrent_changes_of_one_todo_all_succeed(ada: Person) -> None:
    todo = await ada.todo()
    path = f"/v1/todos/{todo['id']}"

    async def change(number: int) -> httpx.Response:
        # on a busy machine some requests wait too long for a slot of the account, and get a 429
        while (response := await ada.patch(path, json={"title": str(number)})).status_code == 429:  # noqa: ASYNC110  # the response says when to retry
            await asyncio.sleep(float(response.headers["Retry-After"]))
        return response

    responses = await asyncio.gather(*(change(number) for number in range(500)))

    assert Counter(response.status_code for response in responses) == {200: 500}
    assert sorted(response.json()["version"] for response in responses) == list(range(2, 502))
    assert (await ada.get(path)).json()["version"] == 501


async def test_one_of_many_concurrent_changes_of_one_version_succeeds(ada: Person) -> None:
    path = f"/v1/todos/{(await ada.todo())['id']}"
    tag = {"If-Match": '"1"'}

    responses = await asyncio.gather(*(ada.patch(path, json={"title": str(n)}, headers=tag) for n in range(50)))

    assert Counter(response.status_code for response in responses) == {200: 1, 412: 49}


async def test_a_hundred_concurrent_changes_of_one_list_all_succeed(ada: Person) -> None:
    path = f"/v1/lists/{(await ada.post('/v1/lists', json={'name': 'x'})).json()['id']}"

    responses = await asyncio.gather(*(ada.patch(path, json={"name": f"name {number}"}) for number in range(100)))

    assert Counter(response.status_code for response in responses) == {200: 100}
    assert (await ada.get(path)).json()["version"] == 101


async def test_concurrent_changes_of_one_todo_by_two_processes_all_succeed(store_url: str, tmp_path: Path) -> None:
    variables = {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY}
    with ExitStack() as services:
        urls = [services.enter_context(running_service(tmp_path, variables)).url for _ in range(2)]
        async with AsyncExitStack() as stack:
            # as many requests as the service serves at a time; further ones would have to wait there, for three seconds
            limits = httpx.Limits(max_connections=CONCURRENT_REQUESTS)
            clients = [
                await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60, limits=limits))
                for url in urls
            ]
            ada = await Person.register(clients[0])
            path = f"/v1/todos/{(await ada.todo())['id']}"
            headers = {"Authorization": f"Bearer {ada.access_token}"}

            responses = await asyncio.gather(
                *(
                    client.patch(path, json={"title": f"{name} {number}"}, headers=headers)
                    for number in range(100)
                    for name, client in enumerate(clients)
                )
            )

            assert Counter(response.status_code for response in responses) == {200: 200}
            assert (await ada.get(path)).json()["version"] == 201


async def test_attempts_end_with_an_error() -> None:
    numbers: list[int] = []

    async def try_in_vain() -> None:
        async for number in Attempts(4):
            numbers.append(number)  # noqa: PERF401  # keeps the attempts before the error

    with pytest.raises(Busy):
        await try_in_vain()
    assert numbers == [0, 1, 2, 3]
