"""Password hashing with argon2id (RFC 9106), in a bounded thread pool.

A password is prepared before it is hashed, as an OpaqueString (RFC 8265, section 4.2): in NFC, and with U+0020 for all
spaces. So it does not matter which form of a letter a keyboard produces. An earlier release hashed passwords as they
were sent. Both forms are therefore verified, if they differ, until one of them matches.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from precis_i18n import get_profile

from todo_service.bounds.accounts import PASSWORD_LENGTH, PASSWORD_QUEUE, PASSWORD_THREADS
from todo_service.errors import Busy
from todo_service.executors import Executor, Overloaded
from todo_service.text import check_marks, format_code_point

MINIMUM_LENGTH: Final = 12
_WRONG_LENGTH: Final = f"Expected {MINIMUM_LENGTH} to {PASSWORD_LENGTH} characters"
_OPAQUE_STRING: Final = get_profile("OpaqueString")
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


def prepare_password(password: str) -> str:
    """Return a password as an OpaqueString (RFC 8265, section 4.2).

    Args:
        password: The password. Preparing it takes less than 5 ms, whatever it contains.

    Raises:
        ValueError: The profile disallows a character, such as a control character, a zero width joiner or a character
            that Unicode does not assign; or the password has a long run of combining marks, or more than 128 characters
            that are not all printable ASCII. The message is for the client.
    """
    if password.isascii() and password.isprintable():
        return password
    check_marks(password)
    composed = unicodedata.normalize("NFC", password)
    if len(composed) > PASSWORD_LENGTH:
        raise ValueError(_WRONG_LENGTH)  # first, because some rules of the profile take quadratic time
    try:
        return _OPAQUE_STRING.enforce(composed)
    except UnicodeEncodeError as error:
        disallowed = format_code_point(error.object[error.start])
        raise ValueError(f"Expected a password without {disallowed}, which RFC 8265 disallows") from None


def prepare_new_password(password: str, username: str) -> str:
    """Return a new password as it is hashed.

    Args:
        password: The password, 12 to 128 characters after preparation.
        username: The username, which the password must not contain, ignoring case.

    Raises:
        ValueError: The password breaks a rule. The message is for the client.
    """
    prepared = prepare_password(password)
    if not MINIMUM_LENGTH <= len(prepared) <= PASSWORD_LENGTH:
        raise ValueError(_WRONG_LENGTH)
    if username and username.casefold() in prepared.casefold():
        raise ValueError("Expected a password that does not contain the username")
    return prepared


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

    async def hash(self, prepared: str) -> str:
        """Return the argon2id hash of a prepared password.

        Raises:
            Busy: Too many passwords are waiting.
        """
        return await self._run(lambda: self._hasher.hash(prepared))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether a password matches a hash.

        Args:
            password_hash: The hash; None if the account does not exist, which takes as long as a wrong password.
            password: The password, as the client sent it.

        Raises:
            Busy: Too many passwords are waiting.
        """
        return await self._run(lambda: self._find_match(password_hash, password) is not None)

    async def verify_and_update(self, password_hash: str | None, password: str) -> tuple[bool, str | None]:
        """Return whether a password matches a hash, and a new hash to replace it, or None if it needs no replacement.

        A hash is replaced if it has another cost than new ones, or was made from a password that was not prepared.
        Arguments and errors are those of `verify`.
        """

        def check() -> tuple[bool, str | None]:
            matched = self._find_match(password_hash, password)
            if matched is None or password_hash is None:
                return False, None
            preferred = _list_forms(password)[0]
            if matched == preferred and not self._hasher.check_needs_rehash(password_hash):
                return True, None
            return True, self._hasher.hash(preferred)

        return await self._run(check)

    def _find_match(self, password_hash: str | None, password: str) -> str | None:
        """Return the form of a password that matches a hash, or None. A wrong password costs a hash for each form."""
        return next((form for form in _list_forms(password) if self._matches(password_hash, form)), None)

    def _matches(self, password_hash: str | None, form: str) -> bool:
        try:
            return self._hasher.verify(password_hash or self._dummy_hash, form) and password_hash is not None
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

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


def _list_forms(password: str) -> list[str]:
    """Return the forms of a password that a hash may have been made from, the prepared one first."""
    try:
        prepared = prepare_password(password)
    except ValueError:
        return [password]
    return list(dict.fromkeys([prepared, password]))
