"""Every location in the API that accepts a value from a client, derived from the OpenAPI document."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from tests.attacks.shapes import (
    AnyShape,
    Encoding,
    calendar_shapes,
    document_shapes,
    json_shapes,
    number_shapes,
    table_shapes,
    text_shapes,
)
from tests.openapi.document import Json, Operation, resolve

MARK: Final = "HOSTILE-VALUE"
"""The placeholder for the hostile value in a template."""
_LIST_KINDS: Final = ("array",)
_NUMBER_KINDS: Final = ("number", "integer")
_CALENDAR: Final = (
    ("BEGIN:VTODO\r\nUID:1\r\nDTSTAMP:20270101T090000Z\r\nDTSTART:20270131T090000Z\r\n", "END:VTODO\r\n"),
    ("BEGIN:VTIMEZONE\r\nTZID:Z\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n", "END:STANDARD\r\nEND:VTIMEZONE\r\n"),
)
_TODO_PROPERTIES: Final = (
    *("SUMMARY", "DESCRIPTION", "UID", "DUE", "DUE;TZID=Z", "DTSTART", "DURATION", "RRULE", "EXDATE", "CATEGORIES"),
    *("RELATED-TO", "RECURRENCE-ID", "PRIORITY", "STATUS", "PERCENT-COMPLETE", "COMPLETED", "CREATED", "X-OTHER"),
)
_ZONE_PROPERTIES: Final = ("RRULE", "RDATE", "TZOFFSETFROM", "TZNAME")
_FORM: Final = "application/x-www-form-urlencoded"


class Request(NamedTuple):
    """A request that is ready to send."""

    method: str
    target: str
    headers: dict[str, str | bytes]
    body: bytes | None


class Location(NamedTuple):
    """A location that accepts a value.

    Attributes:
        operation: The operationId.
        name: The name of the location: a JSON pointer, a parameter or a column.
        encoding: The encoding of the value.
        shapes: The hostile values to send.
        method: The HTTP method.
        target: The path and query, with `MARK` if the value is a parameter.
        header: The header that contains the value, or None.
        media_type: The media type of the body, or None.
        template: The body, with `MARK` if it contains the value.
    """

    operation: str
    name: str
    encoding: Encoding
    shapes: Sequence[AnyShape]
    method: str
    target: str
    header: str | None = None
    media_type: str | None = None
    template: bytes | None = None

    @property
    def title(self) -> str:
        """The location in one line, for messages."""
        return f"{self.operation}, {self.media_type or self.encoding}, {self.name or 'whole body'}"

    def request(self, shape: AnyShape, size: int) -> Request:
        """Return a request whose body, target or header has about `size` bytes."""
        template = self.template or b""
        value = shape.fill(size - max(0, len(template) - len(MARK)))
        headers: dict[str, str | bytes] = {}
        if self.media_type is not None:
            headers["Content-Type"] = self.media_type
        if self.header is not None:
            headers[self.header] = value
        target = self.target.replace(MARK, value.decode() if self.encoding == "query" else "")
        body = None if self.template is None else template.replace(MARK.encode(), value)
        return Request(self.method, target, headers, body)


def find_locations(operation: Operation, document: Json, ids: dict[str, str]) -> Iterator[Location]:
    """Yield every location of an operation.

    Args:
        operation: The operation.
        document: The document that contains it.
        ids: The values of path parameters, by name.
    """
    path = operation.path
    for name, value in ids.items():
        path = path.replace("{" + name + "}", value)
    base = Location(operation.id, "", "json", [], operation.method, path)
    for name, parameter in operation.parameters.items():
        yield from _parameter_locations(base, name, parameter, operation.path, ids)
    content = operation.raw.get("requestBody", {}).get("content", {})
    for media_type, medium in content.items():
        example, schema = medium["example"], medium["schema"]
        within = base._replace(media_type=media_type)
        if media_type == "text/csv":
            yield from _column_locations(within, document)
        elif media_type == "text/calendar":
            yield from _calendar_locations(within)
        elif media_type == _FORM:
            yield from _field_locations(within, schema, example, document)
        else:
            yield from _json_locations(within, schema, example, document, ids)
    if not content:  # a body that the operation does not expect
        yield base._replace(media_type="application/json", template=MARK.encode(), shapes=json_shapes())


def _parameter_locations(
    base: Location, name: str, parameter: Json, path: str, ids: dict[str, str]
) -> Iterator[Location]:
    match parameter["in"]:
        case "query":
            shapes = text_shapes("query", name)
            yield base._replace(name=name, encoding="query", shapes=shapes, target=f"{base.target}?{name}={MARK}")
        case "path":
            others = {other: value for other, value in ids.items() if other != name}
            for other, value in others.items():
                path = path.replace("{" + other + "}", value)
            # characters that separate query parameters are plain text in a path
            target = path.replace("{" + name + "}", MARK)
            yield base._replace(name=name, encoding="query", shapes=text_shapes("query", name), target=target)
        case "header":
            yield base._replace(name=name, encoding="header", shapes=text_shapes("header"), header=name)


def _json_locations(
    base: Location, schema: Json, example: Any, document: Json, ids: dict[str, str]
) -> Iterator[Location]:
    found: dict[tuple[str, str], None] = {}
    for pointer, kind, element in _iterate_values(schema, "", document):
        if (pointer, kind) in found:
            continue
        found[pointer, kind] = None
        shapes: list[AnyShape] = []
        shapes += json_shapes(json.dumps(element).encode() if kind in _LIST_KINDS and element is not None else b"0")
        if kind in _NUMBER_KINDS:
            shapes += number_shapes()
        if not pointer:
            shapes += number_shapes() + document_shapes()
        for body in _bodies(pointer, example, ids):
            template = json.dumps(body).replace(json.dumps(MARK), MARK).encode()
            yield base._replace(name=pointer, shapes=shapes, template=template)


def _bodies(pointer: str, example: Any, ids: dict[str, str]) -> Iterator[Any]:
    """Yield bodies with the mark at a pointer. For a batch, yield one for a create and one for an update."""
    if pointer.startswith("/operations/0/"):
        update = {"op": "update", "id": ids["todo_id"], "todo": example["operations"][0]["todo"]}
        yield _insert_mark({"operations": [update]}, pointer)
    yield _insert_mark(example, pointer)


def _insert_mark(body: Any, pointer: str) -> Any:
    """Return a body with the mark at a pointer. Create missing lists and objects on the way."""
    if not pointer:
        return MARK
    step, _, rest = pointer[1:].partition("/")
    rest = f"/{rest}" if rest else ""
    if step.isdigit():
        items = list(body) if isinstance(body, list) else []
        return [_insert_mark(items[0] if items else None, rest), *items[1:]]
    members = copy.copy(body) if isinstance(body, dict) else {}
    return members | {step: _insert_mark(members.get(step), rest)}


def _iterate_values(schema: Json, pointer: str, document: Json) -> Iterator[tuple[str, str, Any]]:
    """Yield the pointer and the type of every value of a schema except booleans. A list has one example element."""
    if "$ref" in schema:
        schema = resolve({"$ref": schema["$ref"]}, document)
    for alternative in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _iterate_values(alternative, pointer, document)
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind in ("null", "boolean"):
            continue
        items = schema.get("items", {})
        yield pointer, kind, make_example(items, document) if kind == "array" else None
        if kind == "array":
            yield from _iterate_values(items, f"{pointer}/0", document)
        for name, member in schema.get("properties", {}).items() if kind == "object" else ():
            yield from _iterate_values(member, f"{pointer}/{name}", document)


def make_example(schema: Json, document: Json) -> Any:
    """Return a valid value for a schema, built from its examples."""
    if "$ref" in schema:
        schema = resolve({"$ref": schema["$ref"]}, document)
    if schema.get("examples"):
        return schema["examples"][0]
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return make_example(alternatives[0], document)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        required = schema.get("required", [])
        return {name: make_example(schema["properties"][name], document) for name in required}
    return {"string": "x", "boolean": False, "integer": 1, "number": 1.0, "array": []}.get(schema.get("type", ""))


def _field_locations(base: Location, schema: Json, example: Json, document: Json) -> Iterator[Location]:
    for pointer, _, _ in _iterate_values(schema, "", document):
        name = pointer[1:]
        fields = {key: value for key, value in example.items() if key != name}
        template = urlencode(fields) + (f"&{name}={MARK}" if name else MARK)
        shapes = text_shapes("form", name or "x")
        yield base._replace(name=name, encoding="form", shapes=shapes, template=template.encode())


def _column_locations(base: Location, document: Json) -> Iterator[Location]:
    yield base._replace(encoding="csv", shapes=table_shapes(), template=MARK.encode())
    columns = [*document["components"]["schemas"]["Todo"]["properties"], "list"]
    for name in columns:
        header, row = f"title,{name}" if name != "title" else name, f'x,"{MARK}"' if name != "title" else f'"{MARK}"'
        template = f"{header}\r\n{row}\r\n".encode()
        yield base._replace(name=name, encoding="csv", shapes=text_shapes("csv"), template=template)


def _calendar_locations(base: Location) -> Iterator[Location]:
    yield base._replace(encoding="calendar", shapes=calendar_shapes(), template=MARK.encode())
    (todo, end), (zone, zone_end) = _CALENDAR
    templates = {name: f"{todo}{name}:{MARK}\r\n{end}" for name in _TODO_PROPERTIES}
    templates["DUE;TZID"] = f"{todo}DUE;TZID={MARK}:20270131T090000\r\n{end}"
    templates["SUMMARY;X-PARAMETER"] = f"{todo}SUMMARY{MARK}:x\r\n{end}"
    templates["X-WR-TIMEZONE"] = f"X-WR-TIMEZONE:{MARK}\r\n{todo}SUMMARY:x\r\n{end}"
    due = f"{todo}SUMMARY:x\r\nDUE;TZID=Z:20270131T090000\r\n{end}"
    for name in _ZONE_PROPERTIES:
        templates[f"VTIMEZONE {name}"] = f"{zone}{name}:{MARK}\r\n{zone_end}{due}"
    for name, lines in templates.items():
        template = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{lines}END:VCALENDAR\r\n".encode()
        yield base._replace(name=name, encoding="calendar", shapes=text_shapes("calendar"), template=template)
