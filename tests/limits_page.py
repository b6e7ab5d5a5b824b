"""Write the table of `docs/limits.md` from `todo_service.bounds`: `pdm run limits-page`."""

from __future__ import annotations

from pathlib import Path

from todo_service.bounds import limits_table

PAGE = Path(__file__).parent.parent / "docs" / "limits.md"
START, END = "<!-- limits -->\n", "<!-- /limits -->"


def render(page: str) -> str:
    """Return the page with the table that the code has now."""
    before, _, rest = page.partition(START)
    return f"{before}{START}{limits_table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
