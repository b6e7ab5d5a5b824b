"""Strict decoding of JSON, with msgspec's errors as issues with JSON pointers.

Decoding takes linear time and bounded memory for any input: objects and arrays are counted in one pass before any of
them is created, pointers are computed only for errors, and errors quote a bounded part of the input.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate
from typing import Any, Final

import msgspec

from todo_service.bounds.requests import (
    JSON_CONTAINERS,
    JSON_DEPTH,
    LOCATED_BYTES,
    POINTER_LENGTH,
    REPEATED_NAME_LENGTH,
    REPEATED_VALUE_LENGTH,
)
from todo_service.errors import Invalid, Malformed, ValidationIssue
from todo_service.timestamps import Timestamp

_CHUNK_BYTES: Final = 64 * 1024
_NO_BRACKETS_OR_QUOTES: Final = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS: Final = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")  # as signed bytes: 1 and -1
_AT: Final = " - at `$"
_PATH_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN: Final = "Object contains unknown field `"
_MISSING: Final = "Object missing required field `"
_NO_SUCH_VALUE: Final = "Invalid enum value "
_NUL: Final = "\x00"
_NUL_DETAIL: Final = "Expected text without NUL"
_UNKNOWN_DETAIL: Final = "unknown field"
_READ_ONLY_DETAIL: Final = "this field is read-only"
_MALFORMED: Final = "the body is not well-formed JSON in UTF-8"
_read_only_fields: dict[Any, frozenset[str]] = {}
"""The read-only fields of a resource by the type of the request body."""


def declare_read_only(resource: type[msgspec.Struct], *bodies: type[msgspec.Struct]) -> None:
    """Declare as read-only the fields of a resource that its request bodies lack, so that errors can say so.

    Args:
        resource: The type of the resource in responses.
        bodies: The types of request bodies that create or update it.
    """
    for body in bodies:
        _read_only_fields[body] = frozenset(resource.__struct_fields__).difference(body.__struct_fields__)


def decode_hook(kind: type, value: object) -> object:
    """Decode custom types for msgspec."""
    if kind is Timestamp:
        return Timestamp.parse(value)
    raise NotImplementedError(kind)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=decode_hook)


def decode_json(body: bytes, kind: Any, *, parts_later: bool = False) -> Any:
    """Decode JSON (RFC 8259) into a type, strictly.

    Args:
        body: The JSON text, in UTF-8 without a byte order mark.
        kind: A type that msgspec can decode.
        parts_later: Whether the type contains `msgspec.Raw` parts, which the caller decodes later. They are not checked
            for NUL here, and their objects and arrays are not counted.

    Raises:
        Malformed: The body is not JSON, has invalid UTF-8 or a lone surrogate, or is nested more than 64 levels deep.
        Invalid: The value does not match the type, has more than 50 000 objects and arrays, or contains NUL.
    """
    check_containers(body, sys.maxsize if parts_later else JSON_CONTAINERS)
    try:
        if parts_later:
            body.decode("utf-8")  # msgspec does not validate raw parts
        value = _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        # msgspec stops at the first error, which may precede malformed text
        _check_well_formed(body)
        _reject_escaped_nul(body)
        raise Invalid([_name_read_only(to_issue(error), kind)]) from None
    except (ValueError, RecursionError):
        raise Malformed(_MALFORMED) from None
    if not parts_later:
        _reject_escaped_nul(body)
    return value


def convert(values: Any, kind: Any, *, strict: bool = True) -> Any:
    """Convert values into a type.

    Args:
        values: Values of JSON types.
        kind: A type that msgspec can convert to.
        strict: Whether to reject strings for numbers and booleans.

    Raises:
        Invalid: The values do not match the type, or a string contains NUL.
    """
    if (pointer := _find_nul(values)) is not None:
        raise Invalid([ValidationIssue(pointer, _NUL_DETAIL)])
    try:
        return msgspec.convert(values, kind, strict=strict, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise Invalid([to_issue(error)]) from None
    except (ValueError, OverflowError, RecursionError):
        raise Invalid([ValidationIssue("", "Expected a value of another format")]) from None


def check_containers(body: bytes, most: int = JSON_CONTAINERS) -> None:
    """Check the depth and the number of the objects and arrays in JSON, in linear time and with a buffer of 64 KiB.

    msgspec creates all elements of an array before it checks their number. Hundreds of thousands of empty objects would
    block the event loop for 100 ms.

    Args:
        body: The JSON text. Malformed JSON may pass.
        most: The maximum number of objects and arrays.

    Raises:
        Malformed: The objects and arrays are nested more than 64 levels deep.
        Invalid: There are more than `most`.
    """
    if body.count(b"[") + body.count(b"{") <= JSON_DEPTH:
        return
    depth = containers = 0
    for brackets in _brackets_outside_strings(body):
        levels = array("b", brackets.translate(_STEPS))
        if max(accumulate(levels, initial=depth)) > JSON_DEPTH:
            raise Malformed(f"the body is nested more than {JSON_DEPTH} levels deep")
        depth += sum(levels)
        containers += brackets.count(b"[") + brackets.count(b"{")
        if containers > most:
            raise Invalid([ValidationIssue("", f"Expected at most {most} objects and arrays")])


def to_issue(error: msgspec.ValidationError) -> ValidationIssue:
    """Convert an error of msgspec, whose message ends in ``- at `$.path` ``, to an issue."""
    message = str(error)
    detail, at, path = message.rpartition(_AT)
    if not at:
        detail, path = message, ""
    pointer = _pointer(name or index for name, index in _PATH_STEP.findall(path[:POINTER_LENGTH].removesuffix("`")))
    for prefix, text in ((_UNKNOWN, _UNKNOWN_DETAIL), (_MISSING, "this field is required")):
        if detail.startswith(prefix):
            name = detail.removeprefix(prefix).removesuffix("`")
            return ValidationIssue(pointer + _pointer([name[:REPEATED_NAME_LENGTH]]), text)
    if detail.startswith(_NO_SUCH_VALUE):
        detail = _shorten(detail, len(_NO_SUCH_VALUE) + 1 + REPEATED_VALUE_LENGTH)
    return ValidationIssue(pointer, detail)


def _name_read_only(issue: ValidationIssue, kind: Any) -> ValidationIssue:
    """Return an issue whose detail tells read-only fields from unknown ones."""
    if issue.detail == _UNKNOWN_DETAIL and issue.pointer[1:] in _read_only_fields.get(kind, ()):
        return ValidationIssue(issue.pointer, _READ_ONLY_DETAIL)
    return issue


def _shorten(detail: str, longest: int) -> str:
    """Truncate a message that ends in a quoted value."""
    return detail if len(detail) <= longest + 1 else f"{detail[:longest]}…{detail[-1]}"


def _brackets_outside_strings(body: bytes) -> Iterator[bytes]:
    """Yield the brackets of JSON outside strings, in chunks."""
    start, in_string = 0, False
    while start < len(body):
        chunk = body[start : start + _CHUNK_BYTES]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2 and start + len(chunk) < len(body):
            chunk = chunk[:-1]  # do not split an escape
        start += len(chunk)
        # backslashes occur only in strings, so the first one of a run escapes the second one
        unescaped = chunk.replace(b"\\\\", b"").replace(b'\\"', b"")
        # adjacent quotes have no bracket between them: they begin and end a string, or end one and begin the next
        parts = unescaped.translate(None, _NO_BRACKETS_OR_QUOTES).replace(b'""', b"").split(b'"')
        yield b"".join(parts[in_string::2])
        in_string ^= len(parts) % 2 == 0


def _check_well_formed(body: bytes) -> None:
    try:
        body.decode("utf-8")
        _decoder(msgspec.Raw).decode(body)
    except (ValueError, RecursionError):
        raise Malformed(_MALFORMED) from None


def _reject_escaped_nul(body: bytes) -> None:
    """Reject well-formed JSON with NUL, which it can contain only as an escape."""
    if b"\\u0000" not in body or b"\\u0000" not in body.replace(b"\\\\", b""):
        return
    pointer = None
    if len(body) <= LOCATED_BYTES:
        try:
            pointer = _find_nul(_decoder(Any).decode(body))
        except msgspec.ValidationError:
            pointer = None  # a number is out of range
    raise Invalid([ValidationIssue(pointer or "", _NUL_DETAIL)])


def _find_nul(value: object) -> str | None:
    """Return the JSON pointer to the first string with NUL, or None."""
    keys: list[object] = [""]
    open_containers: list[Iterator[tuple[object, object]]] = [iter([("", value)])]
    while open_containers:
        for key, item in open_containers[-1]:
            if isinstance(key, str) and _NUL in key:
                return _pointer(keys[1:-1])
            keys[-1] = key
            if isinstance(item, str):
                if _NUL in item:
                    return _pointer(keys[1:])
            elif isinstance(item, list | dict):
                open_containers.append(iter(item.items() if isinstance(item, dict) else enumerate(item)))
                keys.append("")
                break
        else:
            open_containers.pop()
            keys.pop()
    return None


def _pointer(keys: Iterable[object]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in keys)
