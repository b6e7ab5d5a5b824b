"""The type of every text, list and number in a request bounds it, so that its size is checked before any work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec import inspect

from todo_service.accounts.dto import TokenRequest
from todo_service.app import create_app
from todo_service.bounds.texts import TIMESTAMP_LENGTH
from todo_service.exchange.dto import ArchiveImport, TodoListImport
from todo_service.settings import load_settings
from todo_service.store.registry import create_store
from todo_service.timestamps import Timestamp
from todo_service.todos import dto
from todo_service.todos.batch_dto import BatchOperation
from todo_service.web.requests import find_query_struct
from todo_service.web.route_options import BODIES, COMPONENTS, FORM

BOUNDED_BY_THE_BODY = {"ArchiveImport.todos", "ArchiveImport.lists"}
"""Lists of any length in an import. The body is bounded, and each record is read separately."""


@pytest.fixture
def application(tmp_path: Path) -> Litestar:
    settings = load_settings({"DATA_DIR": str(tmp_path)})
    return create_app(settings, create_store(settings.store_address))


def input_types(application: Litestar) -> set[Any]:
    """Return the types of every body, form and query, and of parts of a body that are decoded later."""
    found: set[Any] = {dto.TodoCreate, dto.TodoUpdate, dto.TodoImport, TodoListImport}
    for route in application.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                found |= set(list_types(handler))
    return found


def list_types(handler: HTTPRouteHandler) -> Iterator[Any]:
    if handler.parsed_data_field is not None:
        yield handler.parsed_data_field.annotation
    yield from (kind for kind in (find_query_struct(handler), handler.opt.get(FORM)) if kind is not None)
    yield from handler.opt.get(COMPONENTS, ())
    yield from (kind for kind in handler.opt.get(BODIES, {}).values() if isinstance(kind, type))


def find_unbounded(info: inspect.Type, path: str) -> Iterator[str]:
    """Yield the path of each string, list or number in a type that has no bound."""
    match info:
        case inspect.Metadata():
            yield from find_unbounded(info.type, path)
        case inspect.StructType():
            for field in info.fields:
                yield from find_unbounded(field.type, f"{info.cls.__name__}.{field.name}")
        case inspect.UnionType():
            for choice in info.types:
                yield from find_unbounded(choice, path)
        case inspect.ListType():
            if info.max_length is None and path not in BOUNDED_BY_THE_BODY:
                yield path
            yield from find_unbounded(info.item_type, f"{path}[]")
        case inspect.StrType():
            if info.max_length is None:
                yield path
        case inspect.IntType() | inspect.FloatType():
            if (info.ge is None and info.gt is None) or (info.le is None and info.lt is None):
                yield path
        case inspect.CustomType():
            if info.cls is not Timestamp:
                yield path
        case inspect.BoolType() | inspect.NoneType() | inspect.LiteralType() | inspect.RawType():
            pass
        case _:
            yield f"{path}: {type(info).__name__}"


def test_every_text_list_and_number_of_a_request_is_bounded(application: Litestar) -> None:
    kinds = input_types(application)

    assert len(kinds) > 15
    assert {dto.TodoQuery, BatchOperation, TokenRequest, ArchiveImport} <= kinds
    assert {path for kind in kinds for path in find_unbounded(inspect.type_info(kind), str(kind))} == set()


def test_a_type_without_bounds_would_be_found() -> None:
    class Unbounded(msgspec.Struct):
        text: str
        numbers: list[int]
        more: dict[str, str]

    found = set(find_unbounded(inspect.type_info(Unbounded), "Unbounded"))
    assert found == {"Unbounded.text", "Unbounded.numbers", "Unbounded.numbers[]", "Unbounded.more: DictType"}


def test_a_time_is_bounded_where_it_is_read() -> None:
    digits = "0" * TIMESTAMP_LENGTH
    with pytest.raises(ValueError, match="Expected an RFC 3339 timestamp"):
        Timestamp.parse(f"2027-01-31T09:00:00.{digits}Z")
    assert Timestamp.parse("2027-01-31T09:00:00.123456789123456789Z").microsecond == 123_000
