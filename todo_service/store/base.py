"""The document store: one small interface, its promises and its errors.

A store keeps ODMantic models as documents and knows nothing else: no rule, no HTTP, no other room. Two stores stand
behind the interface, `embedded` (LMDB) and `mongodb` (motor); `tests/store/test_conformance.py` is its definition.

Writes
    Every call of `insert` (for each document), `update` and `delete` (for each document) is atomic and durable when it
    returns: no reader sees half of a document, and neither the loss of the process nor of the machine's power takes
    back what was answered. There are no transactions over several documents, so rules are built to need none.

Conditions
    `where` takes ODMantic expressions on the model's fields, joined by and: `Todo.owner == me, Todo.version == 3`.
    The operators are those in `OPERATORS`, joined by `&` and `|`; anything else raises `UnsupportedExpression`, on
    both stores alike. They mean what MongoDB says they mean:

    * values of different kinds (null, number, text, bytes, ObjectId, boolean, time) are never equal and never
      comparable by `<`, `<=`, `>`, `>=`; integers and floats are one kind, compared by value;
    * a key that is missing in a stored document is null; `!=` and `not_in` match it too unless null is excluded;
    * a condition on a list holds if it holds for one of its elements (`Todo.tags == "home"`), `!=` and `not_in`
      hold if no element is equal;
    * `starts_with(Todo.words, "gard")` holds for a text, or an element of a list, that begins with these characters.

Order
    null, numbers, text (by code point), bytes, ObjectId, boolean, time, stamp; a sort on a list is refused.

Stamps
    A field of the type `Stamp` is written by the store itself, at every insert and every update of the document, from a
    clock of its own: of two writes to a store, the one that is carried out later has the higher stamp. `settled` says
    up to which stamp every write is either visible or will never be, so that whoever has read everything up to there
    has missed nothing, however many processes write.

Indexes
    `find`, `get` by anything but the id, and `delete` are served by an index that the model declares: `find` must be
    sorted by an index whose leading fields are fixed, or not at all. A field is fixed by equality, or by `in_` of a few
    values: up to 100 ranges are then read side by side and merged. What no index serves raises
    `UnsupportedExpression`, so that no query ever grows with the number of accounts. A query that an index serves may
    still carry further conditions; they are applied to each document that the index yields. Where several indexes
    serve, the one is read that holds the conditions that come first: the rarest belongs to the front. An index holds
    at most one list, where the model declares a list, of `INDEXED_ELEMENTS` at most; NaN, integers of more than 64 bits
    and documents cannot stand in one. A text or bytes in an index must be short: the keys of an index that may hold
    text share 510 bytes, less 13 for the id and 27 for each other key, so a text beside an owner and a flag has 440
    bytes of UTF-8. A longer one raises `UnsupportedExpression` when it is written; a condition may name a text of any
    length.

Size
    A document is `DOCUMENT_BYTES` of BSON at most, on both stores: `insert` raises `DocumentTooLarge` for a longer one,
    and so does `update` where its changes alone are more than 16 KiB. Smaller changes are not measured; `load` allows
    for what they may add, and raises it beyond `LOADED_DOCUMENT_BYTES`.

Generations
    A store has a generation, which is a random name. A copy keeps every document as it is stored, its stamp included,
    and the target store begins a new generation once the copy is complete (`store.transfer.copying`). Stamps of
    different generations cannot be compared, because a restored store may be older than what a client has already
    seen. Store the generation with each stamp, and start over if the generation has changed.
"""

from __future__ import annotations

import abc
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, Generic, TypeVar, overload

import msgspec
from bson import ObjectId, Timestamp
from odmantic import Model
from odmantic.query import QueryExpression, SortExpression
from pydantic_core import CoreSchema, core_schema

OPERATORS: Final = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")
"""The comparisons that a condition may use, beside `starts_with`; `$and` and `$or` join them."""


class Stamp(Timestamp):
    """A moment of the store's clock: seconds, and a count within them (BSON's timestamp).

    As the type of a model's field it asks the store to write it; `UNSTAMPED` is the field's default.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> CoreSchema:
        return core_schema.is_instance_schema(Timestamp)


UNSTAMPED: Final = Stamp(0, 0)
"""What a stamp is before the store has written the document."""


ModelT = TypeVar("ModelT", bound=Model)
StructT = TypeVar("StructT", bound=msgspec.Struct)

DocumentT = TypeVar("DocumentT")


class FindResult(list[DocumentT], Generic[DocumentT]):
    """Documents in the order in which they were found.

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


