"""The uids by which other programs know todos and lists, such as the UID of iCalendar.

A document without a given uid has its id as the uid. The index of uids holds a key of the length of an id in place of
the text, which may be longer than an index allows.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from odmantic import ObjectId

from todo_service.bounds.todos import UID_LENGTH
from todo_service.errors import Duplicate
from todo_service.store.errors import DuplicateDocument
from todo_service.text import normalize_text
from todo_service.todos.validation import is_id

UID_KEY: Final = "uid_key"
"""The field of the models that is unique in an account."""
_KEY_BYTES: Final = 12


def validate_uid(text: str) -> str:
    """Return a uid, trimmed and in NFC."""
    return normalize_text(text, UID_LENGTH)


def derive_uid_key(uid: str) -> ObjectId:
    """Return the key of a uid in the index: an id for a uid that is an id, or else a hash."""
    if is_id(uid) and uid == uid.lower():
        return ObjectId(uid)
    return ObjectId(hashlib.sha256(uid.encode()).digest()[:_KEY_BYTES])


def build_uid_fields(uid: str | None, document_id: ObjectId) -> dict[str, Any]:
    """Return the fields of a document that hold its uid.

    Args:
        uid: The uid; None for the default.
        document_id: The id of the document.
    """
    if uid is None:
        return {"uid": str(document_id), "uid_key": document_id}
    return {"uid": uid, "uid_key": derive_uid_key(uid)}


def translate_duplicate(error: DuplicateDocument) -> Duplicate | DuplicateDocument:
    """Return the error for a client if another document has the uid, or else the error of the store."""
    return Duplicate("uid") if error.field == UID_KEY else error
