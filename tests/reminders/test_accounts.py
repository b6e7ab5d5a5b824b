"""What has fired belongs to an account, and ends with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from litestar import Litestar

from tests.clock import Clock
from tests.people import Person
from tests.reminders.harness import create_service
from todo_service.reminders.documents import Firing
from todo_service.store.base import DocumentStore
from todo_service.timestamps import now

pytestmark = pytest.mark.anyio


async def test_deleting_an_account_deletes_what_has_fired(ada: Person, bob: Person, app: Litestar) -> None:
    store: DocumentStore = app.state.store
    due_at = (now() + timedelta(hours=1)).isoformat()
    for person in (ada, bob):
        await person.todo(due_at=due_at, reminders=[{"minutes_before": 10}])
    clock = Clock()
    clock.ahead = timedelta(hours=2)
    await create_service(store, clock).fire_due()
    owners = [str(each.account) async for each in store.scan(Firing)]
    bob_id = (await bob.get("/v1/users/me")).json()["id"]

    deleted = await ada.ask("DELETE", "/v1/users/me", json={"password": ada.password})

    assert deleted.status_code == 204, deleted.text
    assert (len(owners), owners.count(bob_id)) == (4, 2)
    assert [str(each.account) async for each in store.scan(Firing)] == [bob_id, bob_id]
