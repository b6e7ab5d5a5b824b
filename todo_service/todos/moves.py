"""The requests that move a todo or a list in the manual order."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from todo_service.fields import Id

Before = Annotated[Id, Meta(description="The id of the item that will directly follow it.")]
After = Annotated[Id, Meta(description="The id of the item that will directly precede it.")]
End = Annotated[
    Literal["first", "last"],
    Meta(title="OrderEnd", description="The start or the end of the order.", examples=["first"]),
]


class Move(msgspec.Struct, forbid_unknown_fields=True):
    """A new place in the manual order: exactly one of `before`, `after` and `to`."""

    before: Before | UnsetType = UNSET
    after: After | UnsetType = UNSET
    to: End | UnsetType = UNSET
