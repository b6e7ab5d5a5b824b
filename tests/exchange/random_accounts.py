"""Random accounts: lists and todos in which every field has every kind of value."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from tests.people import Person
from tests.todos.test_recurrence_differential import ZONES, generate_rule
from todo_service.bounds.todos import DESCRIPTION_LENGTH, LIST_NAME_LENGTH, TAG_LENGTH, TITLE_LENGTH, UID_LENGTH
from todo_service.text import normalize_lines, normalize_text

Json = dict[str, Any]

_FRAGMENTS: Final = (
    *("Water the plants", "Gärten gießen", "мир", "買い物", "ไปตลาด", "नमस्ते", "Ἀθῆναι", "İstanbul", "ﬁn", "Å"),
    *("مرحبا بالعالم", "שלום עולם", "\u202eabc\u202c", "\u200fא\u200e", "🌱", "🏳️‍🌈", "👩‍👩‍👧", "🇩🇪", "1️⃣", "𐀀"),
    *(
        "e\u0301",
        "a\u0323\u0302",
        "\u1112\u1161\u11ab",
        "x\u200by",
        "x\u2060y",
        "\ufeffx",
        "x\xady",
        "x\u2028y",
        "x\u2029y",
        "\xa0x",
    ),
    *("=1+1", '=HYPERLINK("https://example.com")', "+49 30", "-5", "@home", "'=1", "''", "'x", "%0A", "=cmd|' /C'!A0"),
    *(
        '"',
        '""',
        "a,b",
        "a;b",
        "a|b",
        "a\\",
        "\\n",
        "\\N",
        "\\,",
        "\\;",
        "\\\\",
        "^n",
        "{",
        "[x] y",
        "- z",
        "[]",
        '["a"]',
    ),
    *("TRUE", "false", "null", "1", "1.5", "1,5", "2027-01-31", "31/1/2027", "9:00", "urgent", "sep=;", "BEGIN:VTODO"),
    *("END:VCALENDAR", "DUE:20270131", "X-TODO-SERVICE", "https://example.com/?a=b&c=d", "<b>x</b>", "a:b", "\\u0041"),
)
_LINE_FRAGMENTS: Final = ("\n", "\n\n", "\t", "\n\t", " \n ", "\n=1", '\n"', "\nEND:VTODO\n", "\n ", "\r\n")
_TIMES: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 30, 23, 59, 59, 999_000, UTC))
"""The earliest and the latest time."""
_POSITIONS: Final = (0.0, -0.0, 1.0, -1.0, 1024.0, 1e300, -1e300, 5e-324, 0.1, 1e16, 123456789.125, 2.0**53 + 2, 1e-7)
_PRIORITIES: Final = ("none", "low", "medium", "high", "urgent")
_LETTERS: Final = "".join(
    each for code in range(0xA0, 0x2FFFF, 37) if unicodedata.category(each := chr(code))[0] != "C"
)


def maybe(chance: random.Random, share: float, build: Callable[[], Json]) -> Json:
    """Return fields in a share of the cases, and none otherwise."""
    return build() if chance.random() < share else {}


def choose_text(chance: random.Random, longest: int, *, lines: bool = False) -> str:
    """Return a valid text of at most this many characters."""
    normalize = normalize_lines if lines else normalize_text
    while True:
        kind = chance.random()
        if kind < 0.05:
            text = chance.choice("xüが🌱") * longest
        elif kind < 0.2:
            text = "".join(chance.choices(_LETTERS, k=chance.randint(1, 12)))
        else:
            fragments = _FRAGMENTS + _LINE_FRAGMENTS * 3 if lines else _FRAGMENTS
            text = chance.choice(("", " ", ", ")).join(chance.choices(fragments, k=chance.randint(1, 5)))
        try:
            normalize(text, longest)
        except ValueError:
            continue
        return text


def choose_moment(chance: random.Random) -> datetime:
    """Return a time with milliseconds, sometimes one at which clocks change."""
    kind = chance.random()
    if kind < 0.03:
        return chance.choice(_TIMES)
    if kind < 0.2:
        changes = (datetime(2027, 3, 28, 0, 30), datetime(2027, 10, 31, 0, 30), datetime(2027, 3, 14, 6, 30))  # noqa: DTZ001  # in UTC
        return chance.choice(changes).replace(tzinfo=UTC) + timedelta(minutes=30 * chance.randint(0, 4))
    moment = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(40_000_000))
    return moment + timedelta(milliseconds=chance.choice((0, 0, 1, 500, 59_999)))


def format_moment(chance: random.Random, moment: datetime) -> str:
    """Return a time in RFC 3339, with some offset."""
    offset = timedelta(minutes=chance.choice((0, 0, 60, -300, 345)))
    if moment in _TIMES:
        offset = timedelta()
    local = (moment + offset).replace(tzinfo=None).isoformat(timespec="milliseconds")
    sign, minutes = "-" if offset < timedelta() else "+", abs(offset) // timedelta(minutes=1)
    return f"{local}{sign}{minutes // 60:02}:{minutes % 60:02}" if offset else f"{local}Z"


def choose_schedule(chance: random.Random) -> Json:
    """Return when a todo starts, is due and recurs. The rule may not fit."""
    kind = chance.random()
    if kind < 0.2:
        return {}
    if kind < 0.55:
        due = choose_moment(chance)
        fields: Json = {"due_at": format_moment(chance, due)}
        start = max(due - timedelta(minutes=chance.choice((0, 1, 90, 60 * 24 * 3))), _TIMES[0])
        if chance.random() < 0.4:
            fields["start_at"] = format_moment(chance, start)
        day = due.date()
    else:
        day = choose_moment(chance).date()
        fields = {"due_on": day.isoformat()}
        if chance.random() < 0.4:
            fields["start_on"] = max(day - timedelta(days=chance.randint(0, 9)), date(1970, 1, 1)).isoformat()
    if chance.random() < 0.15:
        # a start without a due date
        fields = {name: value for name, value in fields.items() if name.startswith("start")}
    elif chance.random() < 0.6 and day.year < 2100:
        fields |= {
            "recurrence": generate_rule(chance, day),
            "recurrence_from": chance.choice(("due", "completion")),
            "recurrence_except": choose_exceptions(chance, day),
        }
    return fields | maybe(chance, 0.4, lambda: {"time_zone": chance.choice(ZONES).key})


def choose_exceptions(chance: random.Random, day: date) -> list[str]:
    """Return days and times that may exclude occurrences."""
    found = []
    for _ in range(chance.choice((0, 0, 1, 3))):
        later = datetime(day.year, day.month, day.day, 9, tzinfo=UTC) + timedelta(days=chance.randint(0, 60))
        found.append(chance.choice((later.date().isoformat(), format_moment(chance, later))))
    return found


def choose_reminders(chance: random.Random, *, due: bool) -> list[Json]:
    """Return reminders, relative ones only for a todo that is due."""
    reminders: list[Json] = []
    for _ in range(chance.randint(1, 5)):
        if due and chance.random() < 0.6:
            reminders.append({"minutes_before": chance.choice((0, 1, 15, 30, 60, 539, 540, 541, 1440, 525_600))})
        else:
            reminders.append({"at": format_moment(chance, choose_moment(chance))})
    return reminders


def build_list(chance: random.Random, names: Sequence[str]) -> Json:
    """Return a new list. Some have the name of another one."""
    given: Json = {"name": choose_text(chance, LIST_NAME_LENGTH)}
    if names and chance.random() < 0.2:
        given["name"] = chance.choice(names)
    given |= maybe(chance, 0.5, lambda: {"color": f"#{chance.randrange(2**24):06x}"})
    given |= maybe(chance, 0.3, lambda: {"archived": True})
    given |= maybe(chance, 0.3, lambda: {"position": chance.choice(_POSITIONS)})
    return given | maybe(chance, 0.3, lambda: {"uid": choose_uid(chance)})


def choose_uid(chance: random.Random) -> str:
    """Return a uid, which is probably unique."""
    return f"{choose_text(chance, UID_LENGTH - 12)[: UID_LENGTH - 12]}{chance.randrange(10**12)}"


def build_todo(chance: random.Random, list_ids: Sequence[str]) -> Json:
    """Return a new todo. It may be invalid."""
    todo: Json = {"title": choose_text(chance, TITLE_LENGTH)} | choose_schedule(chance)
    todo |= maybe(chance, 0.6, lambda: {"description": choose_text(chance, DESCRIPTION_LENGTH // 8, lines=True)})
    todo |= maybe(chance, 0.5, lambda: {"priority": chance.choice(_PRIORITIES)})
    todo |= maybe(
        chance, 0.5, lambda: {"tags": [choose_text(chance, TAG_LENGTH) for _ in range(chance.randint(1, 20))]}
    )
    todo |= maybe(chance, 0.3, lambda: {"position": chance.choice(_POSITIONS)})
    todo |= maybe(chance, 0.3, lambda: {"uid": choose_uid(chance)})
    if chance.random() < 0.5:
        todo["steps"] = [
            {"title": choose_text(chance, TITLE_LENGTH), "completed": chance.random() < 0.3}
            | maybe(chance, 0.3, lambda: {"id": f"{chance.getrandbits(96):024x}"})
            for _ in range(chance.randint(1, 5))
        ]
    if chance.random() < 0.4:
        todo["reminders"] = choose_reminders(chance, due="due_at" in todo or "due_on" in todo)
    if list_ids and chance.random() < 0.6:
        todo["list_id"] = chance.choice(list_ids)
    return todo | maybe(chance, 0.3, lambda: {"completed": True})


def build_past(chance: random.Random, todo: Json) -> Json:
    """Return the fields of a todo that only an import can set."""
    past = {
        "created_at": format_moment(chance, datetime(2020, 1, 1, tzinfo=UTC) + chance.random() * timedelta(days=2000))
    }
    if todo.get("completed"):
        past["completed_at"] = format_moment(chance, choose_moment(chance))
    if "recurrence" in todo and chance.random() < 0.5:
        past["last_completed_at"] = format_moment(chance, choose_moment(chance))
    return past


async def furnish(person: Person, chance: random.Random) -> int:
    """Give a person random lists and todos, created, imported and completed, and return the number of todos.

    Todos that the service rejects, because their rule does not fit, are left out.
    """
    await person.patch("/v1/users/me", json={"time_zone": chance.choice(ZONES).key})
    lists: list[Json] = []
    for _ in range(chance.choice((0, 1, 2, 3, 5))):
        created = await person.post("/v1/lists", json=build_list(chance, [each["name"] for each in lists]))
        assert created.status_code == 201, created.text
        lists.append(created.json())
    ids = [each["id"] for each in lists]
    count = 0
    imported = []
    for _ in range(chance.choice((0, 1, 3, 8, 12))):
        todo = build_todo(chance, ids)
        if chance.random() < 0.5:
            imported.append(todo | build_past(chance, todo))
            continue
        created = await person.post("/v1/todos", json=todo)
        assert created.status_code in (201, 422), created.text
        if created.status_code == 201:
            count += 1
            await use(person, chance, created.json())
    if imported:
        report = (await person.post("/v1/todos/import", json=imported)).json()
        count += report["imported"]
    return count


async def use(person: Person, chance: random.Random, todo: Json) -> None:
    """Complete some todos, once or twice, and take some completions back."""
    path = f"/v1/todos/{todo['id']}"
    for _ in range(chance.choice((0, 0, 1, 2))):
        assert (await person.post(f"{path}/complete")).status_code == 200
        if chance.random() < 0.3:
            assert (await person.post(f"{path}/reopen")).status_code == 200
