"""Copies between stores and backups are exact, all or nothing, and resumable."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import stat
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, MaxKey, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from odmantic import ObjectId
from odmantic.query import asc
from pymongo import MongoClient

from tests.mongod import running_mongod, wait_for_ttl_passes
from tests.store.models import MODELS, Alarm, Badge, Note, Thing, Ticket, Voucher
from tests.waiting import PATIENCE
from todo_service.store.addresses import format_address
from todo_service.store.base import Access, DocumentStore, State
from todo_service.store.bson_codec import decode
from todo_service.store.errors import DuplicateDocument, StoreError, StoreUnusable
from todo_service.store.registry import create_store
from todo_service.store.transfer.atomic_file import AtomicFile
from todo_service.store.transfer.backup import Backup, count_values
from todo_service.store.transfer.copying import CopyStep, TargetInUse, copy

pytestmark = pytest.mark.anyio
REPOSITORY = Path(__file__).parents[2]
FORMS = ["embedded", "mongodb", "backup"]
STORES = ["embedded", "mongodb"]
Documents = dict[str, list[bytes]]


class Addresses:
    """Creates unused addresses of each form."""

    def __init__(self, folder: Path, mongodb_url: str) -> None:
        self.folder = folder
        self._mongodb, _, self._options = mongodb_url.partition("?")
        self._created = 0

    def create(self, form: str) -> str:
        self._created += 1
        match form:
            case "embedded":
                return f"lmdb://{self.folder / f'store-{self._created}'}"
            case "mongodb":
                return f"{self._mongodb}_{self._created}" + (f"?{self._options}" if self._options else "")
        return f"file://{self.folder / f'backup-{self._created}.ndjson.gz'}"


@pytest.fixture
def addresses(tmp_path: Path, mongodb_url: str, mongodb_uri: str) -> Iterator[Addresses]:
    yield Addresses(tmp_path, mongodb_url)
    name = mongodb_url.partition("?")[0].rsplit("/", 1)[1]
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        for found in client.list_database_names():
            if found.startswith(f"{name}_"):
                client.drop_database(found)


def get_path(address: str) -> Path:
    return Path(address.removeprefix("file://").removeprefix("lmdb://"))


@asynccontextmanager
async def open_store(address: str, access: Access = Access.SERVE) -> AsyncIterator[DocumentStore]:
    store = create_store(address)
    await store.open(*MODELS, access=access)
    try:
        yield store
    finally:
        await store.close()


ODDITIES: list[Any] = [
    None,
    Int64(1),
    2**31,
    -0.0,
    float("inf"),
    0.1,
    Decimal128("1.10"),
    DatetimeMS(-(10**15)),
    DatetimeMS(10**15),
    datetime(9999, 12, 31, 23, 59, 59, 999000, UTC),
    "\x00\u2028\u2029🌱\n",
    b"\x00\xff",
    Binary(b"x" * 16, 4),
    Regex("^a", "i"),
    Timestamp(2**32 - 1, 2**32 - 1),
    MaxKey(),
    {"a.b": [[], {}, [None]], "$a": 1, "": ""},
    "x" * 300_000,
]


def create_documents() -> Documents:
    """Return documents of every model, with values of every BSON type, in the order of their ids."""
    far = datetime.now(UTC) + timedelta(days=1)
    return {
        "things": [
            *(bson.encode({"_id": ObjectId(), "shelf": "odd", "unknown": value}) for value in ODDITIES),
            *(
                bson.encode(_dump_id_first(Thing(id=ObjectId(), value=number, tags=["a", "b"])))
                for number in range(2500)
            ),
        ],
        "badges": [
            bson.encode(_dump_id_first(Badge(id=ObjectId(), number=number, owner=ObjectId(), label="x")))
            for number in range(10)
        ],
        "alarms": [bson.encode(_dump_id_first(Alarm(id=ObjectId(), at=at))) for at in (far, None)],
        "tickets": [bson.encode(_dump_id_first(Ticket(id=ObjectId(), code=str(n), expires_at=far))) for n in range(3)],
        "vouchers": [
            bson.encode(_dump_id_first(Voucher(id=ObjectId(), code=str(moment), expires_at=moment)))
            for moment in (far, None)
        ],
        "notes": [
            bson.encode(
                _dump_id_first(Note(id=ObjectId(), name=str(number))) | {"changed": Timestamp(1700000000, number)}
            )
            for number in range(1, 6)
        ],
        "crates": [],
        "seals": [],
    }


def _dump_id_first(model: Any) -> dict[str, Any]:
    return {"_id": model.id, **model.model_dump_doc()}


async def fill(address: str, expected: Documents) -> None:
    async with open_store(address) as store:
        for model in MODELS:
            if expected[model.__collection__]:
                await store.load(model, expected[model.__collection__])


async def read_documents(address: str) -> Documents:
    """Return the documents of a store or a backup."""
    if address.startswith("file:"):
        read = Backup(get_path(address))
        await asyncio.to_thread(read.verify)
        return {
            model.__collection__: [raw async for batch in read.documents(model) for raw in batch] for model in MODELS
        }
    async with open_store(address, Access.READ) as store, store.snapshot() as view:
        return {
            model.__collection__: [raw async for batch in view.documents(model) for raw in batch] for model in MODELS
        }


async def create_source(form: str, addresses: Addresses) -> tuple[str, Documents]:
    """Return an address of a form, and the documents at it."""
    expected = create_documents()
    first = addresses.create("embedded")
    await fill(first, expected)
    if form == "embedded":
        return first, expected
    address = addresses.create(form)
    await copy(first, address, MODELS)
    return address, expected


def count_units(steps: list[CopyStep]) -> Counter[tuple[str, str]]:
    """Return how many units of each part were completed."""
    done = Counter[tuple[str, str]]()
    for step in steps:
        done[step.doing, step.what] += step.done
    return +done


@pytest.mark.parametrize("target_form", FORMS)
@pytest.mark.parametrize("source_form", FORMS)
async def test_a_copy_is_exact(source_form: str, target_form: str, addresses: Addresses) -> None:
    source, expected = await create_source(source_form, addresses)
    target = addresses.create(target_form)
    steps: list[CopyStep] = []

    copied = await copy(source, target, MODELS, report=steps.append)

    assert await read_documents(target) == await read_documents(source) == expected
    assert copied.documents == {name: len(raws) for name, raws in expected.items() if raws or target_form != "backup"}
    assert copied.written == sum(len(raws) for raws in expected.values())
    assert copied.point_in_time is (source_form != "mongodb")
    assert sum(step.done for step in steps if step.doing == "copy") == copied.written
    again = await copy(target, addresses.create("embedded"), MODELS)
    assert again.hash == copied.hash


@pytest.mark.parametrize("target_form", STORES)
async def test_a_copied_store_can_be_served(target_form: str, addresses: Addresses) -> None:
    source, _ = await create_source("embedded", addresses)
    target = addresses.create(target_form)
    await copy(source, target, MODELS)

    async with open_store(target) as store:
        by_index = await store.find(
            Thing, Thing.shelf == "shelf", Thing.tags == "b", sort=(asc(Thing.value), asc(Thing.id)), limit=3
        )
        count = await store.count(Thing, Thing.shelf == "shelf", Thing.value < 1000)
        notes = await store.find(Note, Note.shelf == "shelf", sort=(asc(Note.changed), asc(Note.id)), limit=10)
        with pytest.raises(DuplicateDocument):
            await store.insert(Badge(id=ObjectId(), number=3, owner=ObjectId(), label="y"))
        before = notes[-1].changed
        written = await store.update(Note, Note.id == notes[0].id, changes={"name": "new"})

    assert [thing.value for thing in by_index] == [0, 1, 2]
    assert count == 1000
    assert [note.changed for note in notes] == [Timestamp(1700000000, number) for number in range(1, 6)]
    assert written is not None
    assert written.changed > before


async def test_loading_advances_the_clock_of_the_embedded_store(addresses: Addresses) -> None:
    address = addresses.create("embedded")
    ahead = Timestamp(4_000_000_000, 7)
    async with open_store(address) as store:
        await store.load(Note, [bson.encode(_dump_id_first(Note(id=ObjectId())) | {"changed": ahead})])
        await store.insert(Note(id=ObjectId(), name="new"))
        newest = await store.find(Note, Note.shelf == "shelf", Note.changed > ahead, sort=None, limit=10)

    assert [note.name for note in newest] == ["new"]


async def test_a_backup_is_private_and_readable_with_zcat(addresses: Addresses) -> None:
    address, expected = await create_source("backup", addresses)

    mode = stat.S_IMODE(get_path(address).stat().st_mode)
    lines = gzip.decompress(get_path(address).read_bytes()).decode().split("\n")

    assert mode == 0o600
    header, trailer = json.loads(lines[0]), json.loads(lines[-2])
    assert (header["format"], header["version"]) == ("todo_service backup", 1)
    assert {name: collection["documents"] for name, collection in trailer["collections"].items()} == {
        name: len(raws) for name, raws in expected.items() if raws
    }
    assert list(addresses.folder.glob("*.part")) == []


async def test_a_recompressed_backup_is_valid(addresses: Addresses) -> None:
    address, expected = await create_source("backup", addresses)
    get_path(address).write_bytes(gzip.compress(gzip.decompress(get_path(address).read_bytes()), mtime=0))

    target = addresses.create("embedded")
    await copy(address, target, MODELS)

    assert await read_documents(target) == expected


# --- corrupt files


@pytest.fixture
async def small(addresses: Addresses) -> Path:
    """A backup of a few documents in several blocks."""
    address = addresses.create("embedded")
    async with open_store(address) as store:
        await store.insert(*(Badge(id=ObjectId(), number=number, owner=ObjectId(), label="x") for number in range(3)))
        await store.insert(*(Note(id=ObjectId(), name=str(number)) for number in range(3)))
    target = addresses.create("backup")
    await copy(address, target, MODELS)
    return get_path(target)


def verify_backup(path: Path) -> dict[str, tuple[int, str]]:
    return {name: (digest.documents, digest.hash) for name, digest in Backup(path, MODELS).verify().items()}


async def test_every_changed_byte_is_detected_or_irrelevant(small: Path) -> None:
    """Each byte of the file is changed in turn. Some changes, such as one of the time in a header, have no effect."""
    good, whole = small.read_bytes(), verify_backup(small)
    content = gzip.decompress(good)
    messages = []
    for position in range(len(good)):
        changed = good[:position] + bytes([good[position] ^ 0x41]) + good[position + 1 :]
        small.write_bytes(changed)
        try:
            found = verify_backup(small)
        except StoreUnusable as error:
            messages.append(str(error))
        else:
            assert found == whole
            assert gzip.decompress(changed) == content

    assert len(messages) > len(good) * 0.9
    assert all(str(small) in message and "line" in message for message in messages)


async def test_a_truncated_backup_is_refused(small: Path) -> None:
    good = small.read_bytes()
    for length in range(len(good)):
        small.write_bytes(good[:length])
        with pytest.raises(StoreUnusable, match=r"line|first"):
            verify_backup(small)


async def test_the_error_of_a_damaged_backup_names_the_line(addresses: Addresses) -> None:
    address, _ = await create_source("backup", addresses)
    path = get_path(address)
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    number = next(n for n, line in enumerate(lines, 1) if b'"block":2' in line) + 5
    lines[number - 1] = lines[number - 1].replace(b'"a"', b'"c"')
    path.write_bytes(gzip.compress(b"\n".join(lines), mtime=0))
    target = addresses.create("embedded")

    with pytest.raises(StoreUnusable, match=r"damaged at line \d+, .* the hash of the block does not match") as caught:
        await copy(address, target, MODELS)

    position = int(str(caught.value).split("at line ")[1].split(",")[0])
    assert number - 5 <= position <= number
    assert not get_path(target).exists()


def rehash(lines: list[bytes]) -> bytes:
    """Return a backup of these lines with valid hashes, as an attacker could create it."""
    found: list[bytes] = []
    for line in lines:
        head = json.loads(line)
        if not isinstance(head, dict):
            head = {}
        if head.get("block"):
            at = lines.index(line)
            body = b"".join(lines[at + 1 : at + 1 + head["documents"]])
            line = json.dumps(head | {"sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n"
        if "end" in head:
            line = json.dumps(head | {"sha256": hashlib.sha256(b"".join(found)).hexdigest()}).encode() + b"\n"
            line = line.replace(b'{"end": ', b'{"end":')
        found.append(line)
    return gzip.compress(b"".join(found), mtime=0)


@pytest.mark.parametrize(
    "change",
    ["extra document", "not a document", "no id", "out of order", "missing block", "unknown collection", "twice"],
)
async def test_an_inconsistent_backup_is_refused(small: Path, change: str, addresses: Addresses) -> None:
    lines = gzip.decompress(small.read_bytes()).splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b'"block":1' in line)
    match change:
        case "extra document":
            lines[at] = lines[at].replace(b'"documents":3', b'"documents":4')
            lines.insert(at + 1, b'{"_id":{"$oid":"000000000000000000000000"}}\n')
        case "not a document":
            lines[at + 1] = b"[1]\n"
        case "no id":
            lines[at + 1] = b'{"_id":{"$numberInt":"1"}}\n'
        case "out of order":
            lines[at + 1], lines[at + 2] = lines[at + 2], lines[at + 1]
        case "missing block":
            del lines[at : at + 4]
        case "unknown collection":
            lines[at] = lines[at].replace(b'"badges"', b'"horses"')
        case "twice":
            lines[-1:-1] = [line.replace(b'"block":1', b'"block":3') for line in lines[at : at + 4]]
    small.write_bytes(rehash(lines))
    target = addresses.create("embedded")

    with pytest.raises(StoreUnusable, match="is damaged at line"):
        await copy(f"file://{small}", target, MODELS)

    assert not get_path(target).exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"some text\n", mtime=0),
        gzip.compress(b'{"a": 1}\n' * 10, mtime=0),
        gzip.compress(b'{"format":"another","version":1,"service":"1","moment":"2026-01-01T00:00:00Z"}\n', mtime=0),
        gzip.compress(
            b'{"format":"todo_service backup","version":2,"service":"9","moment":"2026-01-01T00:00:00Z"}\n', mtime=0
        ),
        gzip.compress(bytes(2**20), mtime=0),
    ],
)
async def test_a_foreign_file_is_refused(content: bytes, addresses: Addresses) -> None:
    source, target = addresses.create("backup"), addresses.create("embedded")
    get_path(source).write_bytes(content)

    with pytest.raises(StoreUnusable, match=str(get_path(source))):
        await copy(source, target, MODELS)

    assert not get_path(target).exists()


@pytest.mark.parametrize("more", [b"\0", b"x", gzip.compress(b"x\n", mtime=0)])
async def test_a_backup_with_trailing_data_is_refused(small: Path, more: bytes) -> None:
    small.write_bytes(small.read_bytes() + more)

    with pytest.raises(StoreUnusable, match="damaged"):
        verify_backup(small)


VERIFY = """
import resource, sys
from pathlib import Path
from todo_service.store.addresses import format_address
from todo_service.store.transfer.backup import Backup, count_values
from todo_service.store.errors import StoreUnusable
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    Backup(Path(sys.argv[1])).verify()
except StoreUnusable as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(error)
"""
"""Prints the growth of the peak memory, in KiB, while a damaged backup is verified, and the error."""
MAX_KIBIBYTES = 300 * 1024
HEADER = b'{"format":"todo_service backup","version":1,"service":"1","moment":"2026-01-01T00:00:00Z"}\n'
IDENTITY = b'{"_id":{"$oid":"000000000000000000000000"},"a":'


def create_block(*lines: bytes) -> list[bytes]:
    """Return a block with a valid hash."""
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    return [f'{{"block":1,"collection":"things","documents":{len(lines)},"sha256":"{digest}"}}\n'.encode(), *lines]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([b" " * 2**28], "is not a backup"),
        ([HEADER, b" " * 2**28], "the line is too long"),
        ([HEADER, *create_block(IDENTITY + b'"' + b" " * 2**28 + b'"}\n')], "the line is too long"),
        ([HEADER, *create_block(*([IDENTITY + b'"' + b" " * 2**18 + b'"}\n'] * 1000))], "the block is too long"),
        ([HEADER, *create_block(IDENTITY + b"[" + b"[]," * 20_000_000 + b"0]}\n")], "too many values"),
        ([HEADER, *create_block(IDENTITY + b'["\\"", ' + b"{}," * 20_000_000 + b"0]}\n")], "too many values"),
        ([HEADER, *create_block(IDENTITY + b"[" * 500_000 + b"]" * 500_000 + b"}\n")], "is not a document"),
        ([HEADER, *create_block(IDENTITY + b'"' + b" " * 2**25 + b'"}\n')], "the document is too large"),
        ([HEADER, b'{"end":' + b"[" * 900_000 + b"\n"], "does not start a block"),
        ([HEADER, *create_block(IDENTITY + b'{"$numberInt":"' + b"9" * 2**20 + b'"}}\n')], "is not a document"),
    ],
    ids=["header", "title", "line", "block", "lists", "objects", "nesting", "document", "trailer", "digits"],
)
def test_a_tampered_backup_is_refused_in_bounded_memory(lines: list[bytes], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "tampered.ndjson.gz"
    path.write_bytes(gzip.compress(b"".join(lines), mtime=0))

    done = subprocess.run(
        [sys.executable, "-c", VERIFY, str(path)], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    needed, message = done.stdout.splitlines()

    assert path.stat().st_size < 2**20
    assert reason in message
    assert str(path) in message
    assert int(needed) < MAX_KIBIBYTES


def test_punctuation_in_strings_is_not_counted() -> None:
    text = json.dumps({"a": 'x,"[{\\' * 1000, "b": [1, 2, {"c": "\\\\"}]})

    assert count_values(text.encode(), 100) == 6
    assert count_values(text.encode(), 10_000) > 1000  # a cheap estimate


# --- the file of a backup


async def test_a_backup_in_a_shared_folder_follows_no_link_and_uses_no_existing_file(addresses: Addresses) -> None:
    source, _ = await create_source("embedded", addresses)
    target, victim = addresses.create("backup"), addresses.folder / "victim"
    victim.write_text("precious")
    path = get_path(target)
    for name in (f"{path.name}.part", f"{path.name}.0123456789abcdef.part"):
        path.with_name(name).symlink_to(victim)
    path.symlink_to(addresses.folder / "nowhere")

    with pytest.raises(TargetInUse):
        await copy(source, target, MODELS)
    path.unlink()
    path.symlink_to(victim)
    await copy(source, target, MODELS, overwrite=True)

    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (addresses.folder / "nowhere").exists()


async def test_temporary_files_of_killed_copies_are_removed(addresses: Addresses) -> None:
    source, _ = await create_source("embedded", addresses)
    target = addresses.create("backup")
    left = get_path(target).with_name(f"{get_path(target).name}.0123456789abcdef.part")
    left.write_bytes(b"half")

    await copy(source, target, MODELS)

    assert not left.exists()
    assert Backup(get_path(target), MODELS).verify()


async def test_two_processes_cannot_write_the_same_backup(addresses: Addresses) -> None:
    source, _ = await create_source("embedded", addresses)
    target = addresses.create("backup")
    file = AtomicFile(get_path(target))

    with pytest.raises(StoreUnusable, match="being written by another process"):
        await copy(source, target, MODELS)
    file.close()
    await copy(source, target, MODELS)


def test_a_file_created_in_the_meantime_is_not_replaced(tmp_path: Path) -> None:
    position = tmp_path / "backup"
    file = AtomicFile(position)
    file.write(b"new")
    position.write_text("another's")

    with pytest.raises(StoreUnusable, match="already exists"):
        file.publish(replace=False)
    file.close()

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("backup", "another's")]


async def test_a_copy_does_not_contain_the_free_pages_of_its_source(addresses: Addresses) -> None:
    source, target = addresses.create("embedded"), addresses.create("embedded")
    async with open_store(source) as store:
        await store.insert(*(Thing(id=ObjectId(), value=number, text="x" * 10_000) for number in range(1000)))
        full = (get_path(source) / "data.mdb").stat().st_size
        await store.delete(Thing, Thing.shelf == "shelf", Thing.value >= 10)
        await store.insert(*(Note(id=ObjectId()) for _ in range(100)))
    emptied = (get_path(source) / "data.mdb").stat().st_size

    await copy(source, target, MODELS)

    assert emptied >= full
    assert (get_path(target) / "data.mdb").stat().st_size < full / 5


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a b", "ä\u2028", "a@b"])
async def test_special_characters_in_an_address_are_decoded(name: str, tmp_path: Path) -> None:
    source, target = (format_address("lmdb", tmp_path / name / form) for form in ("source", "target"))
    backup = format_address("file", tmp_path / name / "backup.gz")
    async with open_store(source) as store:
        await store.insert(Note(id=ObjectId()))

    await copy(source, backup, MODELS)
    await copy(backup, target, MODELS)

    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["backup.gz", "source", "target"]


@pytest.mark.parametrize("address", ["lmdb:///a?b", "lmdb:///a#b", "lmdb://a", "lmdb:///", "lmdb:/a", "file:///a?b"])
async def test_an_ambiguous_address_is_refused(address: str, addresses: Addresses) -> None:
    with pytest.raises(StoreUnusable):
        await copy(address, addresses.create("embedded"), MODELS)


# --- refusals


@pytest.mark.parametrize("form", STORES)
async def test_a_target_with_other_documents_is_refused_without_overwrite(form: str, addresses: Addresses) -> None:
    source, expected = await create_source("embedded", addresses)
    target = addresses.create(form)
    async with open_store(target) as store:
        await store.insert(Badge(id=ObjectId(), number=3, owner=ObjectId(), label="other"))
        generation = store.state.generation
    before = await read_documents(target)

    with pytest.raises(TargetInUse):
        await copy(source, target, MODELS)
    refused = await read_documents(target)
    steps: list[CopyStep] = []
    await copy(source, target, MODELS, overwrite=True, report=steps.append)

    assert refused == before
    assert await read_documents(target) == expected
    assert [step for step in steps if step.what == "badges"][:2] == [
        CopyStep("delete", "badges", 0, 1),
        CopyStep("delete", "badges", 1, 1),
    ]
    async with open_store(target) as store:
        assert store.state.generation != generation


@pytest.mark.parametrize("form", STORES)
async def test_a_target_with_the_same_documents_is_unchanged(form: str, addresses: Addresses) -> None:
    source, _ = await create_source("embedded", addresses)
    target = addresses.create(form)
    first = await copy(source, target, MODELS)
    async with open_store(target) as store:
        generation = store.state.generation

    steps: list[CopyStep] = []
    second = await copy(source, target, MODELS, report=steps.append)

    assert second.written == 0
    assert (second.documents, second.hash) == (first.documents, first.hash)
    assert count_units(steps) == {
        (doing, name): number for doing in ("read", "check") for name, number in first.documents.items() if number
    }
    async with open_store(target) as store:
        assert store.state.generation == generation


async def test_an_existing_backup_is_refused_without_overwrite(addresses: Addresses) -> None:
    source, expected = await create_source("embedded", addresses)
    target = addresses.create("backup")
    get_path(target).write_bytes(b"precious")

    with pytest.raises(TargetInUse):
        await copy(source, target, MODELS)
    kept = get_path(target).read_bytes()
    await copy(source, target, MODELS, overwrite=True)

    assert kept == b"precious"
    assert await read_documents(target) == expected


@pytest.mark.parametrize("form", FORMS)
async def test_a_missing_source_is_refused(form: str, addresses: Addresses) -> None:
    source, target = addresses.create(form), addresses.create("embedded")

    with pytest.raises(StoreUnusable):
        await copy(source, target, MODELS)

    assert not get_path(target).exists()
    assert not get_path(source).exists()


@pytest.mark.parametrize("form", FORMS)
async def test_a_copy_onto_itself_is_refused(form: str, addresses: Addresses) -> None:
    source, _ = await create_source(form, addresses)

    with pytest.raises(StoreUnusable, match="the same"):
        await copy(source, source, MODELS, overwrite=True)


@pytest.mark.parametrize("address", ["redis://x", "file://x/y", "lmdb://x", "/tmp/x", ""])  # noqa: S108  # a bad address
async def test_a_bad_address_is_refused(address: str, addresses: Addresses) -> None:
    source, _ = await create_source("embedded", addresses)

    with pytest.raises(StoreUnusable):
        await copy(source, address, MODELS)
    with pytest.raises(StoreUnusable):
        await copy(address, source, MODELS)


@pytest.mark.parametrize("form", STORES)
async def test_a_target_that_is_served_is_refused(form: str, addresses: Addresses) -> None:
    source, _ = await create_source("embedded", addresses)
    target = addresses.create(form)

    async with open_store(target):
        with pytest.raises(StoreUnusable, match="a service uses"):
            await copy(source, target, MODELS)


# --- interrupted copies


@pytest.mark.parametrize("form", STORES)
async def test_a_store_cannot_be_served_or_read_until_its_copy_is_complete(form: str, addresses: Addresses) -> None:
    source, expected = await create_source("embedded", addresses)
    target = addresses.create(form)
    async with open_store(source, Access.READ) as store:
        origin = store.state.generation
    stale = Badge(id=ObjectId(), number=99, owner=ObjectId(), label="not in the source any more")
    async with open_store(target, Access.RESTORE) as store:
        await store.set_state(State("first", origin))
        await store.load(Thing, expected["things"][:1000])
        await store.load(Badge, [bson.encode(_dump_id_first(stale)), *expected["badges"][:4]])

    for access in (Access.SERVE, Access.READ):
        with pytest.raises(StoreUnusable, match="not finished"):
            await create_store(target).open(*MODELS, access=access)
    other, _ = await create_source("backup", addresses)
    with pytest.raises(TargetInUse, match="another copy"):
        await copy(other, target, MODELS)
    steps: list[CopyStep] = []
    copied = await copy(source, target, MODELS, report=steps.append)

    assert await read_documents(target) == expected
    assert copied.written == sum(len(raws) for raws in expected.values()) - 1004
    assert count_units(steps) == {
        ("compare", "things"): 1000,
        ("compare", "badges"): 5,
        **{("copy", name): len(raws) for name, raws in expected.items() if raws},
        **{("check", name): len(raws) for name, raws in expected.items() if raws},
    }


async def test_documents_in_mongodb_expire_only_after_the_copy_is_complete(tmp_path: Path) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    raw = bson.encode(_dump_id_first(Ticket(id=ObjectId(), code="a", expires_at=past)))

    async def tickets(store: DocumentStore) -> int:
        async with store.snapshot() as view:
            return len([found async for batch in view.documents(Ticket) for found in batch])

    with (
        running_mongod(tmp_path, "--setParameter", "ttlMonitorSleepSecs=1") as (url, _),
        MongoClient[dict[str, Any]](url) as client,
    ):
        async with open_store(f"{url}/test", Access.RESTORE) as store:
            await store.set_state(State("one", "origin"))
            await store.load(Ticket, [raw])
            await wait_for_ttl_passes(client, 2)
            kept = await tickets(store)
        async with open_store(f"{url}/test", Access.RESTORE) as store:  # as after a crash
            await wait_for_ttl_passes(client, 2)
            left_after_a_crash = await tickets(store)
            await store.load(Ticket, [raw])
            await store.set_state(State("two"))
            await wait_for_ttl_passes(client, 2)
            gone = await tickets(store)

    assert (kept, gone) == (1, 0)
    assert left_after_a_crash in (0, 1)


# --- snapshots


async def test_a_snapshot_of_an_embedded_store_is_a_point_in_time(addresses: Addresses) -> None:
    source, expected = await create_source("embedded", addresses)

    async with open_store(source) as writer:
        first = await anext(aiter(writer.scan(Badge)))
        async with writer.snapshot() as view:
            await writer.insert(Badge(id=ObjectId(), number=77, owner=ObjectId(), label="later"))
            await writer.delete(Badge, Badge.id == first.id)
            seen = [raw async for batch in view.documents(Badge) for raw in batch]

    assert view.point_in_time
    assert seen == expected["badges"]


async def test_an_embedded_store_can_be_copied_while_it_is_served(addresses: Addresses) -> None:
    source, expected = await create_source("embedded", addresses)
    target = addresses.create("backup")

    async with open_store(source) as serving:
        done = asyncio.Event()

        async def write() -> int:
            written = 0
            while not done.is_set():
                await serving.insert(Thing(id=ObjectId(), shelf="busy", value=written))
                written += 1
            return written

        writing = asyncio.create_task(write())
        # in another process, because LMDB can open an environment only once per process
        process = await asyncio.create_subprocess_exec(
            *_build_command(
                "from tests.store.models import MODELS", f"asyncio.run(copy({source!r}, {target!r}, MODELS))"
            ),
            cwd=Path(__file__).parents[2],
        )
        status = await process.wait()
        done.set()
        written = await writing

    found = await read_documents(target)
    later = [thing["value"] for thing in map(decode, found["things"]) if thing.get("shelf") == "busy"]
    assert status == 0
    assert written > 0
    assert later == list(range(len(later)))
    assert found["badges"] == expected["badges"]


def _build_command(*lines: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "\n".join(["import asyncio", "from todo_service.store.transfer.copying import copy", *lines]),
    ]


@contextmanager
def running_replica_set(folder: Path, *options: str) -> Iterator[str]:
    """Run a replica set with one member, and return its address."""
    folder.mkdir()
    with running_mongod(folder, "--replSet", "one", *options) as (url, _):
        with MongoClient[dict[str, Any]](url, directConnection=True) as client:
            host = url.removeprefix("mongodb://")
            client.admin.command("replSetInitiate", {"_id": "one", "members": [{"_id": 0, "host": host}]})
        patience = int(PATIENCE * 1000)
        with MongoClient[dict[str, Any]](url, replicaSet="one", serverSelectionTimeoutMS=patience) as client:
            client.admin.command("ping")  # waits for the primary
        yield f"{url}/test?replicaSet=one"


async def test_a_snapshot_of_a_replica_set_is_a_point_in_time(tmp_path: Path, addresses: Addresses) -> None:
    with running_replica_set(tmp_path / "mongod") as source:
        first, expected = await create_source("embedded", addresses)
        await copy(first, source, MODELS)

        async with open_store(source) as store, store.snapshot() as view:
            before = [raw async for batch in view.documents(Badge) for raw in batch]
            await store.insert(Badge(id=ObjectId(), number=77, owner=ObjectId(), label="later"))
            await store.delete(Thing, Thing.shelf == "shelf", Thing.value < 1000)
            after = [raw async for batch in view.documents(Badge) for raw in batch]
            things = [raw async for batch in view.documents(Thing) for raw in batch]
        copied = await copy(source, addresses.create("backup"), MODELS)

    assert view.point_in_time
    assert before == after == expected["badges"]
    assert things == expected["things"]
    assert copied.point_in_time


async def test_a_snapshot_reports_when_mongodb_no_longer_retains_it(tmp_path: Path) -> None:
    options = ("--setParameter", "minSnapshotHistoryWindowInSeconds=0")
    with running_replica_set(tmp_path / "mongod", *options) as source:
        async with open_store(source) as store, store.snapshot() as view:
            badges = [Badge(id=ObjectId(), number=number, owner=ObjectId(), label="x") for number in range(10_000)]
            first = [raw async for batch in view.documents(Badge) for raw in batch]
            able = view.point_in_time
            deadline = time.monotonic() + PATIENCE
            written = 0
            while view.point_in_time:
                assert time.monotonic() < deadline, "MongoDB still retains the snapshot"
                await store.insert(badges[written])
                written += 1
                found = [raw async for batch in view.documents(Badge) for raw in batch]

    assert (first, able) == ([], True)
    assert len(found) == written


# --- verification


async def test_a_concurrent_change_of_the_target_is_detected_and_repaired(
    addresses: Addresses, mongodb_uri: str
) -> None:
    source, expected = await create_source("embedded", addresses)
    target = addresses.create("mongodb")
    name = target.partition("?")[0].rsplit("/", 1)[1]

    def change_target(step: CopyStep) -> None:
        if step.doing == "check":
            with MongoClient[dict[str, Any]](mongodb_uri) as client:
                client[name]["badges"].update_one({"number": 3}, {"$set": {"label": "changed"}})

    with pytest.raises(StoreError, match="does not contain the copied documents: 10 badges"):
        await copy(source, target, MODELS, report=change_target)
    with pytest.raises(StoreUnusable, match="not finished"):
        await create_store(target).open(*MODELS)
    repaired = await copy(source, target, MODELS)

    assert repaired.written == 1
    assert await read_documents(target) == expected


async def test_a_copy_has_few_batches_in_memory(addresses: Addresses) -> None:
    source, backed_up, restored = addresses.create("embedded"), addresses.create("backup"), addresses.create("embedded")
    size, count = 2**20, 60
    async with open_store(source) as store:
        for number in range(count):
            raw = bson.encode({"_id": ObjectId(), "shelf": "large", "value": number, "unknown": "x" * size})
            await store.load(Thing, [raw])

    tracemalloc.start()
    try:
        await copy(source, backed_up, MODELS)
        await copy(backed_up, restored, MODELS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < count * size / 2
