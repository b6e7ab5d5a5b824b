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
from todo_service.bounds.todos import STEPS, TITLE_LENGTH
from todo_service.exchange.formats.calendar_components import SORT_ORDER, Component
from todo_service.exchange.formats.calendar_order import has_sort_order, read_sort_order
from todo_service.exchange.formats.lines import ContentLine

_STEP_PROPERTIES: Final = frozenset(
    {"COMPLETED", "CREATED", "LAST-MODIFIED", "PERCENT-COMPLETE", "PRIORITY", "RELATED-TO", "STATUS", "SUMMARY", "UID"}
    | {SORT_ORDER}
)
"""The properties that a child has if a step can represent it."""


class SourceLocation(NamedTuple):
    """Where a todo is in the body: the number of its first line, and the offset of that line."""

    line: int
    offset: int


class _Child(NamedTuple):
    """A child.

    Attributes:
        location: Where it is.
        uid: The hash of its UID.
        parent: The hash of the UID of its parent.
        is_simple: Whether a step could represent it.
        is_sorted: Whether it states its place among the children.
        order: That place, or one that follows from its time of creation.
    """

    location: SourceLocation
    uid: int
    parent: int
    is_simple: bool
    is_sorted: bool
    order: float


class Relations:
    """The related todos of a file.

    Call `add` for each todo that may be related to another one, until `is_full`. Unless `is_empty`, call `note_uid`
    for the UID of each todo that is not an occurrence, and `add_named` if it returns True; then call `resolve`.
    """

    def __init__(self) -> None:
        self._children: list[_Child] = []
        self._occurrences: dict[int, list[SourceLocation]] = {}
        self._steps: dict[int, list[SourceLocation]] = {}
        self._wanted: set[int] = set()
        self._found: set[int] = set()
        self._owned: set[int] = set()
        self._parents: dict[int, int] = {}
        """The parents that name their children, by child."""
        self._missing_children: set[int] = set()
        """Those of the named children that have not been found yet."""
        self._lost: set[int] = set()
        """The children that a parent names and that are not steps."""
        self._count = self._added = 0

    @property
    def is_empty(self) -> bool:
        """Whether no todo is related to another."""
        return self._count == 0

    @property
    def is_full(self) -> bool:
        """Whether no more related todos are collected, so that further ones stand alone."""
        return max(self._count, self._added) >= IMPORT_RELATED

    def add(self, todo: Component) -> None:
        """Add a todo if it can be read and is related to another one."""
        self._added += 1
        if todo.rejected is not None:
            return
        uid, parent, location = read_uid(todo), read_parent(todo), SourceLocation(todo.line, todo.offset)
        if uid and "RECURRENCE-ID" in todo.properties:
            self._occurrences.setdefault(hash(uid), []).append(location)
            self._wanted.add(hash(uid))
            self._count += 1
            return
        if parent and parent != uid:
            self._add_child(todo, hash(uid), hash(parent))
        for child in read_children(todo)[: IMPORT_RELATED - self._count]:
            if uid and child != uid:
                self._parents.setdefault(hash(child), hash(uid))
                self._wanted.add(hash(uid))
                self._missing_children.add(hash(child))
                self._count += 1

    def _add_child(self, todo: Component, uid: int, parent: int) -> None:
        order = read_sort_order(todo)
        self._children.append(
            _Child(
                SourceLocation(todo.line, todo.offset),
                uid,
                parent,
                _is_simple(todo),
                has_sort_order(todo),
                float("inf") if order is None else order,
            )
        )
        self._wanted.add(parent)
        self._count += 1

    def note_uid(self, uid: str) -> bool:
        """Record that the file contains a todo with a UID. Return True if the todo must be passed to `add_named`."""
        if not uid:
            return False
        key = hash(uid)
        if key in self._wanted:
            self._found.add(key)
        is_named = key in self._missing_children
        self._missing_children.discard(key)
        return is_named

    def add_named(self, todo: Component) -> None:
        """Add a todo that another one names as its child."""
        uid = hash(read_uid(todo))
        if todo.rejected is None and uid in self._parents and not read_parent(todo):
            self._add_child(todo, uid, self._parents[uid])

    def resolve(self) -> None:
        """Decide which todos belong to others: occurrences to a recurring todo, and simple children to their parent.

        A child with children of its own stands alone, and so do children that exceed the steps of a todo.
        """
        self._occurrences = {uid: locations for uid, locations in self._occurrences.items() if uid in self._found}
        parents = {child.parent for child in self._children}
        sorted_parents = {child.parent for child in self._children if child.is_sorted}
        self._children.sort(
            key=lambda child: (child.order if child.parent in sorted_parents else 0, child.location.offset)
        )
        self._lost = set(self._parents)
        step_counts: Counter[int] = Counter()
        for child in self._children:
            if (
                child.is_simple
                and child.parent in self._found
                and child.uid not in parents
                and step_counts[child.parent] < STEPS
            ):
                step_counts[child.parent] += 1
                self._steps.setdefault(child.parent, []).append(child.location)
                self._lost.discard(child.uid)
        for locations in (*self._occurrences.values(), *self._steps.values()):
            self._owned.update(location.offset for location in locations)
        self._children.clear()
        self._parents.clear()

    def is_owned(self, todo: Component) -> bool:
        """Return whether a todo belongs to another one."""
        return todo.offset in self._owned

    def take_steps(self, uid: str) -> Sequence[SourceLocation]:
        """Return the children that are steps of a todo. If several todos have its UID, the first one gets them."""
        return self._steps.pop(hash(uid), ())

    def take_occurrences(self, uid: str) -> Sequence[SourceLocation]:
        """Return the changed occurrences of a recurring todo. See `take_steps`."""
        return self._occurrences.pop(hash(uid), ())

    def take_unclaimed(self) -> Iterator[SourceLocation]:
        """Yield the todos whose parent or series was not read, in the order of the file."""
        rest = [
            location for locations in (*self._steps.values(), *self._occurrences.values()) for location in locations
        ]
        self._steps.clear()
        self._occurrences.clear()
        return iter(sorted(rest))

    def warn(self, todo: Component) -> None:
        """Add a warning for each kind of relation of a todo that its draft does not represent."""
        related = todo.get_all("RELATED-TO")
        if any(map(is_parent, related)):
            todo.warn(
                "RELATED-TO was left out: the todo has more than a title, or its parent is missing, "
                "so it cannot be a step"
            )
        if any(hash(child) in self._lost for child in read_children(todo)):
            todo.warn("RELATED-TO was left out: the child has more than a title, or is missing, so it cannot be a step")
        if any(_get_type(line) not in ("PARENT", "CHILD") for line in related):
            todo.warn("RELATED-TO was left out, because it does not name the parent")


