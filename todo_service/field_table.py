"""The declaration of the fields of a document, one row for each.

Validation, defaults, filters, sort orders, CSV columns and iCalendar properties are derived from a table of fields,
once, at import. The Structs and the models are written by hand, so that they can be read and type checked; the tests
compare them with the table.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from odmantic import Model

from todo_service.errors import Invalid, ValidationIssue
from todo_service.store.base import Condition


class FieldKind(enum.Enum):
    """The kind of a field's values. File formats represent all fields of a kind alike."""

    TEXT = "free text"
    CODE = "text in a fixed notation, such as an id, a name from a list or a rule"
    TIME = "time"
    DATE = "date"
    FLAG = "true or false"
    NUMBER = "number"
    INTEGER = "integer"
    TEXTS = "list of free texts"
    STEPS = "checklist"
    REMINDERS = "list of reminders"


class Origin(enum.Enum):
    """Where the value of a field comes from."""

    CLIENT = "requests and imports"
    CREATION = "requests that create a document, and imports"
    CHANGE = "the service, a merge patch or an import"
    IMPORT = "the service, or an import"
    SERVICE = "the service"


class Missing(enum.Enum):
    """Why a field has no default."""

    REQUIRED = "required"
    GENERATED = "generated"


REQUIRED: Final = Missing.REQUIRED
GENERATED: Final = Missing.GENERATED


class Filter(NamedTuple):
    """A query parameter that filters a list by a field.

    Attributes:
        parameter: The name of the parameter.
        build: Returns the conditions for a field of the model and the value of the parameter. None if the
            query module builds them.
    """

    parameter: str
    build: Callable[[Any, Any], list[Condition]] | None = None


class IndexKey(NamedTuple):
    """A field of the model that filters and sort orders use in place of the field that it is computed from.

    Attributes:
        name: The name of the field in the model.
        compute: Returns its value for a value of the original field. None if it depends on other fields too, and the
            service computes it.
    """

    name: str
    compute: Callable[[Any], Any] | None = None


class Field(NamedTuple):
    """A row of a table of fields.

    Attributes:
        name: The name in the API, in the model and in CSV.
        kind: The kind of its values.
        default: The value if a new document does not state it; `REQUIRED` or `GENERATED` if there is none.
        origin: Where its value comes from.
        nullable: Whether null in a merge patch resets it to the default.
        rule: Validates a value other than null, and returns it as it is stored. It raises `ValueError` with a message
            for the client, or `Invalid` with pointers into the value.
        index_key: The field of the model that filters and sort orders use instead; None if they use the field itself.
        filters: The filters of lists by this field.
        sortable: Whether lists can be sorted by it, which takes an index.
        searched: Whether `q` searches its texts, in the order of the table.
        calendar_property: The iCalendar property or component that represents it; None if only the non-standard
            property does.
    """

    name: str
    kind: FieldKind
    default: Any
    origin: Origin = Origin.CLIENT
    nullable: bool = False
    rule: Callable[[Any], Any] | None = None
    index_key: IndexKey | None = None
    filters: tuple[Filter, ...] = ()
    sortable: bool = False
    searched: bool = False
    calendar_property: str | None = None

    @property
    def compared_name(self) -> str:
        """The name of the model's field that filters and sort orders use."""
        return self.index_key.name if self.index_key is not None else self.name

    def get_compared(self, model: type[Model]) -> Any:
        """Return the model's field that filters and sort orders use.

        Raises:
            TypeError: The model has no such field.
        """
        found = getattr(model, self.compared_name, None)
        if found is None:
            raise TypeError(f"{model.__name__} has no field {self.compared_name}, which the table of fields has")
        return found


def list_defaults(table: Iterable[Field]) -> dict[str, Any]:
    """Return the defaults of the fields that a merge patch may reset."""
    return {field.name: field.default for field in table if field.nullable}


def resolve_patch(patch: msgspec.Struct, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a merge patch sets, with the defaults in place of null.

    Args:
        patch: The merge patch. Fields that it does not set are `UNSET`.
        defaults: The defaults of the fields that may be null (`list_defaults`).
    """
    given = {name: value for name in patch.__struct_fields__ if (value := getattr(patch, name)) is not UNSET}
    # copies, because a default may be a list
    return {name: copy(defaults[name]) if value is None else value for name, value in given.items()}


def validate(table: Iterable[Field], given: Mapping[str, Any]) -> dict[str, Any]:
    """Validate values, and return them as they are stored, with the index keys computed from them.

    Args:
        table: The fields.
        given: The values by name; `UNSET` ones are ignored.

    Raises:
        Invalid: Lists every value that breaks a rule.
    """
    values: dict[str, Any] = {}
    issues: list[ValidationIssue] = []
    omitted = 0
    for field in table:
        value = given.get(field.name, UNSET)
        if value is UNSET:
            continue
        if field.rule is not None and value is not None:
            try:
                value = field.rule(value)
            except ValueError as error:
                issues.append(ValidationIssue(f"/{field.name}", str(error)))
                continue
            except Invalid as error:
                located = error.prefix_pointers(f"/{field.name}")
                issues += located.issues
                omitted += located.omitted
                continue
        values[field.name] = value
        if field.index_key is not None and field.index_key.compute is not None:
            values[field.index_key.name] = field.index_key.compute(value)
    if issues:
        raise Invalid(issues, omitted)
    return values
