"""The table of bounds, from which `docs/limits.md` is generated."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

NumberT = TypeVar("NumberT", int, float)


class Bound(NamedTuple):
    """One row of the table.

    Attributes:
        subject: What is bounded.
        value: The number.
        unit: The unit of the number, such as `bytes`; empty for a plain count.
        enforced_in: The module that enforces the bound, relative to the package, such as `accounts.passwords`.
        response: What a client that exceeds the bound gets.
        setting: The environment variable that changes the number, or None where it is fixed.
    """

    subject: str
    value: int | float
    unit: str
    enforced_in: str
    response: str
    setting: str | None


class Section:
    """A group of bounds that share a heading in the table.

    Args:
        title: The heading.

    Attributes:
        bounds: The bounds declared so far, in order.
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
        """Add a row, and return its number to be bound to a constant. See `Bound` for the arguments."""
        self.bounds.append(Bound(subject, value, unit, enforced_in, response, setting))
        return value
