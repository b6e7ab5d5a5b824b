"""The errors that every document store raises.

No message contains stored data or a password, so that a message can be logged and shown.
"""

from __future__ import annotations


class StoreError(Exception):
    """The base class of all errors of a store."""


class StoreUnavailable(StoreError):
    """The store did not respond, or not in time. The same call may succeed later.

    If the call was a write, it may or may not have been carried out.
    """


class StoreUnusable(StoreError):
    """The store cannot be opened, and a retry will not help: the address is wrong, the files are damaged or belong to
    another program, or a permission is missing.

    The message is one line for the operator.
    """


class DuplicateDocument(StoreError):
    """A write violates a unique index. The document was not written.

    Attributes:
        model: The class name of the model.
        field: The field of the model. For a compound index it is the last field; for the primary key it is `id`.
    """

    def __init__(self, model: str, field: str) -> None:
        super().__init__(f"a {model} with this {field} already exists")
        self.model = model
        self.field = field


class DocumentTooLarge(StoreError):
    """A document is larger than the limit. It was not written.

    Attributes:
        model: The class name of the model.
        size: The size of the document, in bytes.
        limit: The limit, in bytes.
    """

    def __init__(self, model: str, size: int, limit: int) -> None:
        super().__init__(f"a {model} of {size} bytes exceeds the limit of {limit} bytes")
        self.model = model
        self.size = size
        self.limit = limit


class UnsupportedExpression(StoreError):
    """A condition, a sort or a value is not part of the interface. This is a bug in the calling code."""
