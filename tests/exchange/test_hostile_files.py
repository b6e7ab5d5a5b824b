"""A file that attacks the reader of its format takes linear time and bounded memory, and does not block others.

`tests/todos/test_transfer_bounds.py` and `tests/attacks` have further files. `pdm run test-hostile` also sends each of
these with up to 64 MiB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.attacks.shapes import Shape
from tests.cost import FROZEN_SECONDS, Lowest, assert_grows_linearly, cost, probing, resident_bytes
from tests.exchange.hostile_files import FILES
from tests.serving import Service, running_service
from tests.todos.test_transfer_bounds import LIMIT, MIB, QUIET, Peak, sign_in

ALL = os.environ.get("HOSTILE_FILES") == "all"
SIZES = (10_000, 100_000, 1_000_000) if ALL else (20_000, 60_000, 200_000)
"""All of them are below the size limit of a record, and have more than the 100 steps that a todo keeps."""
GROWTH_MIB = 48
"""How much memory an import may take beside the body. A record of 1 MiB with the smallest values takes most of it."""
SHAPES = [pytest.param(name, shape, id=f"{name}: {shape.name}") for name, shapes in FILES.items() for shape in shapes]
SOME = {"ics: events", "microsoft: empty rows", "google: links", "trello: actions"}
LARGEST = [each for each in SHAPES if ALL or each.id in SOME]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), QUIET | {"ACCESS_TOKEN_SECONDS": "86400"}) as service:
        yield service


@pytest.fixture(scope="module")
def ada(service: Service) -> Iterator[httpx.Client]:
    client = sign_in(service)
    client.timeout = httpx.Timeout(1800)
    yield client
    client.close()


def send(client: httpx.Client, file_format: str, body: bytes) -> None:
    response = client.post(
        "/v1/todos/import",
        content=body,
        headers={"Content-Type": "application/octet-stream"},
        params={"format": file_format, "dry_run": "true"},
    )
    assert response.status_code in (200, 400, 422), response.text[:1000]
    assert len(response.content) < 2 * MIB


@pytest.mark.parametrize(("file_format", "shape"), SHAPES)
def test_a_file_takes_linear_time_and_blocks_nobody(
    service: Service, ada: httpx.Client, file_format: str, shape: Shape, figure: Callable[[str], None]
) -> None:
    pid = service.process.pid

    def measure(size: int) -> float:
        body = shape.fill(size)
        return cost(pid, lambda: send(ada, file_format, body))

    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        with probing(service.url, pid) as probe:
            costs = assert_grows_linearly(measure, SIZES)
        frozen.add(probe.frozen)

    largest = max(costs)
    figure(f"{file_format}, {shape.name}: {costs[largest]:.2f} s for {largest} bytes, frozen {frozen.value:.3f} s")
    assert frozen.value <= FROZEN_SECONDS


@pytest.mark.parametrize(("file_format", "shape"), LARGEST)
def test_a_file_of_the_largest_size_takes_bounded_memory_and_blocks_nobody(
    service: Service, ada: httpx.Client, file_format: str, shape: Shape, figure: Callable[[str], None]
) -> None:
    pid = service.process.pid
    body = shape.fill(LIMIT)
    send(ada, file_format, shape.fill(MIB // 4))
    frozen = Lowest(FROZEN_SECONDS)
    for _ in frozen:
        before = resident_bytes(pid)
        with probing(service.url, pid) as probe, Peak(pid) as peak:
            seconds = cost(pid, lambda: send(ada, file_format, body))
        frozen.add(probe.frozen)
        growth = (peak.bytes - before) / MIB
        assert growth <= 64 + GROWTH_MIB

    figure(
        f"{file_format}, {shape.name}: {seconds:.1f} s, {growth - 64:.0f} MiB beside the body, "
        f"frozen {frozen.value * 1000:.0f} ms"
    )
    assert frozen.value <= FROZEN_SECONDS
