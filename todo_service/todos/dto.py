"""The requests and responses of the todo endpoints.

Bounds that apply after normalization appear only in the schema (`api_types.SHOWN`); `todos.validation` enforces them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from operator import attrgetter
from typing import Annotated, Final, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.api_types import (
    DEFAULT_LIMIT,
    Count,
    Cursor,
    Id,
    Limit,
    NextCursor,
    Time,
    TimeZone,
    Version,
)
from todo_service.bounds.texts import QUERY_LENGTH, SEARCHED_WORD_LENGTH, SEARCHED_WORDS
from todo_service.bounds.todos import (
    FILTERED_TAGS,
    QUERY_WORDS,
    STEPS,
)
from todo_service.decoding import declare_read_only
from todo_service.store.structs import build_struct
from todo_service.timestamps import Timestamp
from todo_service.todos.documents import Todo as TodoDocument
from todo_service.todos.field_types import (
    COMPLETED_AT,
    Completed,
    CompletedAt,
    Date,
    Description,
    DueAt,
    DueOn,
    ListId,
    OwnTimeZone,
    Position,
    Priority,
    RecurrenceExcept,
    RecurrenceFrom,
    RecurrenceText,
    StartAt,
    StartOn,
    StepId,
    Tag,
    Tags,
    Title,
    TodoSort,
    Uid,
)
from todo_service.todos.import_types import (
    ImportedDescription,
    ImportedExceptions,
    ImportedReminders,
    ImportedSteps,
    ImportedStepTitle,
    ImportedTags,
    ImportedTitle,
)
from todo_service.todos.moves import Move
from todo_service.todos.reminder_types import NewReminders, Reminder


class StepCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new step of a checklist."""

    title: Title
    completed: Completed = False
    id: StepId | UnsetType = UNSET


class Step(msgspec.Struct, frozen=True):
    """A step of a todo's checklist."""

    id: Id
    title: Title
    completed: Completed


NewSteps = Annotated[
    list[StepCreate],
    Meta(max_length=STEPS, description="The checklist. Step ids are unique within a todo."),
]


class TodoCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new todo."""

    title: Title
    description: Description = ""
    completed: Completed = False
    priority: Priority = "none"
    due_at: DueAt = None
    due_on: DueOn = None
    start_at: StartAt = None
    start_on: StartOn = None
    time_zone: OwnTimeZone = None
    tags: Tags = []
    list_id: ListId | None = None
    steps: NewSteps = []
    recurrence: RecurrenceText | None = None
    recurrence_from: RecurrenceFrom = "due"
    recurrence_except: RecurrenceExcept = []
    reminders: NewReminders = []
    position: Position | UnsetType = UNSET
    uid: Uid | UnsetType = UNSET


class TodoUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of a todo. Null resets an optional field to its default."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    completed: Completed | UnsetType = UNSET
    completed_at: Annotated[
        CompletedAt | UnsetType | None,
        Meta(
            description=(
                f"{COMPLETED_AT} A value requires `completed: true`. Null has no effect, and is rejected if the todo "
                "is completed and the patch does not set `completed`."
            )
        ),
    ] = UNSET
    priority: Priority | UnsetType | None = UNSET
    due_at: DueAt | UnsetType = UNSET
    due_on: DueOn | UnsetType = UNSET
    start_at: StartAt | UnsetType = UNSET
    start_on: StartOn | UnsetType = UNSET
    time_zone: OwnTimeZone | UnsetType = UNSET
    tags: Tags | UnsetType | None = UNSET
    list_id: ListId | UnsetType | None = UNSET
    steps: NewSteps | UnsetType | None = UNSET
    recurrence: RecurrenceText | UnsetType | None = UNSET
    recurrence_from: RecurrenceFrom | UnsetType | None = UNSET
    recurrence_except: RecurrenceExcept | UnsetType | None = UNSET
    reminders: NewReminders | UnsetType | None = UNSET
    position: Position | UnsetType = UNSET


_IGNORED = "Ignored. Accepted so that exported todos can be imported."
OldText = Annotated[Annotated[str, Meta(max_length=100)] | None, Meta(description=_IGNORED)]
OldVersion = Annotated[Annotated[int, Meta(ge=0, le=2**53 - 1)] | None, Meta(description=_IGNORED)]


class StepImport(StepCreate, forbid_unknown_fields=True):
    """A step of an imported todo. Its title may have any length."""

    title: ImportedStepTitle


class TodoImport(TodoCreate, forbid_unknown_fields=True):
    """A todo to import. Accepts every field of `Todo`, but ignores those that the service sets itself."""

    title: ImportedTitle
    description: ImportedDescription = ""
    tags: ImportedTags = []
    steps: Annotated[list[StepImport], ImportedSteps] = []  # type: ignore[assignment]  # nothing adds a `StepCreate` to it
    recurrence_except: ImportedExceptions = []
    reminders: ImportedReminders = []
    completed_at: Annotated[Timestamp | None, Meta(description="When it was completed; null if open.")] = None
    last_completed_at: Annotated[
        Timestamp | None, Meta(description="When it was last completed, if it recurs; null for never.")
    ] = None
    created_at: Annotated[Timestamp | UnsetType, Meta(description="When it was created; by default now.")] = UNSET
    id: OldText = None
    version: OldVersion = None
    updated_at: OldText = None


class TodoMove(Move, forbid_unknown_fields=True):
    """A new place in the manual order of a list: exactly one of `before`, `after` and `to`.

    Completed todos keep their places in the order, and so count as neighbors too.
    """

    list_id: Annotated[
        ListId | UnsetType | None,
        Meta(description="The list to move the todo to, null for the inbox; by default it stays in its list."),
    ] = UNSET


class Todo(msgspec.Struct, frozen=True, dict=True):
    """A todo."""

    id: Id
    title: Title
    description: Description
    completed: Completed
    completed_at: Annotated[Time | None, Meta(description="When it was completed; null if open.", examples=[None])]
    priority: Priority
    due_at: Annotated[Time | None, Meta(description="The moment at which it is due; null for none.")]
    due_on: DueOn
    start_at: Annotated[Time | None, Meta(description="The moment at which it starts; null for none.", examples=[None])]
    start_on: StartOn
    time_zone: OwnTimeZone
    tags: Tags
    list_id: ListId | None
    steps: Annotated[list[Step], Meta(description="The checklist.")]
    recurrence: RecurrenceText | None
    recurrence_from: RecurrenceFrom
    recurrence_except: RecurrenceExcept
    last_completed_at: Annotated[
        Time | None, Meta(description="When it was last completed, if it recurs; null for never.", examples=[None])
    ]
    reminders: Annotated[list[Reminder], Meta(description="When to send reminders.")]
    position: Position
    uid: Uid
    version: Version
    created_at: Time
    updated_at: Time

    @classmethod
    def from_document(cls, document: TodoDocument) -> Todo:
        """Return the API representation of a todo."""
        return build_struct(document, cls)

    @cached_property
    def encoded(self) -> msgspec.Raw:
        """The todo as JSON. Todos that were read recently are cached (`store.codec`), and with them their JSON."""
        return msgspec.Raw(msgspec.json.encode(self))


def encode_todos(todos: Iterable[Todo]) -> list[Todo]:
    """Return encoded todos, typed as todos so that they fit into a response. Its encoder copies them as they are."""
    return cast("list[Todo]", [todo.encoded for todo in todos])


_GET_FIELDS: Final = attrgetter(*Todo.__struct_fields__)


class ListedTodo(Todo, frozen=True):
    """A todo with the stored keys by which lists are sorted, which no response contains.

    Attributes:
        due_end: See `todos.schedule`.
        title_key: See `todos.collation`. It may be of an earlier version of the collation.
        priority_rank: See `todos.fields`.
    """

    due_end: str | None
    title_key: str
    priority_rank: int

    @cached_property
    def api_view(self) -> Todo:
        """The fields that the API shows."""
        return Todo(*_GET_FIELDS(self))


class TodoComplete(msgspec.Struct, forbid_unknown_fields=True):
    """How a todo is completed."""

    completed_at: Annotated[
        Timestamp | None, Meta(description=COMPLETED_AT, examples=["2026-01-31T09:00:00+01:00"])
    ] = None


class Completion(msgspec.Struct, frozen=True):
    """A completion of a todo."""

    completed_at: Annotated[Time, Meta(description="When it was completed.")]
    due_at: Annotated[Time, Meta(description="When it was due, if at a moment.")] | UnsetType = UNSET
    due_on: Annotated[Date, Meta(description="The day on which it was due, if on a day.")] | UnsetType = UNSET


class Completions(msgspec.Struct, frozen=True):
    """The last completions of a todo."""

    items: Annotated[list[Completion], Meta(description="The completions, the newest first.")]


class TodoPage(msgspec.Struct, frozen=True):
    """A page of todos."""

    items: Annotated[list[Todo], Meta(description="The todos of this page.")]
    next_cursor: NextCursor


_DAY_DUE = "A todo that is due on a day is due when the day ends in its time zone."


class TodoQuery(msgspec.Struct, frozen=True):
    """The filters, sort order and page of a list of todos."""

    completed: Annotated[bool | UnsetType, Meta(description="Only completed todos, or only open ones.")] = UNSET
    priority: Annotated[
        list[Priority], Meta(max_length=FILTERED_TAGS, description="Only todos with one of these priorities.")
    ] = []
    tag: Annotated[
        list[Annotated[str, Meta(max_length=QUERY_LENGTH)]],
        Meta(max_length=FILTERED_TAGS, description="Only todos with all of these tags, compared in NFC."),
    ] = []
    list_id: Annotated[
        Annotated[str, Meta(max_length=24)] | UnsetType,
        Meta(
            description="Only todos in this list; `inbox` for todos in no list.",
            extra_json_schema={"pattern": "^(inbox|[0-9a-f]{24})$"},
        ),
    ] = UNSET
    due_after: Annotated[Timestamp | UnsetType, Meta(description=f"Only todos due after this time. {_DAY_DUE}")] = UNSET
    due_before: Annotated[Timestamp | UnsetType, Meta(description=f"Only todos due before this time. {_DAY_DUE}")] = (
        UNSET
    )
    overdue: Annotated[
        bool | UnsetType,
        Meta(description=f"Only overdue todos (open, with a due date in the past), or only others. {_DAY_DUE}"),
    ] = UNSET
    created_after: Annotated[Timestamp | UnsetType, Meta(description="Only todos created after this time.")] = UNSET
    created_before: Annotated[Timestamp | UnsetType, Meta(description="Only todos created before this time.")] = UNSET
    updated_after: Annotated[Timestamp | UnsetType, Meta(description="Only todos updated after this time.")] = UNSET
    q: Annotated[
        Annotated[str, Meta(max_length=QUERY_LENGTH)] | UnsetType,
        Meta(
            description=(
                "Only todos that match every word. A word matches the start of a word in the title, description or "
                "steps, ignoring case, accents, strokes and ligatures: `strasse` finds `Straße`. In scripts without "
                "spaces, such as Chinese, Japanese and Thai, it matches anywhere. Text without a word matches nothing. "
                f"At most {QUERY_WORDS} different words. The search covers the first {SEARCHED_WORDS} different words "
                f"of a todo, and the first {SEARCHED_WORD_LENGTH} characters of each."
            ),
        ),
    ] = UNSET
    sort: TodoSort = "created_at"
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET


class TagCount(msgspec.Struct, frozen=True):
    """A tag and the number of its todos."""

    name: Tag
    count: Annotated[Count, Meta(description="The number of todos with this tag.")]


class TagCounts(msgspec.Struct, frozen=True):
    """The tags in use."""

    items: Annotated[list[TagCount], Meta(description="The tags, sorted by name.")]


class TodoListCount(msgspec.Struct, frozen=True):
    """A list and the number of its todos."""

    list_id: Annotated[ListId | None, Meta(description="The id of the list; null for the inbox.")]
    count: Annotated[Count, Meta(description="The number of todos in this list.")]


class PriorityCounts(msgspec.Struct, frozen=True):
    """The number of todos with each priority."""

    none: Count
    low: Count
    medium: Count
    high: Count
    urgent: Count


class Summary(msgspec.Struct, frozen=True):
    """The number of todos. The counts by priority, list and tag include completed todos."""

    open: Count
    completed: Count
    overdue: Annotated[Count, Meta(description="Open todos with a due date in the past.")]
    due_today: Annotated[
        Count,
        Meta(
            description=(
                "Open todos due today in the requested time zone. A todo that is due on a day is due at the moment at "
                "which the day ends in its own time zone, which may be another day in the requested one."
            )
        ),
    ]
    by_priority: PriorityCounts
    by_list: Annotated[list[TodoListCount], Meta(description="The lists that have todos.")]
    by_tag: Annotated[list[TagCount], Meta(description="The tags in use.")]


class SummaryQuery(msgspec.Struct, frozen=True):
    """The time zone of a summary."""

    tz: Annotated[
        TimeZone | UnsetType,
        Meta(description="The IANA time zone that defines today; by default the account's."),
    ] = UNSET


declare_read_only(Todo, TodoCreate, TodoUpdate)
