"""Chromium without a window, driven by Selenium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

_ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,2000")


@contextmanager
def running_chromium() -> Iterator[Chrome]:
    """Run Chromium until the block ends. It logs the messages of its console and its network traffic."""
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.fail("no chromedriver: install Debian's chromium and chromium-driver", pytrace=False)
    options = ChromeOptions()
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()
