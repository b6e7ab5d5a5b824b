"""Breaking changes between two OpenAPI documents, for generated clients."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.openapi.document import Json, Operation, follow_pointer, iterate_operations


def find_breaking_changes(old: Json, new: Json) -> list[str]:
    """Return a description of every change between two documents that breaks clients.

    These are removals (of an operation, parameter, property, status, header, media type or enum value), new demands (a
    required input, a token, a tighter bound), and new kinds of output (another type, a property that may be missing).
    """
    found: list[str] = []
    after = {(operation.method, operation.path): operation for operation in iterate_operations(new)}
    for operation in iterate_operations(old):
        there = after.get((operation.method, operation.path))
        if there is None:
            found.append(f"{operation.id}: the operation is removed")
        elif there.id != operation.id:
            found.append(f"{operation.id}: the operation is renamed to {there.id}")
        else:
            found += _Comparison(old, new).operation(operation, there)
    return list(dict.fromkeys(found))


def is_allowed(changelog: str, old_version: str, new_version: str) -> bool:
    """Return whether breaking changes are allowed: the version has changed, and the changelog lists them.

    Args:
        changelog: The changelog, in the format of Keep a Changelog.
        old_version: The version of the older document.
        new_version: The version of the newer document.
    """
    if old_version == new_version:
        return False
    sections = re.split(r"^## \[", changelog, flags=re.MULTILINE)[1:]
    own = [text for text in sections if text.startswith((f"{new_version}]", "Unreleased]"))]
    return any(re.search(r"^### (Changed|Removed)\n+- ", text, re.MULTILINE) for text in own)


class _Comparison:
    def __init__(self, old: Json, new: Json) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[str, str, bool]] = set()

    def operation(self, old: Operation, new: Operation) -> Iterator[str]:
        if old.raw.get("security") == [] and new.raw.get("security") != []:
            yield f"{old.id}: a token is required now"
        yield from self._parameters(old, new)
        before, after = old.raw.get("requestBody", {}), new.raw.get("requestBody", {})
        if after.get("required") and not before.get("required"):
            yield f"{old.id}: a body is required now"
        yield from self._content(before, after, f"{old.id} request", is_input=True)
        for status, response in old.responses.items():
            if status not in new.responses:
                yield f"{old.id}: the status {status} is removed"
                continue
            there = new.responses[status]
            for name in set(response.get("headers", {})) - set(there.get("headers", {})):
                yield f"{old.id} {status}: the header {name} is removed"
            yield from self._content(response, there, f"{old.id} {status}", is_input=False)

    def _parameters(self, old: Operation, new: Operation) -> Iterator[str]:
        for name, parameter in new.parameters.items():
            before = old.parameters.get(name)
            if parameter.get("required") and (before is None or not before.get("required")):
                yield f"{old.id}: the parameter {name} is required now"
        for name, parameter in old.parameters.items():
            if name not in new.parameters:
                yield f"{old.id}: the parameter {name} is removed"
                continue
            place = f"{old.id}: the parameter {name}"
            yield from self._schema(parameter["schema"], new.parameters[name]["schema"], place, is_input=True)

    def _content(self, old: Json, new: Json, place: str, *, is_input: bool) -> Iterator[str]:
        for kind, media in old.get("content", {}).items():
            if kind not in new.get("content", {}):
                yield f"{place}: the media type {kind} is removed"
                continue
            yield from self._schema(media["schema"], new["content"][kind]["schema"], place, is_input=is_input)

    def _schema(self, old: Json, new: Json, place: str, *, is_input: bool) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            pair = (old["$ref"], new["$ref"], is_input)
            if pair in self._seen:
                return
            self._seen.add(pair)
            place = f"{'request' if is_input else 'response'} {old['$ref'].rpartition('/')[2]}"
        old, new = self._whole(old, self._old), self._whole(new, self._new)
        for value in old.get("enum", []):
            if value not in new.get("enum", [value]):
                yield f"{place}: the value {value} is removed"
        narrower, wider = (old, new) if not is_input else (new, old)
        if _kinds(narrower) and (further := _kinds(wider) - _kinds(narrower)):
            yield f"{place}: the type changes ({', '.join(sorted(further))})"
        if is_input:
            yield from _closer(old, new, place)
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                yield f"{place}: the property {name} is removed"
                continue
            yield from self._schema(schema, after[name], f"{place}/{name}", is_input=is_input)
        required = set(new.get("required", ())) - set(old.get("required", ()))
        missing = set(old.get("required", ())) - set(new.get("required", ()))
        for name in sorted(required if is_input else set()):
            yield f"{place}: the property {name} is required now"
        for name in sorted(missing & set(after) if not is_input else set()):
            yield f"{place}: the property {name} may be missing now"
        if "items" in old and "items" in new:
            yield from self._schema(old["items"], new["items"], f"{place}/*", is_input=is_input)
        for left, right in zip(old.get("anyOf", ()), new.get("anyOf", ()), strict=False):
            yield from self._schema(left, right, place, is_input=is_input)

    @staticmethod
    def _whole(schema: Json, document: Json) -> Json:
        return follow_pointer(schema["$ref"], document) if "$ref" in schema else schema


def _kinds(schema: Json) -> set[str]:
    """Return the types of a schema, and the components that it may refer to instead."""
    kinds = schema.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    for choice in schema.get("anyOf", ()):
        found |= {choice["$ref"]} if "$ref" in choice else _kinds(choice)
    return found


def _closer(old: Json, new: Json, place: str) -> Iterator[str]:
    """Yield the bounds that are tighter than before. Patterns are not compared."""
    for name in ("maxLength", "maxItems", "maximum"):
        if name in new and new[name] < old.get(name, float("inf")):
            yield f"{place}: {name} is {new[name]} now"
    for name in ("minLength", "minItems", "minimum"):
        if name in new and new[name] > old.get(name, 0):
            yield f"{place}: {name} is {new[name]} now"
    if new.get("additionalProperties") is False and "additionalProperties" not in old:
        yield f"{place}: unknown properties are rejected now"
