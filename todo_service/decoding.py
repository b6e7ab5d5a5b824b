"""JSON read strictly, and what msgspec says of a value that does not fit, as a fault with its place."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec

from todo_service.errors import Fault, Invalid, Malformed
from todo_service.timestamps import Timestamp

MAXIMUM_DEPTH: Final = 64
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_OPENING: Final = b"[{"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_AT_PATH: Final = re.compile(r"(?P<detail>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_NAMED_FIELD: Final = re.compile(r"Object (?:contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_PATH_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_NUL: Final = "Expected text without NUL"


def decode_hook(kind: type, value: object) -> object:
    """Build our own types for msgspec."""
    if kind is Timestamp:
        return Timestamp.parse(value)
    raise NotImplementedError(kind)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=decode_hook)


def decode_json(body: bytes, kind: Any, *, parts_later: bool = False) -> Any:
    """Decode JSON (RFC 8259) into a type, strictly.

    Args:
        body: The text, in UTF-8 without a byte order mark.
        kind: Whatever msgspec decodes into.
        parts_later: Whether the type keeps parts as they are (`msgspec.Raw`), each to be decoded by itself and to
            fail by itself: then a NUL is not looked for.

    Raises:
        Malformed: it is no JSON, or has broken UTF-8, a lone surrogate or more than 64 levels.
        Invalid: with the place, it does not fit the type, or has a NUL in a text.
    """
    _refuse_depth(body)
    try:
        if parts_later:
            body.decode("utf-8")  # msgspec passes over what it keeps as it is
        value = _decoder(kind).decode(body)
    except msgspec.ValidationError as error:
        # msgspec stops at the first fault, which may stand before the text breaks off
        _refuse_nul(_well_formed(body), "")
        raise Invalid([fault_of(error)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("the body is no well-formed JSON in UTF-8") from None
    if not parts_later and b"\\u0000" in body:
        _refuse_nul(_decoder(Any).decode(body), "")
    return value


def convert(values: Any, kind: Any, *, strict: bool = True) -> Any:
    """Convert values into a type.

    Args:
        values: What JSON is made of.
        kind: Whatever msgspec converts into.
        strict: Whether text may not stand for numbers and truth.

    Raises:
        Invalid: with the place, they do not fit the type, or have a NUL in a text.
    """
    _refuse_nul(values, "")
    try:
        return msgspec.convert(values, kind, strict=strict, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise Invalid([fault_of(error)]) from None


def fault_of(error: msgspec.ValidationError) -> Fault:
    """Read the place from msgspec's message, which ends in ``- at `$.path` ``."""
    match = _AT_PATH.fullmatch(str(error))
    assert match is not None  # the pattern matches any text
    pointer = "".join(f"/{_escape(name or index)}" for name, index in _PATH_STEP.findall(match["path"] or ""))
    if named := _NAMED_FIELD.fullmatch(match["detail"]):
        pointer += f"/{_escape(named['name'][:100])}"
        unknown = "unknown" in match["detail"].split("`", 1)[0]
        return Fault(pointer, "there is no such field" if unknown else "this field is required")
    return Fault(pointer, match["detail"])


def _refuse_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAXIMUM_DEPTH:
        return
    depth = 0
    for byte in _STRINGS.sub(b"", body).translate(None, _NO_BRACKETS):
        if byte in _OPENING:
            depth += 1
            if depth > MAXIMUM_DEPTH:
                raise Malformed(f"the body is nested deeper than {MAXIMUM_DEPTH} levels")
        else:
            depth -= 1


def _well_formed(body: bytes) -> Any:
    try:
        return _decoder(Any).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("the body is no well-formed JSON in UTF-8") from None


def _refuse_nul(value: object, pointer: str) -> None:
    if isinstance(value, str) and "\x00" in value:
        raise Invalid([Fault(pointer, _NUL)])
    if isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_nul(item, f"{pointer}/{index}")
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_nul(name, pointer)
            _refuse_nul(item, f"{pointer}/{_escape(name)}")


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