def _is_simple(todo: Component) -> bool:
    """Return whether a step could represent a child."""
    priority, title, related = todo.get("PRIORITY"), todo.get("SUMMARY"), todo.get_all("RELATED-TO")
    return (
        todo.properties.keys() <= _STEP_PROPERTIES
        and not (todo.alarms or todo.warnings)
        and (priority is None or priority.value.strip() in ("", "0"))
        and (title is None or len(title.text) <= TITLE_LENGTH)
        and len(related) <= 1
    )


def read_uid(todo: Component) -> str:
    """Return the UID of a todo, or an empty string."""
    found = todo.get("UID")
    return found.text.strip() if found is not None else ""


def read_parent(todo: Component) -> str:
    """Return the UID of the parent of a todo, or an empty string."""
    parents = (line for line in todo.get_all("RELATED-TO") if is_parent(line))
    return next((line.text.strip() for line in parents), "")


def read_children(todo: Component) -> list[str]:
    """Return the UIDs of the children that a todo names."""
    return [line.text.strip() for line in todo.get_all("RELATED-TO") if _get_type(line) == "CHILD"]


def is_parent(related: ContentLine) -> bool:
    """Return whether a RELATED-TO names the parent, which is the default."""
    return _get_type(related) == "PARENT"


def _get_type(related: ContentLine) -> str:
    return str(related.parameters.get("RELTYPE", "PARENT")).upper()
