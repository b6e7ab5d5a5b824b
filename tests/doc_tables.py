"""Write the generated tables of README.md and docs/operations.md: `pdm run doc-tables`.

The tables come from the declarations of settings and metrics, and stand between `<!-- name -->` and `<!-- /name -->`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import Counter

from todo_service.observability.metrics import METRICS
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


TABLES: Final = (
    Table(ROOT / "README.md", "settings", render_settings_table),
    Table(ROOT / "docs" / "operations.md", "metrics", metrics_table),
)


def replace_table(text: str, table: Table) -> str:
    """Return the text of a page with the table that the code declares now."""
    start, end = f"<!-- {table.name} -->\n", f"\n<!-- /{table.name} -->"
    before, _, rest = text.partition(start)
    return f"{before}{start}{table.render()}{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    for table in TABLES:
        table.page.write_text(replace_table(table.page.read_text(), table))
