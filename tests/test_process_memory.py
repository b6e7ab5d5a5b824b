"""What a process remembers about credentials, names and tags is bounded in bytes, whatever clients send."""

from __future__ import annotations

import gc
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from odmantic import ObjectId

from tests.cost import resident_bytes
from todo_service.accounts.sessions import Sessions
from todo_service.accounts.tokens import AccessTokens, RefreshTokens
from todo_service.errors import Unauthenticated
from todo_service.rate_limits.password_attempts import account_key
from todo_service.store.embedded.store import EmbeddedStore
from todo_service.sync.counts import digest_tag
from todo_service.timestamps import now

KEYS: Final = [b"a secret key of the tests: 32 bytes"]
MIB: Final = 2**20


@contextmanager
def measured() -> Iterator[Callable[[], int]]:
    """Provide a function that returns how many more bytes of memory are in use than at the start."""
    gc.collect()
    tracemalloc.start()

    def measure() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    try:
        yield measure
    finally:
        tracemalloc.stop()


def test_digests_of_tags_are_not_kept_by_the_interpreter() -> None:
    with measured() as measure:
        sizes = []
        for batch in range(3):
            for number in range(20_000):
                digest_tag(f"tag {batch} {number}")
            sizes.append(measure())

    assert max(sizes) < MIB / 4


def test_access_tokens_of_any_number_of_sessions_take_bounded_memory(tmp_path: Path) -> None:
    tokens = AccessTokens(KEYS, 600)
    sessions = Sessions(EmbeddedStore(tmp_path), tokens, RefreshTokens(KEYS), 30)
    moment, sizes = now(), [resident_bytes(os.getpid())]
    for number in (20_500, 10_000):
        for _ in range(number):
            sessions.identify(tokens.issue(ObjectId(), ObjectId(), moment))
        sizes.append(resident_bytes(os.getpid()))

    # the cache is full after 20 000 tokens
    assert sizes[1] - sizes[0] < 60 * MIB
    assert sizes[2] - sizes[1] < 4 * MIB


@pytest.mark.parametrize("change", ["{}!", "{}====", " {}", "{} ", "{}\n", "{}.", "{}" + "x" * 30_000])
def test_no_token_has_a_long_spelling(tmp_path: Path, change: str) -> None:
    tokens = AccessTokens(KEYS, 600)
    sessions = Sessions(EmbeddedStore(tmp_path), tokens, RefreshTokens(KEYS), 30)

    with pytest.raises(Unauthenticated):
        sessions.identify(change.format(tokens.issue(ObjectId(), ObjectId(), now())))


def test_invalid_tokens_take_no_memory(tmp_path: Path) -> None:
    sessions = Sessions(EmbeddedStore(tmp_path), AccessTokens(KEYS, 600), RefreshTokens(KEYS), 30)
    with measured() as measure:
        for number in range(2_000):
            with pytest.raises(Unauthenticated):
                sessions.identify(f"{number}.{'x' * 30_000}")
        size = measure()

    assert size < MIB


def test_the_key_of_a_name_has_the_same_size_for_every_name() -> None:
    assert {len(account_key(None, name)) for name in ("", "ada", "x" * 4096, "\ufdfa" * 4096)} == {29}
