"""The tables of fields agree with the Structs, the models, the file formats, the OpenAPI document and the docs."""

from __future__ import annotations

import csv
import io
import json
import re
import types
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

import icalendar
import msgspec
import pytest
from msgspec import UNSET, inspect, structs
from odmantic import Model

from tests.openapi.document import resolve
from tests.people import Person, TodoCreateFactory, assert_problem, build_report
from todo_service.app import render_openapi_document
from todo_service.exchange.dto import TodoListImport
from todo_service.exchange.formats.csv_format import COLUMNS
from todo_service.field_table import GENERATED, REQUIRED, Field, FieldKind, Origin
from todo_service.lists import dto as list_dto
from todo_service.lists.documents import TodoList
from todo_service.lists.fields import FIELDS as LIST_FIELDS
from todo_service.store.structs import list_index_keys
from todo_service.timestamps import Timestamp
from todo_service.todos import documents, dto
from todo_service.todos.field_types import TodoSort
from todo_service.todos.fields import FIELDS as TODO_FIELDS

pytestmark = [pytest.mark.anyio, pytest.mark.shared_app]
DOCS: Final = Path(__file__).parent.parent.parent / "docs" / "fields.md"


GIVEN: Final = (Origin.CLIENT, Origin.CREATION)
"""The origins of the fields that a request to create a document may have."""


class Resource(NamedTuple):
    """Todos or lists: their table, and the classes that have the same fields."""

    name: str
    table: Sequence[Field]
    path: str
    model: type[Model]
    output: type[msgspec.Struct]
    creation: type[msgspec.Struct]
    patch: type[msgspec.Struct]
    imported: type[msgspec.Struct]

    def names(self, *origins: Origin) -> list[str]:
        """Return the names of the fields with one of these origins."""
        return [field.name for field in self.table if field.origin in origins]


TODO: Final = Resource(
    "todo", TODO_FIELDS, "/v1/todos", documents.Todo, dto.Todo, dto.TodoCreate, dto.TodoUpdate, dto.TodoImport
)
LIST: Final = Resource(
    "list",
    LIST_FIELDS,
    "/v1/lists",
    TodoList,
    list_dto.TodoList,
    list_dto.TodoListCreate,
    list_dto.TodoListUpdate,
    TodoListImport,
)
both = pytest.mark.parametrize("resource", [TODO, LIST], ids=lambda resource: resource.name)


def assert_same_fields(place: str, found: Iterable[str], expected: Iterable[str]) -> None:
    """Assert that a place has the fields that the table has, in any order."""
    names, wanted = set(found), set(expected)
    assert names >= wanted, f"{place} has no field {', '.join(sorted(wanted - names))}, which the table has"
    assert names <= wanted, f"the table has no field {', '.join(sorted(names - wanted))}, which {place} has"


def name_place(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


@both
def test_the_structs_have_the_fields_of_the_table(resource: Resource) -> None:
    everything = resource.names(*Origin)
    given, changed = resource.names(*GIVEN), resource.names(Origin.CLIENT, Origin.CHANGE)

    assert_same_fields(name_place(resource.output), resource.output.__struct_fields__, everything)
    assert_same_fields(name_place(resource.creation), resource.creation.__struct_fields__, given)
    assert_same_fields(name_place(resource.patch), resource.patch.__struct_fields__, changed)
    assert_same_fields(name_place(resource.imported), resource.imported.__struct_fields__, everything)
    assert list(resource.output.__struct_fields__) == everything, f"the order of {name_place(resource.output)} differs"


@both
def test_the_structs_have_the_defaults_of_the_table(resource: Resource) -> None:
    declared = {field.name: field for field in resource.table}

    for field in structs.fields(resource.creation):
        if field.required:
            found: Any = REQUIRED
        elif field.default_factory is not msgspec.NODEFAULT:
            found = field.default_factory()
        else:
            found = GENERATED if field.default is UNSET else field.default
        assert found == declared[field.name].default, f"the default of {field.name} in {name_place(resource.creation)}"

    for field in structs.fields(resource.patch):
        nullable = type(None) in flatten(field.type)
        assert nullable is declared[field.name].nullable, f"null for {field.name} in {name_place(resource.patch)}"
        assert field.default is UNSET, f"the default of {field.name} in {name_place(resource.patch)}"


def flatten(annotation: Any) -> set[Any]:
    """Return the types of a union, without metadata."""
    if hasattr(annotation, "__metadata__"):
        return flatten(annotation.__origin__)
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*map(flatten, get_args(annotation)))
    return {annotation}


@both
def test_the_model_has_the_fields_and_index_keys_of_the_table(resource: Resource) -> None:
    stored = resource.model.model_fields

    for field in resource.table:
        for name in {field.name, field.compared_name}:
            assert name in stored, f"{name_place(resource.model)} has no field {name}, which the table has"
        model_field = stored[field.name]
        generated = field.default is GENERATED  # an earlier release may lack it, and a document has another default
        if not model_field.is_required() and not generated:
            assert model_field.get_default(call_default_factory=True) == field.default, (
                f"the default of {field.name} in {name_place(resource.model)}"
            )
        nullable = type(None) in flatten(model_field.annotation)
        assert nullable is (field.default is None), f"null for {field.name} in {name_place(resource.model)}"


