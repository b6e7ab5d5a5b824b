"""The document store interface: what every store promises.

A store holds ODMantic models as documents. It knows no business rules and no HTTP. `embedded` (LMDB) and `mongodb`
implement the interface. The conformance suite in `tests/store/test_conformance.py` defines it and runs on both.

Writes
    Writes are atomic for each document, and durable when the call returns: neither a crash of the process nor a power
    failure undoes them. There are no transactions across documents, so the service is designed not to need any.

Conditions
    `where` takes ODMantic expressions on the model's fields, and all must hold, as in `Todo.owner == owner`.
    They use the operators in `OPERATORS` and `starts_with`, combined by `&` and `|`. Both stores reject anything else
    with `UnsupportedExpression`. The semantics are MongoDB's:

    * Values of different kinds (null, number, text, bytes, ObjectId, boolean, time, stamp) are never equal, and `<`,
      `<=`, `>`, `>=` never hold between them. Integers and floats are one kind and compare by value.
    * A missing key has the default of its field (see "Releases"), or is null. `!=` and `not_in` match null unless they
      exclude it.
    * A condition on a list (`Todo.tags == "home"`) holds if it holds for any element, `!=` and `not_in` for all.
    * `starts_with(Todo.words, "gard")` matches a text, or an element of a list, with this prefix.

Order
    Null, numbers, text (by code point), bytes, ObjectId, boolean, time, stamp. Lists cannot be sorted by.

Indexes
    Models declare their indexes. An index must serve every query, except a `get` by id, so the cost of a query never
    grows with the number of accounts; a query that no index serves raises `UnsupportedExpression`.

    * An index serves a query if conditions fix its leading keys, and a sort follows the remaining keys. Conditions may
      also bound the first of these. Equality fixes a key, and so does `in_`: the store merges up to 100 key ranges.
    * Further conditions filter the documents that the index yields. If several indexes serve a query, the store uses
      the one that covers the conditions that come first, so put the most selective condition first.
    * An index may include one list of up to `INDEXED_ELEMENTS` elements. It cannot hold NaN, integers of more than
      64 bits, or embedded documents.
    * An index of `structs.partial_to_times` serves only queries that restrict its time key to times since 1970.
    * Indexed text and bytes are short. The text keys of an index share 510 bytes, less 13 for the id and 27 for each
      other key. Writing a longer one raises `UnsupportedExpression`. Conditions may contain text of any length.

Releases
    A document of an earlier release may lack fields that the model has now. When it is read, as a model or a Struct,
    these fields have their defaults; so do the fields of embedded documents. In conditions, sorts and indexes too, a
    missing key has the default of its field. Give each new field a default, therefore, and never change it. A default
    factory must always return the same value. A document that lacks a field without a default cannot be read.

    `open` builds new indexes, and drops those that it has built and that the models no longer declare. For a new index
    of MongoDB, and at the first start after a copy, it also writes the defaults of the index's keys into the documents
    that lack them. Stop all processes of the earlier release first: their queries may need a dropped index, and in a
    new index of MongoDB the documents that they insert have null instead of the default.

Size
    A document has at most `DOCUMENT_BYTES` of BSON. `insert` raises `DocumentTooLarge` for a larger one, and so does
    `update` if the changes themselves exceed 16 KiB. Smaller ones are not measured and may make a document exceed the
    limit by a little, so `load` accepts up to `LOADED_DOCUMENT_BYTES`.

Stamps
    The store itself writes a field of type `Stamp` at every insert and update, from its own clock, except at an update
    of nothing but fields with `KEEPS_STAMP`. Of two writes, the later one has the higher stamp. `resolved_stamp`
    returns a low watermark: every write with a stamp up to it is either visible or abandoned. A reader of all documents
    up to it has missed none, with any number of writers.

Generations
    A store has a generation, which is a random name. A copy keeps every document as it is stored, including its stamp,
    and the target begins a new generation once the copy is complete (`store.transfer.copying`). Stamps of different
    generations cannot be compared, because a restored store may be older than what a client has already seen. Store
    the generation with each stamp, and start over if the generation has changed.
"""

from __future__ import annotations

import abc
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Enum, auto
from typing import Any, ClassVar, Final, Generic, TypeVar, overload

import msgspec
from bson import ObjectId, Timestamp
from odmantic import Model
from odmantic.query import QueryExpression, SortExpression
from pydantic_core import CoreSchema, core_schema

OPERATORS: Final = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")
"""The comparison operators of conditions, besides `starts_with`. `$and` and `$or` combine them."""


class Stamp(Timestamp):
    """A point on the store's clock. The store writes a model field of this type; its default is `UNSTAMPED`."""

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        return core_schema.is_instance_schema(Timestamp)


