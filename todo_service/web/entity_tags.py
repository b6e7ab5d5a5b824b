"""Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13.1).

A document's entity tag is its version, which every change increments, so it is a strong tag. This module parses the
conditions. The store evaluates `If-Match` atomically, as a condition on the version (optimistic locking).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol

from litestar import Response

from todo_service.bounds.requests import ENTITY_TAGS
from todo_service.web.problems import create_parameter_problem

if TYPE_CHECKING:
    from litestar import Request

_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')


class Versioned(Protocol):
    """A document with a version, and so with an entity tag."""

    @property
    def version(self) -> int:
        """The version."""


def entity_tag(document: Versioned) -> str:
    """Return the strong entity tag of a document."""
    return f'"{document.version}"'


def parse_if_match(request: Request[Any, Any, Any]) -> frozenset[int] | None:
    """Parse `If-Match`.

    Returns:
        The versions that match, or None if every version does: the header is missing or `*`. The set is empty if no
        tag in the header can be that of a document.

    Raises:
        ProblemError: 422, the header is not a list of entity tags.
    """
    header = _header(request, "if-match")
    return None if header is None else parse_entity_tags(header, "If-Match")


def parse_entity_tags(header: str, name: str) -> frozenset[int] | None:
    """Return the versions in a list of entity tags, or None for `*`.

    Args:
        header: Entity tags, or `*`.
        name: The name of the header or parameter, for errors.

    Raises:
        ProblemError: 422, the header is not a list of entity tags.
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
    """Return a document with its entity tag, or 304 if `If-None-Match` has that tag."""
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
            raise create_parameter_problem(name, f"Expected at most {ENTITY_TAGS} entity tags")
        match = _TAG.match(header, position)
        if match is None:
            raise create_parameter_problem(name, 'Expected entity tags, such as "3"')
        found.append((match[1] or "", match[2]))
        position = match.end()
    if not found:
        raise create_parameter_problem(name, 'Expected entity tags, such as "3"')
    return found
