"""The uids of imported records."""

from __future__ import annotations

import hashlib

import msgspec

from todo_service.exchange.formats.base import Draft
from todo_service.text import compose, trim
from todo_service.todos.uids import validate_uid


class RecordUids:
    """Chooses the uids of the records of one file.

    A record has the uid that the file gives it, or else its id. One that has neither gets a uid derived from its
    content, so that a second import of the file recognizes it. Equal records are numbered in the order of the file.
    """

    def __init__(self) -> None:
        # the first bytes of the digest, as a number, which takes less memory than bytes
        self._equal: dict[int, int] = {}

    def identify(self, draft: Draft) -> Draft:
        """Return a draft whose todo has a uid."""
        todo = draft.todo
        given = next((text for text in (draft.uid, todo.uid, todo.id) if isinstance(text, str) and trim(text)), None)
        if given is None:
            return _set_uid(draft, self._derive(draft))
        try:
            return _set_uid(draft, validate_uid(given))
        except ValueError:
            warning = "Uid is not valid: the todo has a uid derived from it"
            return _set_uid(draft, hash_uid(given))._replace(warnings=(*draft.warnings, warning))

    def _derive(self, draft: Draft) -> str:
        content = msgspec.json.encode(draft.content or (draft.todo, draft.list and draft.list.name), enc_hook=str)
        digest = hashlib.sha256(content).digest()
        key = int.from_bytes(digest[:8])
        number = self._equal[key] = self._equal.get(key, 0) + 1
        return f"content-{digest[:16].hex()}-{number}"


def hash_uid(text: str) -> str:
    """Return a uid derived from a text. It is the same for strings that are equal once trimmed and in NFC."""
    return f"hash-{hashlib.sha256(compose(trim(text)).encode()).hexdigest()[:32]}"


def hash_list_name(name: str) -> str:
    """Return the uid of a list that has only a name in the file."""
    return hash_uid(f"list {trim(name)}")


def _set_uid(draft: Draft, uid: str) -> Draft:
    return draft._replace(todo=msgspec.structs.replace(draft.todo, uid=uid))