def kinds(kind: inspect.Type) -> set[FieldKind]:
    """Return the kinds of values that a type of a Struct may hold."""
    match kind:
        case inspect.Metadata(type=inner):
            return kinds(inner)
        case inspect.UnionType(types=members):
            return set().union(*map(kinds, members))
        case inspect.LiteralType():
            return {FieldKind.CODE}
        case inspect.StrType():
            return {FieldKind.CODE, FieldKind.TEXT, FieldKind.DATE}
        case inspect.CustomType(cls=cls) if cls is Timestamp:
            return {FieldKind.TIME}
        case inspect.BoolType():
            return {FieldKind.FLAG}
        case inspect.FloatType():
            return {FieldKind.NUMBER}
        case inspect.IntType():
            return {FieldKind.INTEGER}
        case inspect.ListType(item_type=inner):
            return (
                {FieldKind.STEPS, FieldKind.REMINDERS} if isinstance(inner, inspect.StructType) else {FieldKind.TEXTS}
            )
    return set()


@both
def test_the_structs_have_values_of_the_kinds_of_the_table(resource: Resource) -> None:
    declared = {field.name: field.kind for field in resource.table}
    found = inspect.type_info(resource.creation)

    assert isinstance(found, inspect.StructType)
    for field in found.fields:
        kind = declared[field.name]
        assert kind in kinds(field.type), f"{field.name} in {name_place(resource.creation)} is not of the kind {kind}"


def test_the_query_has_the_filters_and_sort_orders_of_the_table() -> None:
    filters = {each.parameter for field in TODO_FIELDS for each in field.filters}
    orders = [field.name for field in TODO_FIELDS if field.sortable]
    given = set(dto.TodoQuery.__struct_fields__) - {"q", "sort", "limit", "cursor"}

    assert_same_fields("todo_service.todos.dto.TodoQuery", given, filters)
    assert_same_fields(
        "todo_service.todos.field_types.TodoSort", get_args(get_args(TodoSort)[0]), with_descending(orders)
    )


def with_descending(orders: Iterable[str]) -> list[str]:
    return [sign + name for name in orders for sign in ("", "-")]


def test_every_sort_order_of_the_table_has_an_index() -> None:
    for field in TODO_FIELDS:
        keys = ("owner", "completed", field.compared_name, "_id")
        assert not field.sortable or keys in list_index_keys(documents.Todo), f"no index sorts todos by {field.name}"


@both
def test_the_openapi_document_has_the_fields_of_the_table(resource: Resource) -> None:
    document = json.loads(render_openapi_document("json"))
    everything, given = resource.names(*Origin), resource.names(*GIVEN)
    changed = resource.names(Origin.CLIENT, Origin.CHANGE)
    required = [field.name for field in resource.table if field.default is REQUIRED]

    for struct, expected in ((resource.output, everything), (resource.creation, given), (resource.patch, changed)):
        schema = document["components"]["schemas"][struct.__name__]
        assert_same_fields(f"{struct.__name__} in the OpenAPI document", schema["properties"], expected)
    assert document["components"]["schemas"][resource.creation.__name__]["required"] == required
    assert document["components"]["schemas"][resource.output.__name__]["required"] == everything


def test_the_openapi_document_has_the_filters_of_the_table() -> None:
    document = json.loads(render_openapi_document("json"))
    parameters = document["paths"]["/v1/todos"]["get"]["parameters"]
    names = {resolve(parameter, document)["name"] for parameter in parameters}

    filters = {each.parameter for field in TODO_FIELDS for each in field.filters}
    assert_same_fields("GET /v1/todos in the OpenAPI document", names - {"q", "sort", "limit", "cursor"}, filters)
    orders = with_descending(field.name for field in TODO_FIELDS if field.sortable)
    assert_same_fields(
        "TodoSort in the OpenAPI document", document["components"]["schemas"]["TodoSort"]["enum"], orders
    )


@both
def test_the_docs_list_the_fields_of_the_table(resource: Resource) -> None:
    section = re.search(rf"<!-- {resource.name}-fields -->\n(.*?)<!-- /", DOCS.read_text(), re.DOTALL)

    assert section is not None
    rows = re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)
    assert_same_fields("docs/fields.md (run `pdm run doc-tables`)", rows, resource.names(*Origin))


class FullTodoFactory(TodoCreateFactory):
    """New todos without null."""

    __allow_none_optionals__ = False


FULL_LIST: Final = list_dto.TodoListCreate(name="Garden", color="#1e90ff", position=-2.5, archived=True)


MOMENTS: Final = {"due_at": "2027-01-31T09:00:00.123Z", "start_at": "2027-01-30T22:30:00.456Z"}
DAYS: Final = {"due_on": "2027-01-31", "start_on": "2027-01-30"}
times = pytest.mark.parametrize("times", [MOMENTS, DAYS], ids=["moments", "days"])


