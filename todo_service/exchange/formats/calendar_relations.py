"""The relations between the todos of a calendar file: children (RELATED-TO) and occurrences (RECURRENCE-ID).

Children may precede their parent, and completed occurrences may precede their recurring todo. `Relations` therefore
records the positions of related todos first, which are then read again together with the todo that they belong to.
Only related todos take memory, and their number is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from todo_service.bounds.exchange import IMPORT_RELATED
from todo_service.bounds.todos import STEPS
from todo_service.exchange.formats.calendar_components import Component
from todo_service.exchange.formats.lines import ContentLine

_STEP_PROPERTIES: Final = frozenset(
    {"COMPLETED", "CREATED", "LAST-MODIFIED", "PERCENT-COMPLETE", "PRIORITY", "RELATED-TO", "STATUS", "SUMMARY", "UID"}
)
"""The properties that a child has if a step can represent it."""


class Place(NamedTuple):
    """Where a todo is in the body: the number of its first line, and the offset of that line."""

    line: int
    offset: int


class _Child(NamedTuple):
    """A child: where it is, the hashes of its UID and of its parent's, and whether a step could represent it."""

    place: Place
    uid: int
    parent: int
    is_simple: bool


class Relations:
    """The related todos of a file.

    Call `add` for each todo that may be related to another one. Unless `is_empty`, call `find` for the UID of each todo
    that is not an occurrence, and then `resolve`.
    """

    def __init__(self) -> None:
        self._children: list[_Child] = []
        self._occurrences: dict[int, list[Place]] = {}
        self._steps: dict[int, list[Place]] = {}
        self._wanted: set[int] = set()
        self._found: set[int] = set()
        self._owned: set[int] = set()
        self._count = 0

    @property
    def is_empty(self) -> bool:
        """Whether no todo is related to another."""
        return self._count == 0

    @property
    def is_full(self) -> bool:
        """Whether further todos stand alone."""
        return self._count >= IMPORT_RELATED

    def add(self, todo: Component) -> None:
        """Add a todo if it can be read and is related to another one."""
        self._count += 1
        if todo.rejected is not None:
            return
        uid, parent, priority = read_uid(todo), read_parent(todo), todo.get("PRIORITY")
        place = Place(todo.line, todo.offset)
        if uid and "RECURRENCE-ID" in todo.properties:
            self._occurrences.setdefault(hash(uid), []).append(place)
            self._wanted.add(hash(uid))
        elif parent and parent != uid:
            is_simple = (
                todo.properties.keys() <= _STEP_PROPERTIES
                and not (todo.alarms or todo.warnings)
                and (priority is None or priority.value.strip() in ("", "0"))
            )
            self._children.append(_Child(place, hash(uid), hash(parent), is_simple))
            self._wanted.add(hash(parent))

    def find(self, uid: str) -> None:
        """Note that the file has a todo with a UID."""
        if uid and hash(uid) in self._wanted:
            self._found.add(hash(uid))

    def resolve(self) -> None:
        """Decide which todos belong to others: occurrences to a recurring todo, and simple children to their parent.

        A child with children of its own stands alone, and so do children that exceed the steps of a todo.
        """
        self._occurrences = {uid: places for uid, places in self._occurrences.items() if uid in self._found}
        parents = {child.parent for child in self._children}
        room: Counter[int] = Counter()
        for child in self._children:
            if (
                child.is_simple
                and child.parent in self._found
                and child.uid not in parents
                and room[child.parent] < STEPS
            ):
                room[child.parent] += 1
                self._steps.setdefault(child.parent, []).append(child.place)
        for places in (*self._occurrences.values(), *self._steps.values()):
            self._owned.update(place.offset for place in places)
        self._children.clear()

    def is_owned(self, todo: Component) -> bool:
        """Return whether a todo belongs to another one."""
        return todo.offset in self._owned

    def take_steps(self, uid: str) -> Sequence[Place]:
        """Return the children that are steps of a todo. If several todos have its UID, the first one gets them."""
        return self._steps.pop(hash(uid), ())

    def take_occurrences(self, uid: str) -> Sequence[Place]:
        """Return the changed occurrences of a recurring todo. See `take_steps`."""
        return self._occurrences.pop(hash(uid), ())

    def take_rest(self) -> Iterator[Place]:
        """Yield the todos that belong to others that were not read, in the order of the file."""
        rest = [place for places in (*self._steps.values(), *self._occurrences.values()) for place in places]
        self._steps.clear()
        self._occurrences.clear()
        return iter(sorted(rest))


def read_uid(todo: Component) -> str:
    """Return the UID of a todo, or an empty string."""
    found = todo.get("UID")
    return found.text.strip() if found is not None else ""


def read_parent(todo: Component) -> str:
    """Return the UID of the parent of a todo, or an empty string."""
    parents = (line for line in todo.get_all("RELATED-TO") if is_parent(line))
    return next((line.text.strip() for line in parents), "")


def is_parent(related: ContentLine) -> bool:
    """Return whether a RELATED-TO names the parent, which is the default."""
    return str(related.parameters.get("RELTYPE", "PARENT")).upper() == "PARENT"
