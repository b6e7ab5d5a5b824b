"""The golden copy of the OpenAPI document, stored next to this module so that reviews see every change to it.

`pdm run golden` regenerates it. The command rejects a change that breaks clients, unless CHANGELOG.md lists it under
"Changed" or "Removed" and the version has changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.openapi.breaking import find_breaking_changes, is_allowed
from tests.openapi.document import Json
from todo_service.app import render_openapi_document

GOLDEN = Path(__file__).with_name("golden.json")
CHANGELOG = Path(__file__).parent.parent.parent / "CHANGELOG.md"


def golden() -> Json:
    """Return the golden copy."""
    parsed: Json = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return parsed


def find_forbidden_changes(document: Json) -> list[str]:
    """Return the breaking changes from the golden copy that are not allowed."""
    kept = golden()
    if is_allowed(CHANGELOG.read_text(encoding="utf-8"), kept["info"]["version"], document["info"]["version"]):
        return []
    return find_breaking_changes(kept, document)


def main() -> None:
    """Regenerate the golden copy."""
    text = render_openapi_document("json")
    if GOLDEN.exists() and (found := find_forbidden_changes(json.loads(text))):
        lines = "\n".join(f"  {line}" for line in found)
        sys.exit(
            f"this breaks clients:\n{lines}\n"
            'List it in CHANGELOG.md under "### Changed" or "### Removed", and raise the version of the package.'
        )
    GOLDEN.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
