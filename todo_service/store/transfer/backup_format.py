"""The format of a backup file.

A backup is a gzip file with lines of JSON (NDJSON), so `zcat` shows it:

* a header that identifies the file: `{"format": "todo_service backup", "version": 1, "service": …, "moment": …}`;
* blocks: a line `{"block": 1, "collection": "todos", "documents": 1000, "sha256": …}`, followed by that many documents
  in MongoDB's canonical extended JSON, one per line, in the order of their ids. The hash covers these lines;
* a trailer: `{"end": true, "blocks": …, "point_in_time": …, "collections": {"todos": {"documents": …, "hash": …}},
  "sha256": …}`. The `sha256` covers all preceding lines, and each `hash` is that of a `Digest`.

The header, the trailer and each block are separate gzip members, so a reader can seek to a collection. A file that was
recompressed as a single member is also valid.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from bson import json_util
from bson.codec_options import DatetimeConversion

FORMAT: Final = "todo_service backup"
VERSION: Final = 1
BLOCK_DOCUMENTS: Final = 1000
"""The maximum number of documents in a block."""
EXTENDED_JSON: Final = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)


class Header(msgspec.Struct, frozen=True):
    """The first line of a backup."""

    format: str
    version: int
    service: str
    moment: datetime


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a block."""

    block: int
    collection: str
    documents: Annotated[int, msgspec.Meta(ge=1, le=BLOCK_DOCUMENTS)]
    sha256: str


class CollectionSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The digest of a collection."""

    documents: int
    hash: str


class Trailer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line of a backup."""

    end: bool
    blocks: int
    point_in_time: bool
    collections: dict[str, CollectionSummary]
    sha256: str
