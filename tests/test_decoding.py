"""Decoding is strict and linear, and errors quote little of the input."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from todo_service.bounds.requests import JSON_CONTAINERS, JSON_DEPTH, LISTED_ERRORS, LOCATED_BYTES, POINTER_LENGTH
from todo_service.decoding import check_containers, convert, decode_json
from todo_service.errors import Invalid, Malformed, ValidationIssue


class Step(msgspec.Struct, forbid_unknown_fields=True):
    title: Annotated[str, msgspec.Meta(max_length=10)]


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    kind: Literal["a", "b"] = "a"
    number: float = 0.0
    count: int = 0
    steps: list[Step] = []


def measure_depth(body: bytes) -> int:
    """Return the nesting depth of JSON, scanned character by character."""
    depth = deepest = 0
    in_string = escaped = False
    for byte in body.decode():
        if escaped:
            escaped = False
        elif in_string:
            escaped, in_string = byte == "\\", byte != '"'
        elif byte == '"':
            in_string = True
        elif byte in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in "]}":
            depth -= 1
    return deepest


def decode_issue(body: bytes, kind: Any = Thing) -> ValidationIssue:
    with pytest.raises(Invalid) as raised:
        decode_json(body, kind)
    (issue,) = raised.value.issues
    return issue


TEXTS = st.text(st.sampled_from('ab"\\[]{}/\n\u00e9'), max_size=8)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=20,
)


@given(VALUES, st.integers(JSON_DEPTH - 4, JSON_DEPTH + 1), TEXTS, st.integers(0, 70_000), st.booleans())
def test_the_depth_matches_a_naive_scan(value: Any, levels: int, text: str, padding: int, ascii_only: bool) -> None:
    for level in range(levels):
        value = {text: value} if level % 2 else [text, value]
    body = json.dumps(["\\" * (padding % 7) + "x" * padding, value], ensure_ascii=ascii_only).encode()

    if measure_depth(body) > JSON_DEPTH:
        with pytest.raises(Malformed):
            check_containers(body)
    else:
        check_containers(body)


def test_brackets_in_strings_do_not_count() -> None:
    for text in ("[" * 100, '"' + "[" * 100, "\\" + "[" * 100, '\\"' + "{" * 100, "\\\\" * 50_000 + '"[' * 100):
        assert decode_json(json.dumps([text] * 3).encode(), list[str]) == [text] * 3


def test_escapes_are_not_split_between_chunks() -> None:
    for length in range(64 * 1024 - 8, 64 * 1024 + 8):
        text = "x" * length + '\\"' * 40 + "[" * 70
        assert decode_json(json.dumps([text]).encode(), list[str]) == [text]
        with pytest.raises(Malformed, match="64 levels"):
            decode_json(b"[" * 65 + json.dumps(text).encode() + b"]" * 65, Any)


@pytest.mark.parametrize("body", [b'["abc', b"[" * 64 + b'"', b"[" * 65 + b'"' + b'\\"' * 1000, b'["\\', b"]" * 100])
def test_truncated_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode_json(body, Any)


def test_objects_and_arrays_are_counted_outside_strings() -> None:
    for part in (b"{}", b"[]", b'{"a": "[{"}'):
        body = b"[" + b",".join([part] * (JSON_CONTAINERS - 1)) + b"]"
        assert len(decode_json(body, list[Any])) == JSON_CONTAINERS - 1

        issue = decode_issue(b"[" + body[1:-1] + b"," + part + b"]", list[Any])
        assert issue == ValidationIssue("", "Expected at most 50000 objects and arrays")


def test_parts_that_are_decoded_later_are_counted_later() -> None:
    part = b"[" + b"{}," * (JSON_CONTAINERS - 2) + b"{}]"

    parts = decode_json(b"[" + b",".join([part] * 3) + b"]", list[msgspec.Raw], parts_later=True)

    assert [len(decode_json(bytes(each), list[Any])) for each in parts] == [JSON_CONTAINERS - 1] * 3


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"name": "a\\u0000"}', "/name"),
        (b'{"steps": [{"title": "a"}, {"title": "\\u0000"}]}', "/steps/1/title"),
        (b'{"a\\u0000b": 1}', ""),
        (b'{"x/y~": "\\u0000"}', "/x~1y~0"),
        (b'{"number": 1e999, "name": "\\u0000"}', ""),
        (b'{"name": "\\u0000' + b"x" * LOCATED_BYTES + b'"}', ""),
    ],
)
def test_a_nul_is_located(body: bytes, pointer: str) -> None:
    assert decode_issue(body) == ValidationIssue(pointer, "Expected text without NUL")


def test_an_escaped_backslash_before_u0000_is_not_a_nul() -> None:
    assert decode_json(b'{"name": "\\\\u0000"}', Thing).name == "\\u0000"


@pytest.mark.parametrize("digits", ["1e400", "-1e400", "9" * 400, "9" * 10_000, "9" * 400 + ".5"])
def test_a_number_out_of_range_is_located(digits: str) -> None:
    assert decode_issue(b'{"number": %b}' % digits.encode()).pointer == "/number"


def test_a_huge_integer_is_invalid() -> None:
    assert decode_issue(b'{"count": %b}' % (b"9" * 10_000)).pointer == "/count"


def test_truncated_json_with_an_earlier_error_is_malformed() -> None:
    for end in (b"", b', "name": "\\ud800"}', b', "name": "\xff"}', b"}}"):
        with pytest.raises(Malformed):
            decode_json(b'{"count": "x"' + end, Thing)


@pytest.mark.parametrize("key", ["a", "a/b", "x" * 500_000, " - at `$" * 50_000, "`" * 100_000, "é" * 100_000])
def test_an_unknown_field_is_named_and_truncated(key: str) -> None:
    issue = decode_issue(json.dumps({key: 1}, ensure_ascii=False).encode())

    assert issue.detail == "unknown field"
    assert len(issue.pointer) <= POINTER_LENGTH


def test_an_issue_has_a_pointer() -> None:
    assert decode_issue(b'{"steps": [{}]}') == ValidationIssue("/steps/0/title", "this field is required")
    assert decode_issue(b'{"steps": [{"title": "a", "x": 1}]}') == ValidationIssue("/steps/0/x", "unknown field")
    assert decode_issue(b'{"steps": [{"title": 1}]}').pointer == "/steps/0/title"


def test_an_unknown_enum_value_is_truncated() -> None:
    assert decode_issue(b'{"kind": "c"}').detail == "Invalid enum value 'c'"
    assert decode_issue(b'{"kind": "%b"}' % (b"c" * 100_000)).detail == f"Invalid enum value '{'c' * 20}…'"


def test_deeply_nested_values_are_invalid() -> None:
    nested: Any = "x"
    for _ in range(100_000):
        nested = [nested]

    with pytest.raises(Invalid):
        convert({"steps": nested}, Thing)
    with pytest.raises(Malformed):
        decode_json(b"[" * 5000 + b"]" * 5000, Any)


def test_further_issues_are_counted() -> None:
    error = Invalid([ValidationIssue(f"/{number}" * 200, "x" * 1000) for number in range(100)]).prefix_pointers("/todo")

    assert (len(error.issues), error.omitted) == (LISTED_ERRORS, 100 - LISTED_ERRORS)
    assert str(error) == "the input is invalid; 80 more errors are omitted"
    assert all(len(issue.pointer) <= POINTER_LENGTH and len(issue.detail) <= 200 for issue in error.issues)
