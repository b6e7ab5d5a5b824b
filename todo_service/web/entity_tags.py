"""Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13.1).

A document's entity tag is its version, which every change increments, so it is a strong tag. This module parses the
conditions. The services evaluate those of writes atomically, as conditions on the version (optimistic locking).

A proxy that compresses a response changes its tag: nginx makes the tag weak, and Apache and others append the content
coding. The changed tag is accepted for the same version, because it still identifies the version.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import TYPE_CHECKING, Any, Final, Protocol

from litestar import Response

from todo_service.bounds.requests import ENTITY_TAGS
from todo_service.versions import AcceptedVersions, check_version
from todo_service.web.problems import create_parameter_problem

if TYPE_CHECKING:
    from litestar import Request

_ELEMENT: Final = re.compile(r'[ \t]*(?:(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*)?(?:,|$)')
"""An element of a list of entity tags, or an empty element (RFC 9110, section 5.6.1)."""
_VERSION: Final = re.compile(r"(0|[1-9]\d{0,17})(?:[-;]{1,2}(?:gzip|br|deflate|zstd))?", re.ASCII)
"""A version, perhaps with the content coding that a proxy has appended: `3-gzip`, `3;gzip`, `3--gzip`."""


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


def parse_conditions(request: Request[Any, Any, Any]) -> Container[int] | None:
    """Parse `If-Match` and `If-None-Match` of a request that changes or deletes an existing document.

    Returns:
        The versions of the document for which both conditions hold, or None for any.

    Raises:
        ProblemError: 422, a header is not a list of entity tags.
    """
    matching = parse_if_match(request)
    header = _header(request, "if-none-match")
    if header is None:
        return matching
    excluded = parse_entity_tags(header, "If-None-Match")
    return frozenset() if excluded is None else AcceptedVersions(matching, excluded)


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
    matches = map(_VERSION.fullmatch, _split_tags(header, name))
    return frozenset(int(match[1]) for match in matches if match is not None)


def respond_with_tag(request: Request[Any, Any, Any], document: Versioned) -> Response[Any]:
    """Return a document with its entity tag, or 304 if `If-None-Match` has that tag.

    Raises:
        Stale: `If-Match` does not have the tag.
        ProblemError: 422, a header is not a list of entity tags.
    """
    matching = parse_if_match(request)
    check_version(document.version, matching)
    headers = {"ETag": entity_tag(document)}
    header = _header(request, "if-none-match")
    if header is not None:
        known = parse_entity_tags(header, "If-None-Match")
        if known is None or document.version in known:
            return Response(None, status_code=304, headers=headers)
    return Response(document, headers=headers)


def _header(request: Request[Any, Any, Any], name: str) -> str | None:
    key = name.encode()
    values = [value.decode("latin-1") for header, value in request.scope["headers"] if header == key]
    return ", ".join(values) if values else None


def _split_tags(header: str, name: str) -> list[str]:
    """Return the opaque parts of the entity tags in a list."""
    found: list[str] = []
    position = 0
    while position < len(header):
        match = _ELEMENT.match(header, position)
        if match is None:
            raise create_parameter_problem(name, 'Expected entity tags, such as "3"')
        if match[1] is not None:
            found.append(match[1])
        if len(found) > ENTITY_TAGS:
            raise create_parameter_problem(name, f"Expected at most {ENTITY_TAGS} entity tags")
        position = match.end()
    if not found:
        raise create_parameter_problem(name, 'Expected entity tags, such as "3"')
    return found