def starts_with(field: Any, text: str) -> Condition:
    """Return the condition that a text, or an element of a list, begins with these characters, as they are.

    Args:
        field: A model's field.
        text: At least one character.
    """
    return QueryExpression({+field: {"$regex": "^" + re.escape(text)}})


class Access(Enum):
    """What a store is opened for."""

    SERVE = auto()
    """To serve documents: what the models need is made, and what expires is deleted."""
    READ = auto()
    """To be read by `snapshot`: nothing is made or changed, and what is not there cannot be opened."""
    RESTORE = auto()
    """To be filled by `load`: what the models need is made, nothing expires, and nobody else may serve from it."""


class State(msgspec.Struct, frozen=True):
    """What a store knows about itself.

    Attributes:
        generation: See the module's docstring; empty in a store that is only read and was never given one.
        restoring_from: The source of an unfinished copy into it, or None. The store cannot be served or read until
            the copy is complete.
    """

    generation: str
    restoring_from: str | None = None


class Snapshot(abc.ABC):
    """Every document that a store or a backup holds, as BSON.

    Attributes:
        taken_at: When it was taken.
        point_in_time: Whether what is written meanwhile does not appear in it. It may become false while the
            documents are read.
    """

    taken_at: datetime
    point_in_time: bool

    @abc.abstractmethod
    async def size(self, model: type[Model]) -> int:
        """Return about how many documents of a model there are, at little cost."""

    @abc.abstractmethod
    def documents(self, model: type[Model], after: ObjectId | None = None) -> AsyncGenerator[list[bytes], None]:
        """Go through the documents of a model in the order of their ids, a few MiB at a time.

        Each is as it is stored, with `_id` as its first key: the same document is the same bytes in every store.

        Args:
            model: The model.
            after: Only those whose id is greater.
        """


