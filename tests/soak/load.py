"""Hostile clients, in a separate low-priority process: `python -m tests.soak.load`."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from tests.soak.attacks import ATTACKS, Attack
from tests.soak.connection import RESPONSE_SECONDS, Target

_NICENESS: Final = 10
_PAUSE_SECONDS: Final = 0.05


async def run_clients(
    target: Target, clients: int, seconds: float, attacks: Sequence[Attack]
) -> dict[str, Counter[str]]:
    """Run clients for some time. Each cycles through the attacks.

    Returns:
        For each attack, the number of responses by status; `cut` if the service closed the connection, `late` if there
        was no
        response in time.
    """
    statuses = {attack.__name__: Counter[str]() for attack in attacks}
    end = time.monotonic() + seconds

    async def run_client(number: int) -> None:
        account = number % len(target.tokens)
        for attack in itertools.islice(itertools.cycle(attacks), number, None):
            if time.monotonic() >= end:
                return
            counter = statuses[attack.__name__]
            try:
                await asyncio.wait_for(attack(target, account, counter), RESPONSE_SECONDS)
            except TimeoutError:
                counter["late"] += 1
            except (OSError, asyncio.IncompleteReadError):
                counter["cut"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*(run_client(number) for number in range(clients)))
    return statuses


def main() -> None:
    """Read the parameters from standard input, attack, and write the results to standard output."""
    orders: dict[str, Any] = json.load(sys.stdin)
    os.nice(_NICENESS)
    target = Target(**orders["target"])
    chosen = [attack for attack in ATTACKS if attack.__name__ in orders["attacks"]] or ATTACKS
    json.dump(asyncio.run(run_clients(target, orders["clients"], orders["seconds"], chosen)), sys.stdout)


if __name__ == "__main__":
    main()
