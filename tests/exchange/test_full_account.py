"""An import into an account without room for further todos refuses the new ones, and still updates the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.people import Person
from todo_service.settings import Settings, load_settings

pytestmark = pytest.mark.anyio
MAX_TODOS = 150
NEW = 250
"""More than two batches."""
COUNTED = ("imported", "updated", "unchanged", "rejected")


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    """A small quota of todos."""
    variables = {"DATA_DIR": str(tmp_path), "STORE_URL": store_url, "RATE_LIMIT_ENABLED": "false"}
    return load_settings(variables | {"MAX_TODOS": str(MAX_TODOS)})


async def import_table(person: Person, rows: list[tuple[str, str]], **parameters: str) -> dict[str, int]:
    """Import a table of uids and titles, and return the numbers in the report."""
    body = "uid,title\n" + "".join(f"{uid},{title}\n" for uid, title in rows)
    response = await person.post(
        "/v1/todos/import", content=body, headers={"Content-Type": "text/csv"}, params=parameters
    )
    report = response.raise_for_status().json()
    for rejected in report["rejected"]:
        assert [error["detail"] for error in rejected["errors"]] == [f"an account may have at most {MAX_TODOS} todos"]
    return {name: report[f"{name}_count" if name == "rejected" else name] for name in COUNTED}


async def test_new_records_are_refused_and_others_update_their_todos(ada: Person) -> None:
    old = [(f"old-{number}", "Sow") for number in range(MAX_TODOS - 1)]
    await import_table(ada, old)
    new = [(f"new-{number}", "Mow") for number in range(NEW)]
    mixed = [*new, *((uid, "Dig") for uid, _ in old[:100]), *old[100:], ("new-0", "Dig"), ("new-1", "Dig")]

    dry_run = await import_table(ada, mixed, existing="update", dry_run="true")
    report = await import_table(ada, mixed, existing="update")

    assert dry_run == report == {"imported": 1, "updated": 101, "unchanged": len(old) - 100, "rejected": NEW}
    page = (await ada.get("/v1/todos", params={"limit": 200})).json()["items"]
    assert sorted(todo["title"] for todo in page) == ["Dig"] * 101 + ["Sow"] * (MAX_TODOS - 101)
