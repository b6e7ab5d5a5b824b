"""Conversion of documents: the fast paths return what ODMantic returns."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import bson
import msgspec
import pytest
from bson import Timestamp
from odmantic import EmbeddedModel, Model, ObjectId
from polyfactory.factories.pydantic_factory import ModelFactory

from todo_service.services import MODELS
from todo_service.store.base import Stamp
from todo_service.store.bson_codec import decode, encode
from todo_service.store.codec import dump, to_result
from todo_service.store.structs import derive_struct
from todo_service.timestamps import Timestamp as Moment
from todo_service.todos.documents import Step, Todo


class Values(ModelFactory[Any]):
    """Builds models of any class."""

    __is_base_factory__ = True
    __random_seed__ = 1
    __randomize_collection_length__ = True

    @classmethod
    def get_provider_map(cls) -> dict[Any, Callable[[], Any]]:
        def moment() -> datetime:
            return datetime.fromtimestamp(cls.__random__.randrange(2**31), UTC)

        def stamp() -> Stamp:
            return Stamp(cls.__random__.randrange(2**31), 1)

        own: dict[Any, Callable[[], Any]] = {ObjectId: ObjectId, bson.ObjectId: ObjectId, Stamp: stamp}
        kinds = {field.annotation for model in MODELS for field in model.model_fields.values()}
        own |= {kind: moment for kind in kinds if isinstance(kind, type) and issubclass(kind, datetime)}
        return super().get_provider_map() | own


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_dump_equals_odmantic_s_document(model: type[Model]) -> None:
    factory = ModelFactory.create_factory(model, bases=(Values,))
    for document in factory.batch(50):
        assert dump(document) == document.model_dump_doc()
        assert bson.encode(dump(document)) == bson.encode(document.model_dump_doc())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_derived_struct_has_the_values_of_the_model(model: type[Model]) -> None:
    factory = ModelFactory.create_factory(model, bases=(Values,))
    for document in factory.batch(50):
        raw = encode(dump(document))
        expected = model.model_validate_doc(decode(raw))
        found = to_result(raw, model, derive_struct(model))
        assert {name: getattr(found, name) for name in model.model_fields} == {
            name: getattr(expected, name) for name in model.model_fields
        }


class Price(EmbeddedModel):
    """An embedded model with a value that ODMantic converts for storage."""

    amount: Decimal


class Odd(Model):
    """A model with values that ODMantic converts for storage."""

    amount: Decimal | None = None
    several: list[Decimal] = []
    prices: list[Price] = []


class Odder(Model):
    """A model with an embedded model."""

    step: Step


PRICE = Price(amount=Decimal("1.5"))


@pytest.mark.parametrize(
    "document",
    [
        Odd(id=ObjectId()),
        Odd(id=ObjectId(), amount=Decimal(1)),
        Odd(id=ObjectId(), several=[Decimal(1)]),
        Odd(id=ObjectId(), prices=[PRICE, PRICE]),
        Odder(id=ObjectId(), step=Step(id="1", title="a", completed=True)),
    ],
    ids=["nothing", "a value", "values", "parts", "a part"],
)
def test_values_that_need_odmantic_are_dumped_by_it(document: Model) -> None:
    assert dump(document) == document.model_dump_doc()


def test_a_derived_struct_has_defaults_and_is_frozen() -> None:
    document = ModelFactory.create_factory(Todo, bases=(Values,)).build(due_at=Moment.parse("2027-01-31T09:00:00Z"))
    stored = dump(document)
    for key in ("applied_change_ids", "past", "changed", "purge_at"):
        del stored[key]

    found = to_result(encode(stored), Todo, derive_struct(Todo))

    assert (found.applied_change_ids, found.past, found.changed, found.purge_at) == ([], [], Timestamp(0, 0), None)
    assert found.due_at == datetime(2027, 1, 31, 9, tzinfo=UTC)
    with pytest.raises(AttributeError):
        found.version = 2
    with pytest.raises(msgspec.ValidationError):
        to_result(encode({"_id": ObjectId()}), Todo, derive_struct(Todo))
