"""The requests that move a todo or a list in the manual order."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.api_types import SHOWN

_NEIGHBOR: Final = {"pattern": "^[0-9a-f]{24}$", SHOWN: {"maxLength": None}}
# without examples, so that the example of a move has one place
Before = Annotated[
    str,
    Meta(max_length=24, description="The id of the item that will directly follow it.", extra_json_schema=_NEIGHBOR),
]
After = Annotated[
    str,
    Meta(max_length=24, description="The id of the item that will directly precede it.", extra_json_schema=_NEIGHBOR),
]
End = Annotated[
    Literal["first", "last"],
    Meta(title="OrderEnd", description="The start or the end of the order.", examples=["first"]),
]


class Move(msgspec.Struct, forbid_unknown_fields=True):
    """A new place in the manual order: exactly one of `before`, `after` and `to`."""

    before: Before | UnsetType = UNSET
    after: After | UnsetType = UNSET
    to: End | UnsetType = UNSET
