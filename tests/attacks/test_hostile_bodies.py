"""Every text, list and number of every operation, in every shape, at 1, 10 and 100 % of its limit.

The OpenAPI document of the running service lists the operations. No response is a 5xx, no request delays other clients
for more than 100 ms, and ten times the input costs at most fifteen times the CPU time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.attacks.attacker import Attacker, attacked, find_faults
from tests.attacks.locations import Location, Request, find_locations
from tests.cost import resident_bytes
from tests.openapi.document import Json, Operation, iterate_operations

KIB: Final = 1024
MIB: Final = 1024 * KIB
BODY_LIMITS: Final = (16 * KIB, MIB, 64 * MIB)
"""The limits of forms and accounts, of imports (the last), and of all other bodies."""
TARGET_BYTES: Final = 8 * KIB
LARGE_SHAPES: Final = {
    "application/json": ("many keys", "nested lists"),
    "text/csv": (),
    "text/calendar": ("nested components",),
}
"""The shapes of whole files that are sent at the size limit of an import. `tests/todos/test_transfer_bounds.py` and
`tests/exchange/test_hostile_files.py` send others of that size."""
HEADER_BYTES: Final = 16 * KIB
"""The size of a hostile header. The limit of a request's head is 32 KiB."""
IMPORT_SAMPLE: Final = 64 * KIB
"""The size of an import that attacks a single location: an import creates as many records as fit. Whole files without
records have the size limit itself."""
_GOLDEN: Final = json.loads((Path(__file__).parent.parent / "openapi" / "golden.json").read_text())
OPERATIONS: Final = [operation.id for operation in iterate_operations(_GOLDEN)]
ON_MONGODB: Final = ("createTodo", "listTodos")
"""The operations that are also attacked on MongoDB: the one with the largest writes, and searches."""


@pytest.fixture(scope="module")
def attacker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    """An attacker of a service on the embedded store, without rate limits."""
    with attacked(tmp_path_factory.mktemp("attacked")) as started:
        yield started


def read_document(attacker: Attacker) -> tuple[Json, dict[str, Operation]]:
    """Return the document of the running service, and its operations by id."""
    document = attacker.ask("GET", "/schema/openapi.json")
    return document, {operation.id: operation for operation in iterate_operations(document)}


def find_body_limit(attacker: Attacker, location: Location) -> int:
    """Return the size limit of an operation's body, one of `BODY_LIMITS`."""
    for limit in BODY_LIMITS[:-1]:
        headers: dict[str, str | bytes] = {"Content-Type": location.media_type or "application/json"}
        if attacker.send(Request(location.method, location.target, headers, b" " * (limit + 1))) == 413:
            return limit
    return BODY_LIMITS[-1]


def find_limit(attacker: Attacker, location: Location) -> int:
    """Return the maximum size of the request at a location, in bytes."""
    if location.encoding == "query":
        return TARGET_BYTES - len(location.target)
    if location.encoding == "header":
        return HEADER_BYTES
    limit = find_body_limit(attacker, location)
    return IMPORT_SAMPLE if limit == BODY_LIMITS[-1] else limit


def attack(attacker: Attacker, operation: Operation, document: Json, figure: Callable[[str], None]) -> list[str]:
    """Send every shape to every location of an operation, and return the faults."""
    limits: dict[tuple[str, str | None], int] = {}
    before = attacker.requests
    found: list[str] = []
    for location in find_locations(operation, document, attacker.ids):
        key = (location.encoding, location.media_type)
        if key not in limits:
            limits[key] = find_limit(attacker, location)
        for shape in location.shapes:
            found += find_faults(attacker, location, shape, limits[key])
    figure(f"{attacker.requests - before} requests of at most {max(limits.values(), default=0)} bytes")
    return found


def test_every_operation_is_attacked(attacker: Attacker) -> None:
    document, operations = read_document(attacker)

    assert list(operations) == OPERATIONS
    for operation in operations.values():
        kinds = {location.encoding for location in find_locations(operation, document, attacker.ids)}
        assert kinds, operation.id
        if "requestBody" in operation.raw:
            assert kinds & {"json", "form", "csv", "calendar"}, operation.id


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_value_of_any_size_stops_the_service(attacker: Attacker, name: str, figure: Callable[[str], None]) -> None:
    document, operations = read_document(attacker)

    found = attack(attacker, operations[name], document, figure)

    assert not found, "\n".join([f"{len(found)} faults:", *found])


@pytest.mark.parametrize("name", ON_MONGODB)
def test_no_value_stops_the_service_on_mongodb(
    tmp_path: Path, mongodb_url: str, name: str, figure: Callable[[str], None]
) -> None:
    with attacked(tmp_path, STORE_URL=mongodb_url) as attacker:
        document, operations = read_document(attacker)

        found = attack(attacker, operations[name], document, figure)

    assert not found, "\n".join([f"{len(found)} faults:", *found])


def test_no_file_of_any_size_stops_the_service(attacker: Attacker, figure: Callable[[str], None]) -> None:
    document, operations = read_document(attacker)
    found: list[str] = []
    for location in find_locations(operations["importTodos"], document, attacker.ids):
        if location.name or location.media_type is None:
            continue
        assert find_body_limit(attacker, location) == BODY_LIMITS[-1]
        for shape in location.shapes:
            if shape.name in LARGE_SHAPES[location.media_type]:
                found += find_faults(attacker, location, shape, BODY_LIMITS[-1])

    figure(f"{resident_bytes(attacker.service.process.pid) / MIB:.0f} MiB of memory afterwards")
    assert not found, "\n".join([f"{len(found)} faults:", *found])


def test_no_value_stops_a_service_with_rate_limits(tmp_path: Path) -> None:
    found: list[str] = []
    with attacked(tmp_path, RATE_LIMIT_ENABLED="true") as attacker:
        document, operations = read_document(attacker)
        for operation in operations.values():
            *_, location = find_locations(operation, document, attacker.ids)
            limit = {"query": TARGET_BYTES - len(location.target), "header": HEADER_BYTES}.get(location.encoding, MIB)
            for shape in location.shapes:
                found += find_faults(attacker, location, shape, limit)

    assert not found, "\n".join([f"{len(found)} faults:", *found])
