"""What the API says and hears of todos.

Bounds that apply after trimming stand in the schema only (`fields.SHOWN`); `todos.service` enforces them.
"""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.bounds.texts import QUERY_LENGTH, SEARCHED_WORD_LENGTH, SEARCHED_WORDS
from todo_service.bounds.todos import (
    BATCH_OPERATIONS,
    DESCRIPTION_LENGTH,
    FILTERED_TAGS,
    GIVEN_TAGS,
    QUERY_WORDS,
    RECURRENCE_LENGTH,
    STEPS,
    TAG_LENGTH,
    TAGS,
    TITLE_LENGTH,
)
from todo_service.fields import (
    DEFAULT_LIMIT,
    SHOWN,
    Count,
    Cursor,
    Id,
    Limit,
    NextCursor,
    Time,
    TimeZone,
    Version,
    constrain_text,
)
from todo_service.timestamps import Timestamp, format_timestamp
from todo_service.todos.documents import Todo as TodoDocument

Priority = Annotated[
    Literal["none", "low", "medium", "high", "urgent"],
    Meta(title="Priority", description="How much it matters.", examples=["high"]),
]
Sort = Annotated[
    Literal[
        "created_at",
        "-created_at",
        "updated_at",
        "-updated_at",
        "due_at",
        "-due_at",
        "priority",
        "-priority",
        "title",
        "-title",
        "position",
        "-position",
    ],
    Meta(
        title="TodoSort",
        description="The order, `-` for descending; todos without a due date come last either way.",
        examples=["-priority"],
    ),
]

Title = Annotated[str, constrain_text(TITLE_LENGTH, "1 to 200 characters after trimming.", "Water the plants")]
Description = Annotated[
    str,
    Meta(
        max_length=DESCRIPTION_LENGTH,
        description="Whatever else is to be said.",
        examples=["The ficus needs little."],
    ),
]
Tag = Annotated[str, constrain_text(TAG_LENGTH, "1 to 50 characters after trimming.", "home")]
Tags = Annotated[
    list[Tag],
    Meta(
        max_length=GIVEN_TAGS,
        description="A double is dropped, the order kept.",
        extra_json_schema={SHOWN: {"maxItems": TAGS}},
    ),
]
Position = Annotated[
    float,
    Meta(
        ge=-sys.float_info.max,
        le=sys.float_info.max,
        description="Manual order: a todo moves between two others by a number between theirs.",
        examples=[1024.0],
        extra_json_schema={SHOWN: {"minimum": None, "maximum": None}},
    ),
]
ListId = Annotated[
    str,
    Meta(
        max_length=24,
        description="The list that it is in, by its id; null is the inbox.",
        examples=[None],
        extra_json_schema={"pattern": "^[0-9a-f]{24}$", "format": "list-id"},
    ),
]
Completed = Annotated[bool, Meta(description="Whether it is done.", examples=[False])]
DueAt = Annotated[
    Timestamp | None,
    Meta(
        description="When it is due: RFC 3339, with any offset; null for never.", examples=["2027-01-31T09:00:00+01:00"]
    ),
]

StepId = Annotated[
    str,
    Meta(
        description="24 hex digits; made where it is not given.",
        examples=["65f1a2b3c4d5e6f708192a3d"],
        max_length=24,
        pattern="^[0-9a-f]{24}$",
    ),
]
Recurrence = Annotated[
    str,
    Meta(
        description=(
            "A recurrence rule (RFC 5545): FREQ (DAILY, WEEKLY, MONTHLY, YEARLY), INTERVAL, BYDAY, BYMONTHDAY, "
            "BYMONTH, and COUNT (how many times are left) or UNTIL. Needs a due date."
        ),
        examples=["FREQ=WEEKLY;BYDAY=MO"],
        max_length=RECURRENCE_LENGTH,
        extra_json_schema={"format": "recurrence"},
    ),
]


class StepCreate(msgspec.Struct, forbid_unknown_fields=True):
    """An item of a checklist, as it is given."""

    title: Title
    completed: Completed = False
    id: StepId | UnsetType = UNSET


class Step(msgspec.Struct):
    """An item of a todo's checklist."""

    id: Id
    title: Title
    completed: Completed


NewSteps = Annotated[
    list[StepCreate],
    Meta(max_length=STEPS, description="The checklist; each step with its own id."),
]


class TodoCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new todo."""

    title: Title
    description: Description = ""
    completed: Completed = False
    priority: Priority = "none"
    due_at: DueAt = None
    tags: Tags = []
    list_id: ListId | None = None
    steps: NewSteps = []
    recurrence: Recurrence | None = None
    position: Position | UnsetType = UNSET


class TodoUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A merge patch (RFC 7396) of a todo: null sets an optional field back to what a new todo has."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    completed: Completed | UnsetType = UNSET
    priority: Priority | UnsetType | None = UNSET
    due_at: DueAt | UnsetType = UNSET
    tags: Tags | UnsetType | None = UNSET
    list_id: ListId | UnsetType | None = UNSET
    steps: NewSteps | UnsetType | None = UNSET
    recurrence: Recurrence | UnsetType | None = UNSET
    position: Position | UnsetType = UNSET


_NOT_KEPT = "May be given, as it was exported, and is not kept."
OldText = Annotated[Annotated[str, Meta(max_length=100)] | None, Meta(description=_NOT_KEPT)]
OldVersion = Annotated[Annotated[int, Meta(ge=0, le=2**53 - 1)] | None, Meta(description=_NOT_KEPT)]


class TodoImport(TodoCreate, forbid_unknown_fields=True):
    """A todo that comes from elsewhere: what `Todo` has may be given, and what the service alone gives is not kept."""

    completed_at: Annotated[Timestamp | None, Meta(description="When it was completed, if it is.")] = None
    created_at: Annotated[Timestamp | UnsetType, Meta(description="When it was made; now unless it is given.")] = UNSET
    id: OldText = None
    version: OldVersion = None
    updated_at: OldText = None


class Todo(msgspec.Struct):
    """A todo."""

    id: Id
    title: Title
    description: Description
    completed: Completed
    completed_at: Annotated[Time | None, Meta(description="When it was completed.", examples=[None])]
    priority: Priority
    due_at: Annotated[Time | None, Meta(description="When it is due; null for never.")]
    tags: Tags
    list_id: ListId | None
    steps: Annotated[list[Step], Meta(description="The checklist.")]
    recurrence: Recurrence | None
    position: Position
    version: Version
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, document: TodoDocument) -> Todo:
        """Return what the API shows of a stored todo."""
        return cls(
            id=str(document.id),
            title=document.title,
            description=document.description,
            completed=document.completed,
            completed_at=format_timestamp(document.completed_at) if document.completed_at else None,
            priority=document.priority,  # type: ignore[arg-type]  # only `service` writes it, from a Priority
            due_at=format_timestamp(document.due_at) if document.due_at else None,
            tags=document.tags,
            list_id=str(document.list_id) if document.list_id else None,
            steps=[Step(step.id, step.title, step.completed) for step in document.steps],
            recurrence=document.recurrence,
            position=document.position,
            version=document.version,
            created_at=format_timestamp(document.created_at),
            updated_at=format_timestamp(document.updated_at),
        )


class TodoPage(msgspec.Struct):
    """A page of todos."""

    items: Annotated[list[Todo], Meta(description="The todos of this page.")]
    next_cursor: NextCursor


class TodoQuery(msgspec.Struct, frozen=True):
    """The filters, the order and the page of a list of todos."""

    completed: Annotated[bool | UnsetType, Meta(description="Only those that are, or are not, completed.")] = UNSET
    priority: Annotated[
        list[Priority], Meta(max_length=FILTERED_TAGS, description="Only those of one of these priorities.")
    ] = []
    tag: Annotated[
        list[Annotated[str, Meta(max_length=QUERY_LENGTH)]],
        Meta(max_length=FILTERED_TAGS, description="Only those that have all these tags."),
    ] = []
    list_id: Annotated[
        Annotated[str, Meta(max_length=24)] | UnsetType,
        Meta(
            description="Only those of this list; `inbox` for those of none.",
            extra_json_schema={"pattern": "^(inbox|[0-9a-f]{24})$"},
        ),
    ] = UNSET
    due_after: Annotated[Timestamp | UnsetType, Meta(description="Only those due after this moment.")] = UNSET
    due_before: Annotated[Timestamp | UnsetType, Meta(description="Only those due before this moment.")] = UNSET
    overdue: Annotated[
        bool | UnsetType, Meta(description="Only those that are, or are not, open with a due date in the past.")
    ] = UNSET
    created_after: Annotated[Timestamp | UnsetType, Meta(description="Only those created after this moment.")] = UNSET
    created_before: Annotated[Timestamp | UnsetType, Meta(description="Only those created before this moment.")] = UNSET
    updated_after: Annotated[Timestamp | UnsetType, Meta(description="Only those updated after this moment.")] = UNSET
    q: Annotated[
        Annotated[str, Meta(max_length=QUERY_LENGTH)] | UnsetType,
        Meta(
            description=(
                "Only those where every word is the start of a word in title, description or steps, whatever the case "
                f"and accents; at most {QUERY_WORDS} different words. Of a todo's different words the first "
                f"{SEARCHED_WORDS} are searched, and of a word the first {SEARCHED_WORD_LENGTH} characters."
            ),
        ),
    ] = UNSET
    sort: Sort = "created_at"
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | UnsetType = UNSET


class Changes(msgspec.Struct):
    """A page of what has changed."""

    changed: Annotated[list[Todo], Meta(description="The todos as they are now.")]
    deleted: Annotated[list[Id], Meta(description="The todos that have been deleted.")]
    next: Annotated[str, Meta(description="`since` of the next call.", examples=["3q2-7wAAAAE"])]
    has_more: Annotated[bool, Meta(description="Whether the next call has more at once.", examples=[False])]


class ChangesQuery(msgspec.Struct, frozen=True):
    """From where on changes are asked for."""

    since: Annotated[
        Annotated[str, Meta(max_length=4096, extra_json_schema={"format": "cursor"})] | UnsetType,
        Meta(description="`next` of the page before; absent for everything."),
    ] = UNSET
    limit: Limit = DEFAULT_LIMIT


class BatchOperation(msgspec.Struct, forbid_unknown_fields=True):
    """One of the operations of a batch."""

    op: Annotated[
        Literal["create", "update", "delete", "complete", "reopen"],
        Meta(title="BatchOperationKind", description="What is to be done.", examples=["create"]),
    ]
    id: Annotated[
        Annotated[str, Meta(max_length=100)] | UnsetType, Meta(description="The todo; for all but `create`.")
    ] = UNSET
    todo: Annotated[
        msgspec.Raw | UnsetType,
        Meta(
            description="A new todo for `create`, a merge patch for `update`.",
            extra_json_schema={
                "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("TodoCreate", "TodoUpdate")]
            },
        ),
    ] = UNSET
    if_match: Annotated[
        Annotated[str, Meta(max_length=1000)] | UnsetType,
        Meta(description="Only if the todo has this entity tag; for all but `create`."),
    ] = UNSET


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Operations that are carried out one after the other, each by itself."""

    operations: Annotated[
        # raw, so that one that is not valid fails no other
        list[Annotated[msgspec.Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/BatchOperation"})]],
        Meta(max_length=BATCH_OPERATIONS, description="Carried out in this order."),
    ]


class TagCount(msgspec.Struct):
    """A tag, and how many todos have it."""

    name: Tag
    count: Annotated[Count, Meta(description="How many todos have it.")]


class TagCounts(msgspec.Struct):
    """Every tag in use."""

    items: Annotated[list[TagCount], Meta(description="By name.")]


class ListCount(msgspec.Struct):
    """A list, and how many todos are in it."""

    list_id: Annotated[ListId | None, Meta(description="The list's id; null is the inbox.")]
    count: Annotated[Count, Meta(description="How many todos are in it.")]


class PriorityCounts(msgspec.Struct):
    """How many todos there are of each priority."""

    none: Count
    low: Count
    medium: Count
    high: Count
    urgent: Count


class Summary(msgspec.Struct):
    """How many todos there are. The counts by priority, list and tag are of open and completed ones."""

    open: Count
    completed: Count
    overdue: Annotated[Count, Meta(description="Open, with a due date in the past.")]
    due_today: Annotated[Count, Meta(description="Open, with a due date today, in the time zone asked for.")]
    by_priority: PriorityCounts
    by_list: Annotated[list[ListCount], Meta(description="Those lists that have todos.")]
    by_tag: Annotated[list[TagCount], Meta(description="Those tags that todos have.")]


class SummaryQuery(msgspec.Struct, frozen=True):
    """By whose clock today is."""

    tz: Annotated[
        TimeZone | UnsetType,
        Meta(description="IANA time zone; the account's unless it is given."),
    ] = UNSET
