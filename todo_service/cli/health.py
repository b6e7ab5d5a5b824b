"""`todo-service health`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from todo_service.cli.preparation import fail

_TIMEOUT_SECONDS = 3


@click.command()
def health() -> None:
    """Check whether the running service is ready.

    Connects to HOST and PORT of the environment or a .env file. Exits with 0 if the service is ready, otherwise with 1.
    """
    from http.client import HTTPConnection, HTTPException  # imported late, see the package's docstring

    from todo_service.dotenv import DotenvError, read_dotenv  # as above

    try:
        variables = {**read_dotenv(Path(".env")), **os.environ}
    except DotenvError as error:
        fail(str(error))
    # as in the settings, an empty value means the default, and whitespace around a value is ignored
    host = (variables.get("HOST", "").strip() or "127.0.0.1").strip("[]")  # an IPv6 address may have brackets
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # a wildcard address includes loopback
    port = variables.get("PORT", "").strip() or "8000"
    try:
        connection = HTTPConnection(host, int(port), timeout=_TIMEOUT_SECONDS)
        connection.request("GET", "/health/ready")
        status = connection.getresponse().status
    except (OSError, ValueError, HTTPException) as error:
        fail(f"no response from {host} port {port}: {error}")
    if status != 200:
        fail(f"not ready: {host} port {port} responded with {status}")
    click.echo("ready")
