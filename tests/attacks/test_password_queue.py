"""One address cannot fill the shared queue for password hashing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.serving import running_service

PASSWORD = "correct horse battery"
ATTACKS = 30
PATIENCE = 60.0


def client_at(url: str, address: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=address, limits=httpx.Limits(max_connections=200))
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=PATIENCE)


async def register(client: httpx.AsyncClient, name: str) -> httpx.Response:
    person = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    return await client.post("/v1/users", json=person)


async def sign_in(client: httpx.AsyncClient, name: str) -> httpx.Response:
    form = {"grant_type": "password", "username": name, "password": PASSWORD}
    return await client.post("/v1/auth/token", data=form)


@pytest.mark.anyio
async def test_one_address_cannot_block_others_from_signing_in(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        async with client_at(service.url, "127.0.0.2") as attacker, client_at(service.url, "127.0.0.3") as victim:
            for client, name in ((attacker, "mallory"), (victim, "victim")):
                assert (await register(client, name)).status_code == 201
            token = (await sign_in(attacker, "mallory")).json()["access_token"]
            header = {"Authorization": f"Bearer {token}"}
            change = {"current_password": PASSWORD, "new_password": "too short"}
            attack = [
                asyncio.create_task(each)
                for number in range(ATTACKS)
                for each in (
                    register(attacker, f"mallory{number}"),
                    sign_in(attacker, "mallory"),
                    attacker.post("/v1/users/me/password", json=change, headers=header),
                )
            ]
            statuses = []
            while not all(task.done() for task in attack):
                statuses.append((await sign_in(victim, "victim")).status_code)
            attack_statuses = [(await task).status_code for task in attack]

    assert set(statuses) == {200}
    assert 503 not in attack_statuses