DEFAULT_FROM: Final = "default_from"
"""In `json_schema_extra`, names the field that supplies the default. An id becomes text. Conditions need an index."""
KEEPS_STAMP: Final = "keeps_stamp"
"""In `json_schema_extra`, marks a field whose changes delta sync ignores: an update of it alone keeps the stamp."""
UNSTAMPED: Final = Stamp(0, 0)
"""The stamp of a document that has not been written yet."""

ModelT = TypeVar("ModelT", bound=Model)
StructT = TypeVar("StructT", bound=msgspec.Struct)
DocumentT = TypeVar("DocumentT")


class FindResult(list[DocumentT], Generic[DocumentT]):
    """The documents that match a query, in order.

    Attributes:
        truncated: Whether `max_bytes` ended the search, so that more documents may match.
    """

    __slots__ = ("truncated",)

    def __init__(self, documents: Iterable[DocumentT] = (), *, truncated: bool = False) -> None:
        super().__init__(documents)
        self.truncated = truncated


# ODMantic's comparisons are typed as the `bool` that Python's own would return.
Condition = QueryExpression | Mapping[str, Any] | bool
Sort = SortExpression | Sequence[SortExpression]


def starts_with(field: Any, prefix: str) -> Condition:
    """Return the condition that a text, or an element of a list, starts with a prefix.

    Args:
        field: A field of the model.
        prefix: The literal prefix; at least one character.
    """
    return QueryExpression({+field: {"$regex": "^" + re.escape(prefix)}})


class Access(Enum):
    """The purpose for which a store is opened."""

    SERVE = auto()
    """Serve documents: create what the models need, and delete expired documents."""
    READ = auto()
    """Read with `snapshot`: create and change nothing. Opening a store that does not exist fails."""
    RESTORE = auto()
    """Fill with `load`: create what the models need and let nothing expire. No service may have the store open."""


class State(msgspec.Struct, frozen=True):
    """The state of a store as a whole.

    Attributes:
        generation: The generation; see the module's docstring. Empty if the store has none and is only read.
        restoring_from: The source of an unfinished copy into the store, or None. Until the copy is complete, the
            store can be neither served nor read.
    """

    generation: str
    restoring_from: str | None = None


class Snapshot(abc.ABC):
    """All documents of a store or a backup, as BSON.

    Attributes:
        taken_at: When the snapshot was taken.
        point_in_time: Whether later writes are excluded. It may become false while the documents are read.
    """

    taken_at: datetime
    point_in_time: bool

    @abc.abstractmethod
    async def size(self, model: type[Model]) -> int:
        """Return the approximate number of documents of a model, at little cost."""

    @abc.abstractmethod
    def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """Iterate over the documents of a model in the order of their ids, in batches of a few MiB.

        A document is returned as it is stored, with `_id` as its first key, so that equal documents have equal bytes
        in every store.

        Args:
            model: The model.
            after: Only return documents with a greater id.
        """


