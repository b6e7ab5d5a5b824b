"""Generate the tables of `docs/limits.md` from `todo_service.bounds`: `pdm run limits-page`."""

from __future__ import annotations

from pathlib import Path

from todo_service.bounds import accounts, connections, exchange, requests, store, texts, todos

PAGE = Path(__file__).parent.parent / "docs" / "limits.md"
START, END = "<!-- limits -->\n", "<!-- /limits -->"
SECTIONS = [module.section for module in (connections, requests, texts, accounts, todos, exchange, store)]
"""All sections, in the order of the page."""


def render(page: str) -> str:
    """Return the page with its tables replaced."""
    before, _, rest = page.partition(START)
    return f"{before}{START}{render_tables()}\n{END}{rest.partition(END)[2]}"


def render_tables() -> str:
    """Return the tables, in Markdown."""
    lines: list[str] = []
    for section in SECTIONS:
        lines += [
            f"### {section.title}",
            "",
            "| quantity | limit | setting | enforced in | when exceeded |",
            "|---|---|---|---|---|",
        ]
        for bound in section.bounds:
            number = f"{bound.value:,} {bound.unit}".replace(",", " ").strip()
            setting = f"`{bound.setting}`" if bound.setting else ""
            lines.append(f"| {bound.subject} | {number} | {setting} | `{bound.enforced_in}` | {bound.response} |")
        lines.append("")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
