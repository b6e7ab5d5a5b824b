"""Passwords: argon2id (RFC 9106), off the event loop, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from todo_service.bounds.accounts import PASSWORD_LENGTH, PASSWORD_QUEUE, PASSWORD_THREADS
from todo_service.errors import Busy, ValidationIssue
from todo_service.executors import Executor, Overloaded

MINIMUM_LENGTH: Final = 12
_SECONDS: Final = 60.0

ResultT = TypeVar("ResultT")


class Cost(NamedTuple):
    """What one hash costs (RFC 9106, section 3.1).

    Attributes:
        memory: Kibibytes of memory.
        passes: How often the memory is filled.
    """

    memory: int
    passes: int


# OWASP's password storage cheat sheet
PRODUCTION_COST: Final = Cost(memory=19 * 1024, passes=2)
"""About 20 ms of a core."""


def find_password_issues(password: str, username: str, pointer: str) -> list[ValidationIssue]:
    """Return what is wrong with a password that is to be set.

    Args:
        password: The password, 12 to 128 characters.
        username: The account's name, which the password must not contain, whatever the case.
        pointer: Where the password stands in the input.
    """
    if not MINIMUM_LENGTH <= len(password) <= PASSWORD_LENGTH:
        return [ValidationIssue(pointer, f"Expected {MINIMUM_LENGTH} to {PASSWORD_LENGTH} characters")]
    if username and username.casefold() in password.casefold():
        return [ValidationIssue(pointer, "Expected a password that does not contain the username")]
    return []


class Passwords:
    """Hashes and checks passwords. Each hash takes 19 MiB and some 20 ms of a core, so two run at a time.

    Args:
        waiting: Hears how many wait for their turn, whenever that changes.
        cost: What a hash costs. Hashes made at another cost are replaced at the next sign-in.
    """

    def __init__(self, waiting: Callable[[int], None] = lambda _: None, cost: Cost = PRODUCTION_COST) -> None:
        self._tell_waiting = waiting
        self._hasher = PasswordHasher(time_cost=cost.passes, memory_cost=cost.memory, parallelism=1)
        self._executor = Executor("argon2", threads=PASSWORD_THREADS, queue=PASSWORD_QUEUE, seconds=_SECONDS)
        self._nobody = self._hasher.hash("nobody's password")

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password.

        Raises:
            Busy: too many are waiting already.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Tell whether a password is the one that was hashed.

        Args:
            password_hash: The hash, or None for an account that is not there, which takes just as long.
            password: What the caller says.

        Raises:
            Busy: too many are waiting already.
        """

        def check() -> bool:
            try:
                return self._hasher.verify(password_hash or self._nobody, password) and password_hash is not None
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                return False

        return await self._run(check)

    def outdated(self, password_hash: str) -> bool:
        """Tell whether a hash was made with other costs than those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Let the threads go. Nothing may be asked any more."""
        self._executor.close()

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        try:
            running = self._executor.run(lambda _: work())
            self._tell_waiting(max(0, self._executor.waiting_or_running + 1 - PASSWORD_THREADS))
            return await running
        except Overloaded:
            raise Busy("too many passwords are waiting to be checked") from None
        finally:
            self._tell_waiting(max(0, self._executor.waiting_or_running - PASSWORD_THREADS))
