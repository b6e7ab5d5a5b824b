"""Bounds: document store."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Document store")

DOCUMENT_BYTES: Final = section.declare(
    8 * 2**20,
    "A document that is inserted, or changed by more than 16 KiB at once",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="500: no input of a client is allowed to make one",
)
LOADED_DOCUMENT_BYTES: Final = section.declare(
    9 * 2**20,
    "A document that is copied or restored",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="`copy` refuses it.",
)
INDEXED_ELEMENTS: Final = section.declare(
    20_000,
    "Elements of a list that is indexed",
    enforced_in="store.capacity",
    response="500: no input of a client is allowed to make one",
)
INLINE_SECONDS: Final = section.declare(
    0.004,
    "How long a read may go on on the event loop, until it goes on in a thread",
    unit="s",
    enforced_in="store.scans",
    response="The request waits for a thread.",
)
SCAN_THREADS: Final = section.declare(
    2,
    "Threads for reads that take longer, in each process",
    enforced_in="store.scans",
    response="The request waits for its turn.",
)
SCAN_QUEUE: Final = section.declare(
    64,
    "Such reads that run or wait, in each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCANS_PER_ACCOUNT: Final = section.declare(
    16,
    "Such reads of one account that run (one at a time) or wait, in each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCAN_SECONDS: Final = section.declare(
    10.0,
    "How long such a read may go on, where the answer's deadline does not end it before",
    unit="s",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
WRITE_SECONDS: Final = section.declare(
    0.05,
    "How long operations of one transaction, or documents of one call, are written before others get their turn "
    "(embedded store)",
    unit="s",
    enforced_in="store.embedded.group_commit",
    response="The rest is written next.",
)
BACKUP_LINE_BYTES: Final = section.declare(
    64 * 2**20,
    "A document in a backup, as JSON",
    unit="bytes",
    enforced_in="store.transfer.backup",
    response="`copy` refuses the backup.",
)
BACKUP_BLOCK_BYTES: Final = section.declare(
    4 * 2**20,
    "A block of a backup, but for its last document",
    unit="bytes",
    enforced_in="store.transfer.backup",
    response="`copy` refuses the backup.",
)
BACKUP_VALUES: Final = section.declare(
    2**20,
    "Values within one document of a backup",
    enforced_in="store.transfer.backup",
    response="`copy` refuses the backup.",
)
