"""Reading a new password, from a prompt or from standard input."""

from __future__ import annotations

import sys

import click

from todo_service.bounds.accounts import GIVEN_PASSWORD_LENGTH
from todo_service.cli.preparation import fail

_BYTES_PER_CHARACTER = 4


def read_new_password() -> str:
    """Return a new password: typed twice on a terminal, otherwise the first line of standard input.

    Exits with status 1 if standard input is closed or empty, or is not UTF-8.
    """
    if sys.stdin is None:
        fail("the password cannot be read: standard input is closed")
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    try:
        line = sys.stdin.buffer.readline(_BYTES_PER_CHARACTER * GIVEN_PASSWORD_LENGTH).decode()
    except UnicodeDecodeError:
        fail("the password cannot be read: it is not valid UTF-8")
    except OSError as error:
        fail(f"the password cannot be read: {error.strerror}")
    password = line.removesuffix("\n").removesuffix("\r")
    if not password:
        fail("the password cannot be read: standard input is empty")
    return password
