"""Modules of the service that run in a process of their own."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple


class ModuleProcess(NamedTuple):
    """How to start a module, for `subprocess`.

    Attributes:
        command: The command.
        environment: The environment variables.
    """

    command: list[str]
    environment: dict[str, str]


def describe_module_process(module: str, *arguments: str) -> ModuleProcess:
    """Return how to start a module in a process that imports the same files as this one.

    By itself, `python -m` would import from the working directory first. There, a file such as `bson.py` or another
    version of the service would take precedence.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return ModuleProcess([sys.executable, "-P", "-m", module, *arguments], environment)
