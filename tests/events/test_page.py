"""The commands and programs of docs/events.md run as printed."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.people import Person
from tests.serving import PLAIN_HTTP, START_SECONDS, running_service

pytestmark = pytest.mark.anyio
PAGE: Final = (Path(__file__).parent.parent.parent / "docs" / "events.md").read_text()


def find_block(language: str, text: str = "") -> str:
    """Return the only code block in a language that contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if text in block]
    return str(block)


@pytest.mark.parametrize("language", ["bash", "python"])
async def test_the_program_follows_an_account(language: str, tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=START_SECONDS, verify=PLAIN_HTTP) as client:
            ada = await Person.register(client)
            await ada.todo(title="before")
            block = find_block(language).replace("http://127.0.0.1:8000", service.url)
            command = ["bash", "-c", block] if language == "bash" else [sys.executable, "-u", "-c", block]
            program = await asyncio.create_subprocess_exec(
                *command, env={"PATH": "/usr/bin:/bin", "TOKEN": ada.access_token}, stdout=asyncio.subprocess.PIPE
            )
            assert program.stdout is not None
            async with asyncio.timeout(START_SECONDS):
                printed = ""
                while "ready" not in printed and "last event" not in printed:
                    printed += (await program.stdout.readline()).decode()
                todo = await ada.todo(title="x")
                if language == "bash":
                    while todo["id"] not in printed:
                        printed += (await program.stdout.readline()).decode()
            if language == "python":
                assert printed.startswith("1 todos, last event ")
                program.terminate()
            await program.wait()
