"""The rows and sections of `docs/limits.md`."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

NumberT = TypeVar("NumberT", int, float)


class Bound(NamedTuple):
    """A limit, as a row of the table.

    Attributes:
        subject: The quantity that is limited.
        value: The limit.
        unit: The unit of the limit, such as `bytes`; empty for a plain count.
        enforced_in: The module that enforces the limit, relative to the package, such as `accounts.passwords`.
        response: The effect of exceeding the limit.
        setting: The environment variable that changes the limit, or None if it is fixed.
    """

    subject: str
    value: int | float
    unit: str
    enforced_in: str
    response: str
    setting: str | None


class Section:
    """A section of the page.

    Args:
        title: The heading.

    Attributes:
        bounds: The limits in order of declaration.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bounds: list[Bound] = []

    def declare(
        self,
        value: NumberT,
        subject: str,
        *,
        enforced_in: str,
        response: str,
        unit: str = "",
        setting: str | None = None,
    ) -> NumberT:
        """Add a row and return its value. See `Bound` for the arguments."""
        self.bounds.append(Bound(subject, value, unit, enforced_in, response, setting))
        return value
