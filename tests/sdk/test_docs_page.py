"""The docs page in a real browser: Debian's Chromium in headless mode."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as conditions
from selenium.webdriver.support.ui import WebDriverWait

from tests.chromium import running_chromium
from tests.openapi.document import iterate_operations
from tests.sdk.swagger_ui import FILES, SOURCE, TARGET
from tests.serving import Service, running_service

PASSWORD = "correct horse battery"
LOAD_SECONDS = 60


class Page:
    """The docs page of a running service, open in a browser.

    Args:
        browser: The browser.
        url: The URL of the service.
    """

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        self._wait = WebDriverWait(browser, LOAD_SECONDS)

    def open(self, fragment: str = "") -> None:
        """Load the page, and wait until it shows the document."""
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/docs{fragment}")
        self.see(".opblock")

    def see(self, selector: str) -> WebElement:
        """Wait until an element is visible, and return it."""
        found: WebElement = self._wait.until(conditions.visibility_of_element_located((By.CSS_SELECTOR, selector)))
        return found

    def click(self, selector: str) -> None:
        """Wait until an element is clickable, and click it."""
        found = self._wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, selector)))
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def create_todo(self) -> tuple[str, str]:
        """Send the example of `createTodo` with "Try it out", and return the status and the body of the response."""
        block = "#operations-Todos-createTodo"
        self.click(f"{block} .opblock-summary-control")
        self.click(f"{block} .try-out__btn")
        self.click(f"{block} .execute")
        response = f"{block} .live-responses-table .response"
        status = self.see(f"{response} .response-col_status").text
        return status.split()[0], self.see(f"{response} .highlight-code").text

    def operations(self) -> set[str]:
        """Return the operationIds on the page."""
        blocks = self.browser.find_elements(By.CSS_SELECTOR, ".opblock")
        return {str(block.get_attribute("id")).rpartition("-")[2] for block in blocks if block.is_displayed()}

    def complaints(self) -> list[str]:
        """Return the warnings and errors of the browser. It also has recommendations, about Swagger UI's forms."""
        log = self.browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium has no annotation
        return [entry["message"] for entry in log if entry["level"] != "DEBUG"]

    def hosts(self) -> set[str]:
        """Return the host of every request that the browser has sent."""
        messages = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]  # type: ignore[no-untyped-call]  # selenium has no annotation
        urls = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return {urlsplit(url).netloc for url in urls if urlsplit(url).scheme not in ("about", "data", "blob")}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("docs")) as running:
        yield running


@pytest.fixture
def page(service: Service) -> Iterator[Page]:
    with running_chromium() as browser:
        yield Page(browser, service.url)


def register(service: Service, name: str) -> None:
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    service.post("/v1/users", json=body).raise_for_status()


def create_token(service: Service, name: str) -> str:
    register(service, name)
    with httpx.Client(base_url=service.url) as client:
        form = {"grant_type": "password", "username": name, "password": PASSWORD}
        token: str = client.post("/v1/auth/token", data=form).raise_for_status().json()["access_token"]
        return token


def test_the_page_shows_every_operation_and_tries_one(page: Page, service: Service, document: Path) -> None:
    token = create_token(service, "reader")
    expected = {operation.id for operation in iterate_operations(json.loads(document.read_text()))}

    page.open()
    shown = page.operations()
    page.click(".auth-wrapper .authorize")
    page.see(".auth-container input").send_keys(token)
    page.click(".auth-btn-wrapper .authorize")
    page.click(".auth-btn-wrapper .btn-done")
    status, response = page.create_todo()

    assert shown == expected
    assert status == "201"
    assert '"title": "Water the plants"' in response
    assert page.complaints() == []
    assert page.hosts() == {urlsplit(service.url).netloc}


@pytest.mark.parametrize("prefix", ["", "/todo"])
def test_authorize_takes_a_name_and_a_password(page: Page, tmp_path: Path, prefix: str) -> None:
    dialog = ".auth-container + .auth-container"

    with running_service(tmp_path, {"ROOT_PATH": prefix}) as service:
        register(service, "painter")
        page.url = service.url + prefix
        page.open()
        page.click(".auth-wrapper .authorize")
        page.see("#oauth_username").send_keys("painter")
        page.see("#oauth_password").send_keys("not the password")
        page.click(f"{dialog} .auth-btn-wrapper .authorize")
        refused = page.see(f"{dialog} .errors").text
        page.see("#oauth_password").clear()
        page.see("#oauth_password").send_keys(PASSWORD)
        page.click(f"{dialog} .auth-btn-wrapper .authorize")
        page.see(f"{dialog} h6")  # Authorized
        page.click(f"{dialog} .auth-btn-wrapper .btn-done")
        status, response = page.create_todo()

    assert "the name or the password is wrong" in refused
    assert status == "201"
    assert '"title": "Water the plants"' in response
    assert page.hosts() == {urlsplit(service.url).netloc}


def test_a_deep_link_opens_its_operation(page: Page) -> None:
    page.open("#/Lists/deleteList")

    page.see("#operations-Lists-deleteList.is-open .opblock-body")


@pytest.mark.parametrize(("scheme", "classes"), [("dark", "dark-mode"), ("light", "")])
def test_the_page_follows_the_color_scheme_of_the_system(page: Page, scheme: str, classes: str) -> None:
    media: dict[str, Any] = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    page.open()

    assert page.browser.find_element(By.TAG_NAME, "html").get_attribute("class") == classes
    background = page.browser.find_element(By.TAG_NAME, "html").value_of_css_property("background-color")
    assert (background == "rgba(28, 32, 34, 1)") is (scheme == "dark")


@pytest.mark.parametrize("name", FILES)
def test_swagger_ui_equals_the_published_files(name: str) -> None:
    assert filecmp.cmp(SOURCE / name, TARGET / name, shallow=False)