def list_fields(times: dict[str, str]) -> list[Field]:
    """Return the fields of a todo that has these times, but not those of the other kind."""
    return [field for field in TODO_FIELDS if field.name in times or field.name not in MOMENTS | DAYS]


async def create_full_todo(person: Person, times: dict[str, str] = MOMENTS) -> dict[str, Any]:
    """Create a todo in which no field has its default, except the times of the other kind, and return it."""
    created = await person.post("/v1/lists", json=msgspec.to_builtins(FULL_LIST))
    assert created.status_code == 201, created.text
    todo = FullTodoFactory.build(completed=True, priority="urgent", list_id=created.json()["id"])
    sent = msgspec.to_builtins(todo) | dict.fromkeys(MOMENTS | DAYS) | times
    sent |= {"time_zone": "Asia/Tokyo", "recurrence": "FREQ=WEEKLY;BYDAY=SU;COUNT=1"}
    sent |= {"recurrence_from": "completion", "recurrence_except": ["2027-02-07", "2027-02-13T22:30:00.456Z"]}
    sent["reminders"] = [{"minutes_before": 30}, {"at": "2027-01-30T09:00:00.123Z"}]
    for field in list_fields(times):
        if field.origin is Origin.CLIENT:
            assert sent[field.name] != field.default, f"`FullTodoFactory` gives {field.name} its default"
    made = await person.todo(**sent | {"completed": False})
    completed = await person.post(f"/v1/todos/{made['id']}/complete")
    assert completed.status_code == 200, completed.text
    result: dict[str, Any] = completed.json()
    return result


@times
@pytest.mark.parametrize(
    ("file_format", "media_type"), [("json", "application/json"), ("csv", "text/csv"), ("ics", "text/calendar")]
)
async def test_every_field_survives_an_export_and_an_import(
    ada: Person, bob: Person, file_format: str, media_type: str, times: dict[str, str]
) -> None:
    exported = await create_full_todo(ada, times)

    body = (await ada.get("/v1/todos/export", params={"format": file_format})).content
    result = await bob.post("/v1/todos/import", headers={"Content-Type": media_type}, content=body)

    assert result.json() == build_report(imported=1, lists_created=1)
    (imported,) = (await bob.get("/v1/todos")).json()["items"]
    (garden,) = (await bob.get("/v1/lists")).json()["items"]
    assert imported["list_id"] == garden["id"]
    for field in TODO_FIELDS:
        if field.origin is not Origin.SERVICE and field.name != "list_id":
            assert imported[field.name] == exported[field.name], f"{file_format} loses {field.name}"
    if file_format == "json":
        sent = msgspec.to_builtins(FULL_LIST)
        for field in LIST_FIELDS:
            if field.origin is Origin.CLIENT:
                assert garden[field.name] == sent[field.name], f"json loses {field.name} of a list"


@times
async def test_csv_has_a_column_for_every_field(ada: Person, times: dict[str, str]) -> None:
    await create_full_todo(ada, times)

    text = (await ada.get("/v1/todos/export", params={"format": "csv"})).text

    (row,) = csv.DictReader(io.StringIO(text))
    assert tuple(row) == COLUMNS
    assert_same_fields("CSV", set(row) - {"list"}, TODO.names(*Origin))
    for field in list_fields(times):
        assert row[field.name], f"the column {field.name} of CSV is empty"
    assert row["list"] == FULL_LIST.name


@times
async def test_icalendar_has_the_properties_of_the_table(ada: Person, times: dict[str, str]) -> None:
    await create_full_todo(ada, times)

    text = (await ada.get("/v1/todos/export", params={"format": "ics"})).content

    components: list[Any] = icalendar.Calendar.from_ical(text).walk()
    names = {name for component in components for name in (component.name, *component)}
    todo = next(component for component in components if component.name == "VTODO")
    for field in list_fields(times):
        if field.calendar_property is not None:
            assert field.calendar_property in names, f"iCalendar has no {field.calendar_property} for {field.name}"
        elif field.origin is not Origin.SERVICE:
            assert f'"{field.name}":' in str(todo["X-TODO-SERVICE"]), f"X-TODO-SERVICE in iCalendar has no {field.name}"


@both
async def test_null_resets_the_fields_that_the_table_says(ada: Person, resource: Resource) -> None:
    if resource is TODO:
        made = await create_full_todo(ada)
    else:
        made = (await ada.post(resource.path, json=msgspec.to_builtins(FULL_LIST))).json()
    path = f"{resource.path}/{made['id']}"
    nullable = [field for field in resource.table if field.nullable]

    for field in resource.table:
        if not field.nullable:
            assert_problem(await ada.patch(path, json={field.name: None}), 422, f"/{field.name}")
    opened = {"completed": False} if resource is TODO else {}  # a completed todo has a time of completion
    answer = await ada.patch(path, json={field.name: None for field in nullable} | opened)

    assert answer.status_code == 200, answer.text
    for field in nullable:
        assert answer.json()[field.name] == field.default, f"null does not reset {field.name}"
