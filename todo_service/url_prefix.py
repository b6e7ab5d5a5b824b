"""The prefix of a service's URLs: the path below which a proxy publishes it, such as `/todo`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from todo_service.bounds.requests import PREFIX_LENGTH

RESERVED_SEGMENTS: Final = ("docs", "health", "metrics", "schema", "v1")
"""The first segments of the service's own paths. A prefix that begins with one would make a path ambiguous."""
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=:@-]|%[0-9A-Fa-f]{2})+")


def parse_prefix(text: str) -> str:
    """Return a prefix in normal form, which is safe in headers, JSON, YAML and HTML without further encoding.

    The normal form is "", or a path without a slash at the end in which every character other than letters, digits and
    `-._~` is percent-encoded (RFC 3986, section 2).

    Args:
        text: An absolute path, in which other characters than those of a path are percent-encoded, or "". A slash at
            the end is ignored.

    Raises:
        ValueError: The path is longer than `PREFIX_LENGTH`, is not absolute, contains an empty segment, `.`, `..` or
            an encoded slash, or begins with one of `RESERVED_SEGMENTS`.
    """
    if len(text) > PREFIX_LENGTH:
        raise ValueError("the prefix is too long")
    path = text.removesuffix("/")
    if not path:
        return ""
    start, *segments = path.split("/")
    if start or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise ValueError("the prefix is not an absolute path")
    names = [unquote(segment, errors="strict") for segment in segments]
    if any(name in (".", "..") or "/" in name or not name.isprintable() for name in names):
        raise ValueError("the prefix contains a segment that is not a name")
    if names[0] in RESERVED_SEGMENTS:
        raise ValueError("the prefix begins with a segment of the service's own paths")
    return "".join(f"/{quote(name, safe='')}" for name in names)
