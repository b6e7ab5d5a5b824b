"""Entity tags and the conditions on them (RFC 9110, sections 8.8.3 and 13.1).

A document's tag is its version, which every change raises: a strong tag. The conditions are read here; `If-Match` is
decided inside the store, as a condition on the version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from litestar import Response

from todo_service.bounds.requests import ENTITY_TAGS
from todo_service.web.problems import invalid_parameter

if TYPE_CHECKING:
    from litestar import Request

_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


class Versioned(Protocol):
    """What has a version has an entity tag."""

    version: int


def entity_tag(document: Versioned) -> str:
    """Return the strong entity tag of a document."""
    return f'"{document.version}"'


def parse_if_match(request: Request[Any, Any, Any]) -> frozenset[int] | None:
    """Read `If-Match`.

    Returns:
        The versions that the caller accepts (none at all where only tags are named that no document ever has), or
        None where any will do: no condition, or `*`.

    Raises:
        ProblemError: 422, the header is no list of entity tags.
    """
    header = _header(request, "if-match")
    return None if header is None else parse_entity_tags(header, "If-Match")


def parse_entity_tags(header: str, name: str) -> frozenset[int] | None:
    """Return the versions that a list of entity tags names, or None for `*`.

    Args:
        header: Entity tags, or `*`.
        name: What the caller calls it.

    Raises:
        ProblemError: 422, it is no such list.
    """
    if header.strip() == "*":
        return None
    # a weak tag never matches strongly (RFC 9110, 8.8.3.2)
    return frozenset(
        int(opaque)
        for weak, opaque in _tags(header, name)
        if not weak and opaque.isascii() and opaque.isdecimal() and len(opaque) < 19
    )


def respond_with_tag(request: Request[Any, Any, Any], document: Versioned) -> Response[Any]:
    """Answer a document with its tag, or 304 where `If-None-Match` names the tag already."""
    tag = entity_tag(document)
    header = _header(request, "if-none-match")
    if header is not None and (
        header.strip() == "*" or any(f'"{opaque}"' == tag for _, opaque in _tags(header, "If-None-Match"))
    ):
        return Response(None, status_code=304, headers={"ETag": tag})
    return Response(document, headers={"ETag": tag})


def _header(request: Request[Any, Any, Any], name: str) -> str | None:
    key = name.encode()
    values = [value.decode("latin-1") for header, value in request.scope["headers"] if header == key]
    return ", ".join(values) if values else None


def _tags(header: str, name: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(header):
        if len(found) == ENTITY_TAGS:
            raise invalid_parameter(name, f"Expected {ENTITY_TAGS} entity tags at most")
        match = _TAG.match(header, position)
        if match is None:
            raise invalid_parameter(name, 'Expected entity tags, such as "3"')
        found.append((match[1] or "", match[2]))
        position = match.end()
    if not found:
        raise invalid_parameter(name, 'Expected entity tags, such as "3"')
    return found
