"""Twenty hostile clients next to a normal user, for `SOAK_SECONDS`: they can neither hang the service nor fill its
memory.

`SOAK_ATTACKS` selects attacks of `tests.soak.attacks`, separated by commas, to find the one that does harm.

All requests of the user succeed, 99 % of them within 250 ms. The memory stays within 250 MiB of its initial size,
returns to within 60 MiB a minute later, and does not grow from round to round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.attacks.attacker import kill_if_hung
from tests.cost import processor_seconds, resident_bytes
from tests.serving import REPOSITORY, SECRET_KEY, Service, running_service
from tests.soak.connection import Target
from tests.soak.person import NormalUser
from tests.writer_process import find_writers

SECONDS: Final = int(os.environ.get("SOAK_SECONDS", "600"))
ATTACKS: Final = os.environ.get("SOAK_ATTACKS", "").split(",")
ROUNDS: Final = 5
CLIENTS: Final = 20
ACCOUNTS: Final = 5
LARGE_TODOS: Final = 60
"""The number of todos of the maximum size in each attacker's account."""
P99_SECONDS: Final = float(os.environ.get("SOAK_P99_SECONDS", "0.25"))
MIB: Final = 2**20
MOST_GROWTH: Final = 250 * MIB
GROWTH_AFTERWARDS: Final = 60 * MIB
GROWTH_BETWEEN_ROUNDS: Final = 40 * MIB
"""The noise from the allocator and the current attacks."""
RECOVERY_SECONDS: Final = 60
_SAMPLE_SECONDS: Final = 0.5
_LOAD_PATIENCE: Final = 60


@contextmanager
def attacking(target: Target, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run the hostile clients in a separate process."""
    orders = {"target": target._asdict(), "clients": CLIENTS, "seconds": seconds, "attacks": ATTACKS}
    command = [sys.executable, "-m", "tests.soak.load"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(orders))
        process.stdin.close()
        try:
            yield process
        finally:
            process.kill()


def prepare_target(service: Service) -> Target:
    """Register the attackers, and create todos of the maximum size in each account."""
    address = urlsplit(service.url)
    target = Target(str(address.hostname), address.port or 0, [], [], [])
    description = "".join(f"w{number:x}ä " for number in range(2000))[:10_000]
    large = {"title": "x" * 200, "description": description, "steps": [{"title": "ä" * 200}] * 100}
    for _ in range(ACCOUNTS):
        attacker = NormalUser(service.url)
        target.tokens.append(attacker.join())
        target.users.append(attacker.username)
        for _ in range(LARGE_TODOS):
            status, todo = attacker.ask("POST", "/v1/todos", large)
            assert status == 201, todo
        target.todo_ids.append(todo["id"])
        attacker.close()
    return target


def used_bytes(pid: int) -> int:
    """Return the anonymous memory of a service and of its writer process, if it has one."""
    return sum(map(resident_bytes, [pid, *find_writers(pid)]))


def sample_memory(pid: int, process: subprocess.Popen[str]) -> list[int]:
    """Sample the memory of a service until the attack ends."""
    samples = []
    deadline = time.monotonic() + SECONDS + _LOAD_PATIENCE
    while process.poll() is None:
        assert time.monotonic() < deadline, "the attackers do not end"
        samples.append(used_bytes(pid))
        time.sleep(_SAMPLE_SECONDS)
    return samples


def await_memory(pid: int, most: int) -> int:
    """Wait up to a minute until a service uses at most `most` bytes, and return its memory."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while (used := used_bytes(pid)) > most and time.monotonic() < deadline:
        time.sleep(_SAMPLE_SECONDS)
    return used


def divide(samples: list[int]) -> list[float]:
    """Return the median of each round, without the warm-up: the first half of the first round."""
    length = len(samples) // ROUNDS
    rounds = [samples[number * length : (number + 1) * length] for number in range(ROUNDS)]
    rounds[0] = rounds[0][length // 2 :]
    return [statistics.median(found) for found in rounds]


@pytest.mark.parametrize("limits", ["unlimited", "limited"])
def test_hostile_clients_can_neither_hang_nor_fill_the_service(
    tmp_path: Path, store_url: str, limits: str, figure: Callable[[str], None]
) -> None:
    """Without rate limits, and with the default ones."""
    variables = {"STORE_URL": store_url, "SECRET_KEY": SECRET_KEY, "LOG_LEVEL": "warning"}
    variables |= {"ACCESS_TOKEN_SECONDS": "86400"}
    with running_service(tmp_path, variables, forked=False) as preparing:
        target = prepare_target(preparing)
        person = NormalUser(preparing.url)
        person.join()
    variables["RATE_LIMIT_ENABLED"] = str(limits == "limited").lower()
    with running_service(tmp_path, variables, port=target.port, forked=False) as service, closing(person):
        pid = service.process.pid
        person.start()
        before, used = used_bytes(pid), processor_seconds(pid)
        with attacking(target, SECONDS) as process:
            samples = sample_memory(pid, process)
            assert process.stdout is not None
            statuses: dict[str, Counter[str]] = json.loads(process.stdout.read())
            assert process.wait() == 0
        used = processor_seconds(pid) - used
        person.close()
        after = await_memory(pid, before + GROWTH_AFTERWARDS)
        rounds = divide(samples)
        print_measurements(figure, person, statuses, used, [before, *rounds, max(samples), after])
        kill_if_hung(service)
        log = (tmp_path / "service.log").read_text()

    assert "Traceback" not in log, log[-5000:]
    assert set(person.statuses) <= {"200", "201", "204"}, person.statuses
    assert max(samples) - before <= MOST_GROWTH
    assert after - before <= GROWTH_AFTERWARDS
    assert max(rounds[2:]) - rounds[1] <= GROWTH_BETWEEN_ROUNDS
    assert person.percentile(99) <= P99_SECONDS


def print_measurements(
    figure: Callable[[str], None], person: NormalUser, statuses: dict[str, Any], used: float, memory: list[float]
) -> None:
    """Print the measurements."""
    p50, p99, worst = (person.percentile(percent) * 1000 for percent in (50, 99, 100))
    figure(f"user: {len(person.seconds)} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.0f} ms")
    figure(f"user's responses: {dict(person.statuses)}; {used:.0f} s of CPU time in {SECONDS} s")
    start, *rounds, most, after = (f"{bytes_ / MIB:.0f}" for bytes_ in memory)
    figure(f"MiB of memory: start {start}, rounds {' '.join(rounds)}, most {most}, afterwards {after}")
    for attack, found in statuses.items():
        figure(f"{attack}: {', '.join(f'{status} {number}' for status, number in sorted(found.items()))}")
