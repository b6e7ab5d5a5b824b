"""Positions in a manual order: floats between which further ones fit.

Neighbors are `STEP` apart, or 1/2048 of their own size if that is more. The mantissa of a float has 52 bits, so the
gap between two neighbors can be halved at least 40 times, no matter how many positions precede them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Final

STEP: Final = 1024.0
"""The smallest distance between the positions of neighbors in a new order."""
HALVINGS: Final = 40
"""How often the gap between two neighbors in a new order can be halved at least."""
_SIGNIFICANT_STEPS: Final = 2048
_SPREAD_ULPS: Final = 2.0**20
"""The smallest distance, in units in the last place, at which `spread` places positions."""
_LARGEST: Final = sys.float_info.max


def advance(position: float, steps: float = 1) -> float:
    """Return the position a number of steps after another, or the largest float if there is none."""
    return min(position + steps * _step_at(position), _LARGEST)


def retreat(position: float, steps: float = 1) -> float:
    """Return the position a number of steps before another, or the smallest float if there is none."""
    return -advance(-position, steps)


def find_between(lower: float | None, upper: float | None) -> float | None:
    """Return a position between two others, or None if no float lies between them.

    Args:
        lower: The position before it; None at the start of the order.
        upper: The position after it; None at the end of the order.
    """
    if lower is not None and upper is not None:
        found = lower / 2 + upper / 2
    elif upper is not None:
        found = retreat(upper)
    else:
        found = advance(lower) if lower is not None else STEP
    return found if (lower is None or lower < found) and (upper is None or found < upper) else None


def spread(lower: float | None, upper: float, number: int) -> Sequence[float] | None:
    """Return positions at equal distances between two others, or None if they would be too close to each other.

    Each gap between the results can be halved 20 times.

    Args:
        lower: The position before the first; None for the start of the order, where there is as much room as needed.
        upper: The position after the last.
        number: The number of positions.
    """
    if lower is None:
        lower = retreat(upper, number + 1)
    gap = upper / (number + 1) - lower / (number + 1)
    if gap < _SPREAD_ULPS * math.ulp(max(abs(lower), abs(upper))):
        return None
    return [lower + gap * index for index in range(1, number + 1)]


def renumber_all(number: int) -> Sequence[float]:
    """Return the positions of a whole order."""
    found = [0.0]
    while len(found) < number:
        found.append(advance(found[-1]))
    return found[:number]


def _step_at(position: float) -> float:
    return max(STEP, abs(position) / _SIGNIFICANT_STEPS)
