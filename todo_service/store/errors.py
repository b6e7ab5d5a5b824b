"""The errors that a document store raises, whichever store it is."""

from __future__ import annotations


class StoreError(Exception):
    """What went wrong in a store, whichever it is. No message carries a driver's text to a client."""


class StoreUnavailable(StoreError):
    """The store did not answer, or not in time: the same call may succeed later.

    Of a write it is not known whether it was carried out.
    """


class StoreUnusable(StoreError):
    """The store cannot be opened and waiting will not help: a wrong address, a foreign or damaged file, no permission.

    The message is one line for the operator.
    """


class DuplicateDocument(StoreError):
    """A write would have given two documents the same value in a unique index; nothing was written.

    Attributes:
        model: The model's class name.
        field: The model's field (the last one of a compound index, `id` for the primary key).
    """

    def __init__(self, model: str, field: str) -> None:
        super().__init__(f"a {model} with this {field} is there already")
        self.model = model
        self.field = field


class DocumentTooLarge(StoreError):
    """A document is larger than a store accepts; it was not written.

    Attributes:
        model: The model's class name.
        size: The document's size in bytes.
        limit: The largest size that is accepted, in bytes.
    """

    def __init__(self, model: str, size: int, limit: int) -> None:
        super().__init__(f"a {model} of {size} bytes is larger than the {limit} bytes that a store accepts")
        self.model = model
        self.size = size
        self.limit = limit


class UnsupportedExpression(StoreError):
    """A condition, a sort or a value that is not part of the interface: a bug in the calling code."""
