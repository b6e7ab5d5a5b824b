"""Password hashing with argon2id (RFC 9106), in a bounded thread pool."""

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
    """The cost parameters of a hash (RFC 9106, section 3.1).

    Attributes:
        memory: The memory size, in KiB.
        passes: The number of passes over the memory.
    """

    memory: int
    passes: int


# recommended by the OWASP Password Storage Cheat Sheet
PRODUCTION_COST: Final = Cost(memory=19 * 1024, passes=2)
"""Takes about 20 ms of CPU time."""


def find_password_issues(password: str, username: str, pointer: str) -> list[ValidationIssue]:
    """Return the issues with a new password.

    Args:
        password: The password, 12 to 128 characters.
        username: The username, which the password must not contain, ignoring case.
        pointer: The JSON pointer to the password in the request.
    """
    if not MINIMUM_LENGTH <= len(password) <= PASSWORD_LENGTH:
        return [ValidationIssue(pointer, f"Expected {MINIMUM_LENGTH} to {PASSWORD_LENGTH} characters")]
    if username and username.casefold() in password.casefold():
        return [ValidationIssue(pointer, "Expected a password that does not contain the username")]
    return []


class Passwords:
    """Hashes and verifies passwords. Each hash takes 19 MiB and about 20 ms of CPU time, so at most two run at a time.

    Args:
        on_waiting: Called with the number of waiting passwords when it changes.
        cost: The cost of a hash. Hashes with another cost are replaced at the next sign-in.
    """

    def __init__(self, on_waiting: Callable[[int], None] = lambda _: None, cost: Cost = PRODUCTION_COST) -> None:
        self._on_waiting = on_waiting
        self._hasher = PasswordHasher(time_cost=cost.passes, memory_cost=cost.memory, parallelism=1)
        self._executor = Executor("argon2", threads=PASSWORD_THREADS, queue=PASSWORD_QUEUE, seconds=_SECONDS)
        self._dummy_hash = self._hasher.hash("nobody's password")

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password.

        Raises:
            Busy: Too many passwords are waiting.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether a password matches a hash.

        Args:
            password_hash: The hash; None if the account does not exist, which takes just as long.
            password: The password.

        Raises:
            Busy: Too many passwords are waiting.
        """

        def check() -> bool:
            try:
                return self._hasher.verify(password_hash or self._dummy_hash, password) and password_hash is not None
            except (VerificationError, InvalidHashError, UnicodeEncodeError):
                return False

        return await self._run(check)

    def needs_rehash(self, password_hash: str) -> bool:
        """Return whether a hash has another cost than new hashes."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Shut down the thread pool."""
        self._executor.close()

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        try:
            running = self._executor.run(lambda _: work())
            self._on_waiting(max(0, self._executor.waiting_or_running + 1 - PASSWORD_THREADS))
            return await running
        except Overloaded:
            raise Busy("too many passwords are waiting to be verified") from None
        finally:
            self._on_waiting(max(0, self._executor.waiting_or_running - PASSWORD_THREADS))
