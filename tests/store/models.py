"""Models for the tests of the store, which knows nothing about todos."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct
from odmantic import EmbeddedModel, Field, Index, Model
from odmantic.bson import ObjectId
from pymongo import IndexModel

from todo_service.store.base import KEEPS_STAMP, UNSTAMPED, Stamp
from todo_service.store.structs import partial_to_times


class Colour(StrEnum):
    """An enumeration in a model."""

    RED = "red"
    BLUE = "blue"


class Part(EmbeddedModel):
    """An embedded document."""

    name: str
    size: int = 0


class Thing(Model):
    """A document with an index of each type and a value of any kind."""

    shelf: str = "shelf"
    name: str | None = None
    value: Any = None
    tags: list[str] = []
    colour: Colour = Colour.RED
    parts: list[Part] = []
    made_at: datetime | None = None
    version: int = 1
    text: str = ""

    model_config = {
        "collection": "things",
        "indexes": lambda: [
            Index(Thing.shelf, Thing.value, Thing.id, name="shelf_value"),
            Index(Thing.shelf, Thing.name, Thing.id, name="shelf_name"),
            Index(Thing.shelf, Thing.tags, Thing.value, Thing.id, name="shelf_tags"),
        ],
    }


class ThingView(Struct):
    """A view of a thing, with its id and time as text."""

    id: str
    name: str | None
    made_at: str | None
    tags: list[str]


class TimedView(Struct):
    """A view of a thing, with its time as a datetime."""

    made_at: datetime | None
    missing: int = 7


class Badge(Model):
    """A document with unique values: a number, and a text for each owner."""

    number: int
    owner: ObjectId
    label: str
    text: str = ""

    model_config = {
        "collection": "badges",
        "indexes": lambda: [
            Index(Badge.number, unique=True, name="number"),
            Index(Badge.owner, Badge.label, unique=True, name="owner_label"),
        ],
    }


class Ticket(Model):
    """A document that expires."""

    code: str
    expires_at: datetime

    model_config = {
        "collection": "tickets",
        "indexes": lambda: [IndexModel([("expires_at", 1)], name="expires_at", expireAfterSeconds=0)],
    }


class Voucher(Model):
    """A document that expires if it has a time. Its index holds only those that have one."""

    code: str
    expires_at: datetime | None = None

    model_config = {
        "collection": "vouchers",
        "indexes": lambda: [
            IndexModel(
                [("expires_at", 1)],
                name="expires_at",
                expireAfterSeconds=0,
                partialFilterExpression=partial_to_times("expires_at"),
            )
        ],
    }


class Note(Model):
    """A document that the store stamps, with a field that keeps the stamp."""

    shelf: str = "shelf"
    name: str = ""
    version: int = 1
    seen: int = Field(default=0, json_schema_extra={KEEPS_STAMP: True})
    changed: Stamp = UNSTAMPED

    model_config = {
        "collection": "notes",
        "indexes": lambda: [Index(Note.shelf, Note.changed, Note.id, name="shelf_changed")],
    }


class Alarm(Model):
    """A document that may have a time. The indexes hold only those that have one."""

    at: datetime | None = None
    name: str = ""

    model_config = {
        "collection": "alarms",
        "indexes": lambda: [
            IndexModel([("at", 1), ("_id", 1)], name="at", partialFilterExpression=partial_to_times("at")),
            IndexModel(
                [("name", 1), ("at", 1), ("_id", 1)],
                name="name_at",
                partialFilterExpression=partial_to_times("at"),
            ),
        ],
    }


class Crate(Model):
    """A document with a list of any values, and with a number and a time that may be null."""

    shelf: str = "shelf"
    mixed: list[Any] = []
    number: int | float | None = None
    at: datetime | None = None

    model_config = {
        "collection": "crates",
        "indexes": lambda: [
            Index(Crate.shelf, Crate.mixed, Crate.id, name="shelf_mixed"),
            Index(Crate.shelf, Crate.number, Crate.id, name="shelf_number"),
            Index(Crate.shelf, Crate.at, Crate.id, name="shelf_at"),
        ],
    }


class Seal(Model):
    """A document with a unique value of any kind for each shelf."""

    shelf: str = "shelf"
    code: Any = None

    model_config = {
        "collection": "seals",
        "indexes": lambda: [Index(Seal.shelf, Seal.code, unique=True, name="shelf_code")],
    }


MODELS = (Thing, Badge, Ticket, Voucher, Note, Alarm, Crate, Seal)
