"""The programs of docs/events.md for browsers, in Chromium: `fetch`, and `EventSource` with tickets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from selenium.webdriver import Chrome
from selenium.webdriver.support.ui import WebDriverWait

from tests.chromium import running_chromium
from tests.events.test_page import find_block
from tests.mongod import free_port
from tests.sdk.test_docs_page import LOAD_SECONDS, create_token
from tests.serving import Service, running_service

READY: Final[tuple[str, Any]] = ("ready", {})
FETCH: Final = f"""
{find_block("js", "readEvents")}
const [token, since] = arguments;
window.events = [];
(async () => {{
  for await (const {{ name, data }} of readEvents(token, since)) window.events.push([name, data]);
}})();
"""
EVENT_SOURCE: Final = f"""
{find_block("js", "EventSource")}
const [token, since] = arguments;
window.events = [];
follow(async () => token, (name, data) => window.events.push([name, data]), since);
"""


def wait_for(browser: Chrome, *expected: tuple[str, Any]) -> list[tuple[str, Any]]:
    """Wait until the page has received these events in this order, and return all events."""

    def find(_: Chrome) -> list[tuple[str, Any]] | None:
        events = [(name, data) for name, data in browser.execute_script("return window.events")]
        iterator = iter(events)
        return events if all(event in iterator for event in expected) else None

    found = WebDriverWait(browser, LOAD_SECONDS).until(find)
    assert found is not None
    return found


def create_todo(service: Service, header: dict[str, str], title: str) -> tuple[str, Any]:
    """Create a todo, and return the event that announces it."""
    response = service.post("/v1/todos", json={"title": title}, headers=header)
    assert response.status_code == 201
    return "todo", response.json()


def test_a_page_follows_an_account_across_a_restart_of_the_service(tmp_path: Path) -> None:
    port = free_port()
    with running_chromium() as browser:
        with running_service(tmp_path, port=port) as service:
            token = create_token(service, "follower")
            header = {"Authorization": f"Bearer {token}"}
            before = create_todo(service, header, "before")
            since = service.get("/v1/todos/changes", headers=header).json()["next"]
            missed = create_todo(service, header, "written before the page follows")
            browser.get(f"{service.url}/docs")
            browser.execute_script(EVENT_SOURCE, token, since)
            wait_for(browser, missed, READY)
            live = create_todo(service, header, "written while it follows")
            wait_for(browser, missed, READY, live)
        with running_service(tmp_path) as other_process:
            meanwhile = create_todo(other_process, header, "written while it is disconnected")
        with running_service(tmp_path, port=port):
            events = wait_for(browser, missed, READY, live, meanwhile, READY)

    assert before not in events


def test_a_page_reads_events_with_fetch(tmp_path: Path) -> None:
    with running_chromium() as browser, running_service(tmp_path) as service:
        token = create_token(service, "reader")
        header = {"Authorization": f"Bearer {token}"}
        since = service.get("/v1/todos/changes", headers=header).json()["next"]
        missed = create_todo(service, header, "written before: the page reads")
        browser.get(f"{service.url}/docs")
        browser.execute_script(FETCH, token, since)
        wait_for(browser, missed, READY)
        live = create_todo(service, header, "written while it reads")
        wait_for(browser, missed, READY, live)
