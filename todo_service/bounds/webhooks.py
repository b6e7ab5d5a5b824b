"""Limits of webhooks."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Webhooks")

MAX_WEBHOOKS: Final = section.declare(
    10, "Webhooks of an account", enforced_in="webhooks.service", response="409 `quota-exceeded`"
)
URL_LENGTH: Final = section.declare(
    2_048, "Length of the URL of a webhook", enforced_in="webhooks.dto", response="422", unit="characters"
)
WEBHOOK_DESCRIPTION_LENGTH: Final = section.declare(
    200, "Length of the description of a webhook", enforced_in="webhooks.service", response="422", unit="characters"
)
SIGNING_SECRETS: Final = section.declare(
    4,
    "Signing secrets of a webhook that sign at a time",
    enforced_in="webhooks.service",
    response="The oldest no longer signs.",
)
PENDING_DELIVERIES: Final = section.declare(
    100,
    "Deliveries of a webhook that wait to be sent or sent again",
    enforced_in="webhooks.runner",
    response="Further changes wait in the change feed, where a later change of a todo replaces an earlier one.",
)
REQUESTED_DELIVERIES: Final = section.declare(
    200,
    "Deliveries of a webhook that wait, when a client requests a ping or a retry",
    enforced_in="webhooks.delivery_requests",
    response="429 with `Retry-After`",
)
STORED_DELIVERIES: Final = section.declare(
    5_000,
    "Stored deliveries of a webhook. Finished ones are kept for at least two minutes, even beyond the 100 that are "
    "listed.",
    enforced_in="webhooks.runner",
    response="Further changes wait in the change feed.",
)
LISTED_DELIVERIES: Final = section.declare(
    100,
    "Deliveries of a webhook that are listed",
    enforced_in="webhooks.delivery_requests",
    response="Older ones are deleted.",
)
LISTED_ATTEMPTS: Final = section.declare(
    20,
    "Attempts that are stored for each delivery",
    enforced_in="webhooks.deliveries",
    response="The oldest are dropped.",
)
ATTEMPT_SECONDS: Final = section.declare(
    15,
    "Time for an attempt, from the resolution of the name to the status of the response",
    enforced_in="webhooks.sender",
    response="The attempt fails.",
    unit="s",
)
RESPONSE_HEAD_BYTES: Final = section.declare(
    16 * 1024,
    "Size of the status line and headers of a receiver's response, interim responses included",
    enforced_in="webhooks.sender",
    response="The attempt fails.",
    unit="bytes",
)
RESPONSE_BYTES: Final = section.declare(
    4_096,
    "Size of the part of the body of a receiver's response that is read",
    enforced_in="webhooks.sender",
    response="The connection is closed.",
    unit="bytes",
)
CONCURRENT_QUICK_ATTEMPTS: Final = section.declare(
    48,
    "Concurrent attempts to receivers whose last attempt succeeded quickly, in each process",
    enforced_in="webhooks.sender",
    response="The attempt waits for its turn.",
)
CONCURRENT_FIRST_ATTEMPTS: Final = section.declare(
    16,
    "Concurrent attempts of webhooks that have made none since the process began to serve them, in each process",
    enforced_in="webhooks.sender",
    response="The attempt waits for its turn.",
)
CONCURRENT_SLOW_ATTEMPTS: Final = section.declare(
    16,
    "Concurrent attempts to all other receivers, in each process",
    enforced_in="webhooks.sender",
    response="The attempt waits for its turn.",
)
CONCURRENT_ATTEMPTS_OF_ACCOUNT: Final = section.declare(
    4,
    "Concurrent attempts of an account, of each of these three kinds, in each process",
    enforced_in="webhooks.lanes",
    response="The attempt waits for its turn. It does not delay those of other accounts.",
)
CONCURRENT_CLAIMS: Final = section.declare(
    32,
    "Webhooks that a process takes over or releases at the same time",
    enforced_in="webhooks.consumer",
    response="The others wait.",
)
RESOLVER_THREADS: Final = section.declare(
    16,
    "Names resolved at the same time in each process: for new URLs, and for each of the three kinds of attempts",
    enforced_in="webhooks.resolver",
    response="The resolution waits for its turn.",
)
RESOLUTION_SECONDS: Final = section.declare(
    1,
    "Time to resolve the name in the URL of a webhook when it is set",
    enforced_in="webhooks.receivers",
    response="The URL is accepted. The name is resolved again for each attempt.",
    unit="s",
)
