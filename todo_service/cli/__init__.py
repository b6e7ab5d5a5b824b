"""The command line, with a module for each command.

Commands import the service inside their functions, so that `--help` and `health` start fast.
"""

from __future__ import annotations

import click

from todo_service import __version__
from todo_service.cli import check, copy, health, openapi, serve, users


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="todo-service")
def main() -> None:
    """A complete to-do service: accounts, sessions and todos over HTTP.

    Start it with `todo-service serve`. Configure it with environment variables or a .env file; see the README.
    """


for _command in (serve.serve, check.check, copy.copy, health.health, openapi.openapi, users.users):
    main.add_command(_command)
