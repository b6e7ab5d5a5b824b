"""Limits of the document store."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Document store")

DOCUMENT_BYTES: Final = section.declare(
    8 * 2**20,
    "Size of a document that is inserted, or changed by more than 16 KiB at once",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="500; client input must never produce such a document",
)
LOADED_DOCUMENT_BYTES: Final = section.declare(
    9 * 2**20,
    "Size of a document that is copied or restored",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="`copy` fails.",
)
INDEXED_ELEMENTS: Final = section.declare(
    20_000,
    "Elements of an indexed array",
    enforced_in="store.capacity",
    response="500; client input must never produce such a document",
)
INLINE_SECONDS: Final = section.declare(
    0.004,
    "CPU time for which a read runs on the event loop before it moves to a thread",
    unit="s",
    enforced_in="store.scans",
    response="The request waits for a thread.",
)
INLINE_WAIT_SECONDS: Final = section.declare(
    0.02,
    "Wall-clock time for which a read runs on the event loop while it waits for a CPU or the disk",
    unit="s",
    enforced_in="store.scans",
    response="The request waits for a thread.",
)
SCAN_THREADS: Final = section.declare(
    2,
    "Threads of a process for such reads",
    enforced_in="store.scans",
    response="The request waits.",
)
SCAN_QUEUE: Final = section.declare(
    64,
    "Running and waiting reads in threads, for each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCANS_PER_ACCOUNT: Final = section.declare(
    16,
    "Reads of an account in threads, running (one at a time) or waiting, for each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCAN_SECONDS: Final = section.declare(
    10.0,
    "Duration of a read in a thread, unless the response timeout ends it earlier",
    unit="s",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
WRITE_SECONDS: Final = section.declare(
    0.05,
    "Time for which a write transaction of the embedded store accepts operations, or documents of one call",
    unit="s",
    enforced_in="store.embedded.group_commit",
    response="The rest follows in the next transaction.",
)
PENDING_WRITE_BYTES: Final = section.declare(
    64 * 2**20,
    "Size of the writes of a process that the embedded store has not committed yet, for example while the disk stalls",
    unit="bytes",
    enforced_in="store.embedded.process_writer",
    response="503 with `Retry-After`",
)
BACKUP_LINE_BYTES: Final = section.declare(
    64 * 2**20,
    "Size of a document in a backup, as JSON",
    unit="bytes",
    enforced_in="store.transfer.backup",
    response="`copy` rejects the backup.",
)
BACKUP_BLOCK_BYTES: Final = section.declare(
    4 * 2**20,
    "Size of a block of a backup, without its last document",
    unit="bytes",
    enforced_in="store.transfer.backup",
    response="`copy` rejects the backup.",
)
BACKUP_VALUES: Final = section.declare(
    2**20,
    "Number of values in a document of a backup",
    enforced_in="store.transfer.backup",
    response="`copy` rejects the backup.",
)