class DocumentStore(abc.ABC):
    """A store of documents. The module's docstring states the promises that hold for every call.

    Every method except `open` and `close` may raise `StoreUnavailable`.

    Attributes:
        state: The state of the store; available once the store is open.
        resolves_at_once: Whether `resolved_stamp` is always the highest stamp so far.
    """

    state: State
    resolves_at_once: ClassVar[bool] = False

    @abc.abstractmethod
    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """Open the store, and create the folders, collections and indexes that the models need.

        Opening an existing store changes only what "Releases" describes.

        Args:
            *models: All models that will be used with this store.
            access: The purpose.

        Raises:
            StoreUnusable: The store is damaged, misconfigured, not writable or not a store of this service; a copy into
                it is running or unfinished; or a service uses the target of a copy.
            StoreUnavailable: The store does not respond at present.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Finish the accepted writes and release all resources. Closing twice is allowed."""

    @abc.abstractmethod
    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store accepts reads and writes."""

    @abc.abstractmethod
    async def insert(self, *documents: Model) -> None:
        """Insert new documents, in order. Each insert is atomic; the first failure ends the call.

        Args:
            *documents: Validated documents of one model, with their ids set.

        Raises:
            DuplicateDocument: A document violates a unique index. The documents before it are written; it and the
                following ones are not.
            DocumentTooLarge: A document is too large. As above, the documents before it are written.
            UnsupportedExpression: A document cannot be stored or indexed. As above.
        """

    @overload
    async def get(self, model: type[ModelT], *where: Condition) -> ModelT | None: ...

    @overload
    async def get(self, model: type[ModelT], *where: Condition, into: type[StructT]) -> StructT | None: ...

    @abc.abstractmethod
    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """Return one document that matches, or None. If several match, any one of them is returned.

        Args:
            model: The model.
            *where: Conditions, including equality on the id or on the leading keys of an index.
            into: A Struct to convert the stored BSON into, which is faster than building the model. Its fields are
                named after the document's keys (`id` for `_id`). A field of type `str` takes an ObjectId as 24 hex
                digits, and a time as RFC 3339 text in UTC with milliseconds and `Z`; a field of type `datetime` takes
                a time with a UTC offset. A Struct of `structs.derive_struct` has the values of the model. Do not
                modify the result: callers may share it.
        """

    @overload
    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        selective: bool = False,
    ) -> FindResult[ModelT]: ...

    @overload
    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        into: type[StructT],
        selective: bool = False,
    ) -> FindResult[StructT]: ...

    @abc.abstractmethod
    async def find(
        self,
        model: type[ModelT],
        *where: Condition,
        sort: Sort | None,
        limit: int,
        max_bytes: int | None = None,
        into: type[Any] | None = None,
        selective: bool = False,
    ) -> FindResult[Any]:
        """Return the documents that match, in order, from a consistent view.

        For keyset pagination, add conditions on the sorted fields.

        Args:
            model: The model.
            *where: Conditions.
            sort: One or more of ODMantic's `asc` or `desc`, all in one direction. They follow the fixed keys in an
                index. Documents that are equal in all sorted fields come in any order, so end with the id for a total
                order. None: in any order, which also allows `starts_with` on an indexed list.
            limit: The maximum number of documents, 1 to 10 000.
            max_bytes: End the search with the document that brings the total BSON size to this many bytes, at most
                8 MiB; at least one document is returned if any matches. None: no limit.
            into: As in `get`.
            selective: Whether the conditions that come first leave few documents. The store then reads all of these by
                the index of the conditions and sorts them in memory, if that is faster than the index of the sort.
        """

    @overload
    async def update(self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any]) -> ModelT | None: ...

    @overload
    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[StructT]
    ) -> StructT | None: ...

    @abc.abstractmethod
    async def update(
        self, model: type[ModelT], *where: Condition, changes: Mapping[str, Any], into: type[Any] | None = None
    ) -> Any:
        """Atomically change one document if the conditions hold, and return the changed document, or None.

        Conditions are evaluated at the time of the write, which is what optimistic locking needs: of several writers
        with the same condition on a field that they change (`Todo.version == 3`), exactly one succeeds.

        Args:
            model: The model.
            *where: Conditions, including equality on the id.
            changes: New values by field name, each validated as the model would validate it. Other fields keep their
                stored values, including concurrent changes. An empty mapping changes nothing; the call then returns
                durable data, while a plain read from a partitioned member of MongoDB may return what is rolled back.
            into: As in `get`.

        Raises:
            DuplicateDocument: The change violates a unique index. Nothing is written.
            DocumentTooLarge: The document would become too large. Nothing is written.
            pydantic.ValidationError: A value is invalid. Nothing is written.
        """

    @abc.abstractmethod
    async def delete(self, model: type[Model], *where: Condition) -> int:
        """Delete all documents that match, and return their number.

        Each document is deleted atomically. After a failure, repeat the call to delete the rest.
        """

    @abc.abstractmethod
    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """Return the number of documents that match. The cost is that of reading the index range.

        Args:
            model: The model.
            *where: Conditions, as in `find` without a sort.
            limit: Stop counting at this number, at least 1. None: count all.
        """

    @abc.abstractmethod
    async def resolved_stamp(self) -> Timestamp:
        """Return the low watermark of the stamps.

        Every write that becomes visible after this call returns has a higher stamp.
        """

    @abc.abstractmethod
    def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """Iterate over all documents of a model in the order of their ids, with few in memory at a time.

        Concurrent writes may or may not be included. A document that exists throughout is returned exactly once.
        """

    @abc.abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Return a context manager that provides all documents, from one point in time if the store supports that."""

    @abc.abstractmethod
    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """Write documents of a copy exactly as they are, including their stamps, and return how many were written.

        Documents that the store already has in the same form are skipped. This is faster than `insert`; each write
        is atomic.

        Args:
            model: The model of the documents, which are not validated.
            documents: BSON whose first key is `_id`, an ObjectId. A stored document with the same id is replaced.

        Raises:
            DuplicateDocument: A document violates a unique index. Some of the others may have been written.
            DocumentTooLarge: A document is too large. As above.
        """

    @abc.abstractmethod
    async def clear(self, model: type[Model]) -> None:
        """Delete all documents of a model."""

    @abc.abstractmethod
    async def set_state(self, state: State) -> None:
        """Replace the state of the store, durably."""
