"""Limits of accounts and sessions."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Accounts and sessions")

USERNAME_LENGTH: Final = section.declare(
    32, "Length of a username", enforced_in="accounts.dto", response="422", unit="characters"
)
EMAIL_LENGTH: Final = section.declare(
    254, "Length of an email address", enforced_in="accounts.dto", response="422", unit="characters"
)
PASSWORD_LENGTH: Final = section.declare(
    128, "Length of a new password", enforced_in="accounts.passwords", response="422", unit="characters"
)
GIVEN_PASSWORD_LENGTH: Final = section.declare(
    1_024,
    "Length of a password to verify",
    enforced_in="accounts.dto",
    response="422",
    unit="characters",
)
DISPLAY_NAME_LENGTH: Final = section.declare(
    100, "Length of a display name", enforced_in="accounts.service", response="422", unit="characters"
)
API_KEY_NAME_LENGTH: Final = section.declare(
    100, "Length of the name of an API key", enforced_in="accounts.api_keys", response="422", unit="characters"
)
ADDRESS_FACTOR: Final = section.declare(
    5,
    "Failed logins from one address for all accounts, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="429 with `Retry-After`",
)
ACCOUNT_FACTOR: Final = section.declare(
    10,
    "Failed logins for one account from all addresses before it is under attack, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="The limit in the next row applies.",
)
ATTACKED_ATTEMPTS: Final = section.declare(
    2,
    "Failed logins from one network for an account under attack, in 15 periods of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="429 with `Retry-After`",
)


PASSWORD_THREADS: Final = section.declare(
    2,
    "Concurrent password hashes of a process",
    enforced_in="accounts.passwords",
    response="The request waits.",
)
PASSWORD_QUEUE: Final = section.declare(
    64,
    "Requests of a process that wait for a password hash",
    enforced_in="accounts.passwords",
    response="503 with `Retry-After`",
)
EMAIL_KEY_BYTES: Final = section.declare(
    400,
    "Size of a case-folded email address in its index",
    enforced_in="accounts.service",
    response="422",
    unit="bytes",
)
MAX_API_KEYS: Final = section.declare(
    100,
    "API keys of an account",
    enforced_in="accounts.api_keys",
    response="403",
)
MAX_SESSIONS: Final = section.declare(
    100,
    "Sessions of an account",
    enforced_in="accounts.sessions",
    response="The oldest session ends.",
)
ACCOUNT_CHANGES_WAITING: Final = section.declare(
    200,
    "Waiting changes of an account, for each process",
    enforced_in="accounts.service",
    response="503 with `Retry-After`",
)
PASSWORDS_OF_ADDRESS: Final = section.declare(
    8,
    "Running and waiting password hashes of an address, for each process",
    enforced_in="services",
    response="The request waits.",
)
