"""Seals and derived keys."""

from __future__ import annotations

from todo_service.security.sealing import SEAL_BYTES, KeyRing

OLD, NEW = b"o" * 32, b"n" * 32
CONTENT = b"content"


def test_seal_verifies_only_unmodified_content() -> None:
    keys = KeyRing([NEW], "tests")
    sealed = keys.seal(CONTENT)

    assert len(sealed) == SEAL_BYTES
    assert keys.verify(CONTENT, sealed)
    assert not keys.verify(CONTENT + b"x", sealed)
    assert not keys.verify(CONTENT, sealed[:-1])
    assert not keys.verify(CONTENT, b"")


def test_seal_of_another_purpose_does_not_verify() -> None:
    assert not KeyRing([NEW], "tests").verify(CONTENT, KeyRing([NEW], "others").seal(CONTENT))


def test_seal_from_before_a_rotation_verifies() -> None:
    sealed = KeyRing([OLD], "tests").seal(CONTENT)

    assert KeyRing([NEW, OLD], "tests").verify(CONTENT, sealed)
    assert not KeyRing([NEW], "tests").verify(CONTENT, sealed)


def test_first_secret_key_is_current() -> None:
    keys = KeyRing([NEW, OLD], "tests")

    assert keys.current == KeyRing([NEW], "tests").current
    assert keys.by_id[keys.current_id] == keys.current
    assert list(keys) == list(keys.by_id.values())
