"""The regular expressions of the document mean the same in every language.

Generated clients compile them with the engines of their languages: ECMAScript, Java, .NET, Python, Ruby, PCRE, RE2 and
Rust's regex. The grammar below is what they have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.openapi.document import Json

# printable ASCII without the characters that have a meaning
LITERAL = r"[A-Za-z0-9 !\"#%&',/:;<=>@_`~-]"
ESCAPED = r"\\[sS]"
# without nested brackets, `&&`, `--` and `~~`; a hyphen makes a range, or is the last member
RANGE = "[ -,.-Z_-~]-[ -,.-Z_-~]"
MEMBER = rf"(?:{RANGE}|[ -%'-,.-Z_-}}]|\\[sS])"
CLASS = rf"\[\^?{MEMBER}+-?\]"
ATOM = rf"(?:{LITERAL}|{ESCAPED}|{CLASS})"
PIECE = rf"{ATOM}(?:[?*+]|\{{[0-9]{{1,3}}(?:,[0-9]{{0,3}})?\}})?"
CHOICES = rf"(?:{PIECE})*(?:\|(?:{PIECE})*)*"
GROUP = re.compile(rf"(?<!\\)\({CHOICES}\)")


def is_portable(pattern: str) -> bool:
    """Return whether a pattern is anchored at both ends, and in the grammar."""
    if not re.fullmatch(r"\^.*\$", pattern):
        return False
    body, groups = pattern[1:-1], 1
    while groups:
        body, groups = GROUP.subn("x", body)
    return re.fullmatch(CHOICES, body) is not None


def iterate_patterns(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every pattern of a document, with its place."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        if name == "pattern" and isinstance(part, str):
            yield place, part
        yield from iterate_patterns(part, f"{place}/{name}")


def test_every_pattern_is_portable(document: Json) -> None:
    found = list(iterate_patterns(document))

    assert len(found) > 50
    assert [(place, pattern) for place, pattern in found if not is_portable(pattern)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "^[0-9a-f]{24}$",
        "^(inbox|[0-9a-f]{24})$",
        r"^[\s\S]*\S[\s\S]*$",
        '^([*]|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$',
        "^[A-Za-z0-9._-]{3,32}$",
    ],
)
def test_common_constructs_are_portable(pattern: str) -> None:
    assert is_portable(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "[0-9]",
        r"^\x41$",
        r"^[\x85]$",
        r"^\u0041$",
        r"^\u{41}$",
        r"^\p{L}$",
        r"^\d\w\b$",
        r"^\n$",
        r"^\*$",
        r"^\.$",
        "^(?:a)$",
        "^(?=a)a$",
        "^(?i)a$",
        "^(?<name>a)$",
        r"^(a)\1$",
        "^a*?$",
        "^a++$",
        "^a{1001}$",
        "^[[:alpha:]]$",
        "^[a-z&&[aeiou]]$",
        "^é$",
        "^[à-ü]$",
        "^(a$",
        "^a$b$",
    ],
)
def test_other_constructs_are_not(pattern: str) -> None:
    assert not is_portable(pattern)
