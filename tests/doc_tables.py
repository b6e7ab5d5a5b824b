"""Write the generated tables of README.md and docs/: `pdm run doc-tables`.

The tables come from the declarations of settings, metrics and fields, and stand between `<!-- name -->` and
`<!-- /name -->`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import Counter

from todo_service.field_table import Field, Missing, Origin
from todo_service.lists.fields import FIELDS as LIST_FIELDS
from todo_service.observability.metrics import METRICS
from todo_service.todos.fields import FIELDS as TODO_FIELDS
from todo_service.variables import render_settings_table

ROOT: Final = Path(__file__).parent.parent


class Table(NamedTuple):
    """A generated table.

    Attributes:
        page: The page that contains it.
        name: The name in its markers.
        render: Renders the table as Markdown.
    """

    page: Path
    name: str
    render: Callable[[], str]


def metrics_table() -> str:
    """Return the table of the metrics, as Markdown."""
    lines = ["| metric | labels | description |", "|---|---|---|"]
    for metric in METRICS.values():
        name = f"todo_service_{metric.name}{'_total' if metric.kind is Counter else ''}"
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{name}` | {labels} | {metric.description} |")
    return "\n".join(lines)


_SET_BY: Final = {
    Origin.CLIENT: "clients",
    Origin.CREATION: "clients, once",
    Origin.CHANGE: "the service, merge patches, imports",
    Origin.IMPORT: "the service, imports",
    Origin.SERVICE: "the service",
}


def fields_table(fields: Iterable[Field], *, lists: bool = False) -> str:
    """Return a table of fields, as Markdown.

    Args:
        fields: The fields.
        lists: Whether they are those of a list, which has no filters, sort orders and iCalendar properties.
    """
    headers = ["field", "set by", "default", "null resets it"]
    headers += [] if lists else ["filters", "sort order", "searched by `q`", "iCalendar property"]
    lines = ["| " + " | ".join(headers) + " |", "|---" * len(headers) + "|"]
    for field in fields:
        default = field.default.value if isinstance(field.default, Missing) else f"`{json.dumps(field.default)}`"
        cells = [f"`{field.name}`", _SET_BY[field.origin], default, "yes" if field.nullable else ""]
        if not lists:
            filters = ", ".join(f"`{each.parameter}`" for each in field.filters)
            calendar_property = f"`{field.calendar_property}`" if field.calendar_property is not None else ""
            cells += [filters, "yes" if field.sortable else "", "yes" if field.searched else "", calendar_property]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


TABLES: Final = (
    Table(ROOT / "README.md", "settings", render_settings_table),
    Table(ROOT / "docs" / "operations.md", "metrics", metrics_table),
    Table(ROOT / "docs" / "fields.md", "todo-fields", partial(fields_table, TODO_FIELDS)),
    Table(ROOT / "docs" / "fields.md", "list-fields", partial(fields_table, LIST_FIELDS, lists=True)),
)


def replace_table(text: str, table: Table) -> str:
    """Return the text of a page with the table that the code declares now."""
    start, end = f"<!-- {table.name} -->\n", f"\n<!-- /{table.name} -->"
    before, _, rest = text.partition(start)
    return f"{before}{start}{table.render()}{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    for table in TABLES:
        table.page.write_text(replace_table(table.page.read_text(), table))
