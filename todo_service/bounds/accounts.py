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
    100, "Length of a display name", enforced_in="accounts.validation", response="422", unit="characters"
)
INVITATION_LENGTH: Final = section.declare(
    100, "Length of an invitation", enforced_in="accounts.dto", response="422", unit="characters"
)
INVITATION_CLAIM_SECONDS: Final = section.declare(
    120,
    "Time for which an interrupted registration blocks its invitation",
    enforced_in="accounts.invitations",
    response="Another registration can use the invitation.",
    unit="s",
)
API_KEY_NAME_LENGTH: Final = section.declare(
    100, "Length of the name of an API key", enforced_in="accounts.api_keys", response="422", unit="characters"
)
ADDRESS_FACTOR: Final = section.declare(
    5,
    "Wrong passwords from one address for all accounts, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="429 with `Retry-After`",
)
ACCOUNT_FACTOR: Final = section.declare(
    10,
    "Wrong passwords for one account from all addresses before it is under attack, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="The limit in the next row applies.",
)
ATTACKED_ATTEMPTS: Final = section.declare(
    2,
    "Wrong passwords from one address (IPv6: /48) for an account under attack, in 15 periods of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="429 with `Retry-After`",
)


PASSWORD_THREADS: Final = section.declare(
    2,
    "Passwords hashed at a time, in each process",
    enforced_in="accounts.passwords",
    response="The request waits for its turn.",
)
PASSWORD_QUEUE: Final = section.declare(
    64,
    "Requests that wait for a password to be hashed, in each process",
    enforced_in="accounts.passwords",
    response="503 with `Retry-After`",
)
EMAIL_KEY_BYTES: Final = section.declare(
    400,
    "Length of a case-folded email address in the index",
    enforced_in="accounts.validation",
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
    "Changes of one account that wait for their turn, in each process",
    enforced_in="accounts.service",
    response="503 with `Retry-After`",
)
ZONE_SHARE: Final = section.declare(
    500,
    "Todos of an account recomputed in a row after a change of its time zone while other accounts wait, per process",
    enforced_in="accounts.time_zones",
    response="The rest is recomputed after the todos of other accounts.",
)
PASSWORDS_OF_ADDRESS: Final = section.declare(
    8,
    "Concurrent requests of one address that hash a password, in each process",
    enforced_in="services",
    response="The request waits for its turn.",
)
PASSWORD_WAIT_SECONDS: Final = section.declare(
    0.5,
    "Time that such a request waits for its turn; short, because it may already have waited as a concurrent request",
    unit="s",
    enforced_in="services",
    response="429 with `Retry-After`",
)
