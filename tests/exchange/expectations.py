"""Writes what the files of the corpus are expected to contain. Review the diff of each change.

Run it with `python -m tests.exchange.expectations`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.exchange.reading import describe, read_file
from todo_service.exchange.formats.base import Draft, RejectedRecord
from todo_service.exchange.formats.registry import FOREIGN_FORMATS, IMPORT_FORMATS

MEDIA: Final = {".csv": "text/csv", ".json": "application/json"}
EXPECTED: Final = ".expected.json"
FILES: Final = sorted(
    path
    for program in FOREIGN_FORMATS
    for path in (Path(__file__).parent / "corpus" / program).iterdir()
    if not path.name.endswith(EXPECTED)
)


def find_outcome(records: Sequence[Draft | RejectedRecord]) -> dict[str, Any]:
    """Return what the records of a file say."""
    todos, rejected = [], []
    for record in records:
        if isinstance(record, RejectedRecord):
            rejected.append({"line": record.line, "errors": [list(issue) for issue in record.issues]})
        else:
            extras = {"uid": record.uid, "warnings": list(record.warnings)}
            todos.append({"line": record.line} | describe(record) | {k: v for k, v in extras.items() if v})
    return {"todos": todos, "rejected": rejected}


if __name__ == "__main__":
    for path in FILES:
        outcome = find_outcome(read_file(IMPORT_FORMATS[path.parent.name], path.read_bytes()))
        path.with_suffix(EXPECTED).write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n")
