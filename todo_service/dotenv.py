"""The .env file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from decouple import RepositoryEnv


class DotenvError(Exception):
    """The file cannot be read. The message is for the operator."""


def read_dotenv(path: Path) -> Mapping[str, str]:
    """Return the variables of a .env file; none if there is no such file.

    Raises:
        DotenvError: The file cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        data: Mapping[str, str] = RepositoryEnv(str(path)).data
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DotenvError(f"{path}: the file cannot be read ({type(error).__name__})") from None
    return data