class DocumentStore(abc.ABC):
    """Documents of a few models, kept safe. See the module's docstring for what holds for every call.

    Every call but `open` and `close` may raise `StoreUnavailable`.

    Attributes:
        state: Known as soon as the store is open.
    """

    state: State

    @abc.abstractmethod
    async def open(self, *models: type[Model], access: Access = Access.SERVE) -> None:
        """Make the store ready for these models, creating what they need (folders, collections, indexes).

        Opening again what is there changes nothing; an index that a model newly declares is built from the documents.

        Args:
            *models: Every model that will be used with this store.
            access: What for.

        Raises:
            StoreUnusable: the store is not ours, damaged, locked against writing or misconfigured; a copy into it is
                unfinished; it is to receive one and a service has it open.
            StoreUnavailable: it does not answer at present.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Finish the writes that were accepted, then let go of everything. Closing twice is allowed."""

    @abc.abstractmethod
    async def ping(self) -> None:
        """Return if the store answers reads and writes at present.

        Raises:
            StoreUnavailable: it does not.
        """

    @abc.abstractmethod
    async def insert(self, *documents: Model) -> None:
        """Write new documents. Each is atomic by itself; those of one model are written in order until one fails.

        Args:
            *documents: Validated models of one class with their ids set.

        Raises:
            DuplicateDocument: one clashes with a stored document; those before it are written, it and the rest not.
            DocumentTooLarge: likewise, one is too large.
            UnsupportedExpression: likewise, one cannot be stored or indexed.
        """

    @overload
    async def get(self, model: type[ModelT], *where: Condition) -> ModelT | None: ...

    @overload
    async def get(self, model: type[ModelT], *where: Condition, into: type[StructT]) -> StructT | None: ...

    @abc.abstractmethod
    async def get(self, model: type[ModelT], *where: Condition, into: type[Any] | None = None) -> Any:
        """Read one document.

        Args:
            model: The model to look among.
            *where: Conditions; equality on the id or on the leading fields of a declared index is among them.
            into: A Struct that takes the fields it names by the document's keys (`id` for `_id`), converted from the
                stored BSON without building the model. Where the Struct says `str`, an ObjectId arrives as 24 hex
                digits and a time as RFC 3339 text in UTC with milliseconds and `Z`; where it says `datetime`, a time
                arrives as one with a UTC offset. A Struct of
                `derive_struct` has the values that the model has. Do not change the result: callers may share it.

        Returns:
            The document, as a model or as the Struct, or None. Which one if several match is not said.
        """

    @overload
    async def find(
        self, model: type[ModelT], *where: Condition, sort: Sort | None, limit: int, max_bytes: int | None = None
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
    ) -> FindResult[Any]:
        """Read documents in order, as of one moment.

        Args:
            model: The model to look among.
            *where: Conditions. There is no skip: a following page is a condition on the sort's fields.
            sort: One or more of ODMantic's `asc` / `desc`, all of one direction, that together with the conditions
                of equality follow a declared index. Which of two documents equal in all sorted fields comes first is
                not said: end with the id where it matters. None: in any order, by any index, also one that holds a
                list whose elements are to begin with a text; each document comes once.
            limit: How many at most, 1 to 10 000.
            max_bytes: The search ends with the document with which the BSON that was read reaches this size, so that
                at least one document is returned where one matches; at most 8 MiB. None for no such bound.
            into: As in `get`.

        Returns:
            The documents that match, in order; `truncated` says whether `max_bytes` ended the search.

        Raises:
            UnsupportedExpression: no declared index serves this.
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
        """Change one document where the conditions hold at the moment of writing: find and modify, atomic.

        Of several writers with the same condition on a field that they change (`Todo.version == 3`) one succeeds.

        Args:
            model: The model to look among.
            *where: Conditions; equality on the id is among them.
            changes: New values by the model's field names; each is validated as the model would. Other fields stay
                as they are stored, whatever another writer did to them. Without any nothing changes, and what is
                returned is durable, which what a member of MongoDB that was cut off is only asked to read is not.
            into: As in `get`.

        Returns:
            The new document, as a model or as the Struct, or None where no document matches; then nothing was written.

        Raises:
            DuplicateDocument: the change clashes with a unique index; nothing was written.
            DocumentTooLarge: the document would be too large; nothing was written.
            pydantic.ValidationError: a value does not fit the model; nothing was written.
        """

    @abc.abstractmethod
    async def delete(self, model: type[Model], *where: Condition) -> int:
        """Delete every document where the conditions hold. Each is atomic by itself; deleting again finishes the rest.

        Returns:
            How many were deleted.
        """

    @abc.abstractmethod
    async def count(self, model: type[Model], *where: Condition, limit: int | None = None) -> int:
        """Count the documents where the conditions hold; costs what reading the index's range costs.

        Args:
            model: The model to look among.
            *where: Conditions, as of `find` in no order.
            limit: Where to stop counting; at least 1. None: nowhere.
        """

    @abc.abstractmethod
    async def resolved_stamp(self) -> Timestamp:
        """Return a stamp up to which nothing is under way: a write that is not visible to a read that begins after
        this has returned, and is carried out all the same, will have a higher stamp.
        """

    @abc.abstractmethod
    def scan(self, model: type[ModelT]) -> AsyncIterator[ModelT]:
        """Go through all documents of a model in the order of their ids, however many, holding few at a time.

        Documents that are written meanwhile may or may not come; none that stays comes twice or is left out.
        """

    @abc.abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Give every document, as of one moment where the store can do that, for as long as the context lasts.

        The embedded store keeps old pages for as long, so that its file may grow meanwhile. MongoDB needs a replica
        set or a sharded cluster for it.
        """

    @abc.abstractmethod
    async def load(self, model: type[Model], documents: Sequence[bytes]) -> int:
        """Write documents as they are, their stamps too; what is there already, just so, is left alone. For a copy:
        faster than `insert`, and each document is atomic as there.

        Args:
            model: Their model; they are not validated.
            documents: BSON with an ObjectId in `_id` as the first key. One with the id of another replaces it.

        Returns:
            How many were written.

        Raises:
            DuplicateDocument: one clashes with another document; some of the others may have been written.
            DocumentTooLarge: likewise, one is too large.
        """

    @abc.abstractmethod
    async def clear(self) -> None:
        """Delete every document of every model that the store was opened for."""

    @abc.abstractmethod
    async def set_state(self, state: State) -> None:
        """Change what the store knows about itself, durably."""
