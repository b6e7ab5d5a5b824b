"""The todos of the benchmarks: typical texts, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_SYLLABLES: Final = ("ka", "lo", "mi", "nu", "re", "sa", "to", "ve", "wi", "zo")
_TAGS: Final[tuple[list[str], ...]] = (["home"], ["work"], ["home", "garden"], ["work", "calls"], ["errands"], [])
_PRIORITIES: Final = ("none", "low", "medium", "high", "urgent")
_FIRST_DUE: Final = datetime(2026, 1, 1, 9, tzinfo=UTC)
RARE_WORD: Final = "xylophone"
"""A word in every nth todo, so that a search for it finds `RARE` todos in an account of any size."""
RARE: Final = 20


def todos(count: int, start: int = 0, total: int | None = None) -> Iterator[dict[str, Any]]:
    """Return the bodies of new todos.

    Args:
        count: The number of todos.
        start: The number of the first one in the account.
        total: The number of todos that the account will have; `count` by default.
    """
    every = max(1, (total or count) // RARE)
    for number in range(start, start + count):
        choose = random.Random(number)  # noqa: S311  # the same at every run
        words = ["".join(choose.choices(_SYLLABLES, k=3)) for _ in range(16)]
        yield {
            "title": f"{' '.join(words[:4])} {number}",
            "description": " ".join([*words[4:12], RARE_WORD] if number % every == 0 else words[4:12]),
            "priority": choose.choice(_PRIORITIES),
            "completed": number % 10 < 3,
            "due_at": (_FIRST_DUE + timedelta(minutes=choose.randrange(500_000))).isoformat() if number % 4 else None,
            "tags": choose.choice(_TAGS),
            "steps": [{"title": " ".join(words[12:14])}, {"title": " ".join(words[14:])}],
        }
