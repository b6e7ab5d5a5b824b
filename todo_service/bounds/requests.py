"""Bounds: requests."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Requests")

TARGET_BYTES: Final = section.declare(
    8 * 1024, "Target of a request: path and query", unit="bytes", enforced_in="server.protocol", response="414"
)
HEADERS: Final = section.declare(100, "Headers of a request", enforced_in="server.protocol", response="431")
HEAD_BYTES: Final = section.declare(
    32 * 1024, "Request line and headers together", unit="bytes", enforced_in="server.framing", response="431"
)
BLANK_BYTES: Final = section.declare(
    64, "Empty lines before a request", unit="bytes", enforced_in="server.framing", response="400"
)
CHUNK_FRAMING_BYTES: Final = section.declare(
    64 * 1024,
    "Chunk sizes, chunk extensions and trailers of a chunked body, beside a share of the body",
    unit="bytes",
    enforced_in="server.framing",
    response="400",
)
CHUNK_FRAMING_SHARE: Final = section.declare(
    8, "Bytes of a body that allow one more byte of them", enforced_in="server.framing", response="400"
)
TRAILER_BYTES: Final = section.declare(
    8 * 1024,
    "One chunk extension, or all trailers, which are ignored",
    unit="bytes",
    enforced_in="server.framing",
    response="400",
)
REQUEST_BYTES: Final = section.declare(
    64 * 1024 * 1024,
    "Body of any request, read or dropped",
    unit="bytes",
    enforced_in="server.framing",
    response="413, or the connection is closed where the request has been answered already",
)
FORWARDED_BYTES: Final = section.declare(
    4 * 1024,
    "`Forwarded` or `X-Forwarded-For` of a trusted proxy, read from its end",
    unit="bytes",
    enforced_in="web.proxies",
    response="What stands before is ignored.",
)
FORWARDED_HOPS: Final = section.declare(
    50,
    "Addresses read from it",
    enforced_in="web.proxies",
    response="The last address that was read is taken for the client.",
)
RESPONSE_SECONDS: Final = section.declare(
    4.0,
    "Time until a response begins, without the time that the client takes to send its body",
    unit="s",
    enforced_in="web.timeouts",
    response="503 with `Retry-After`",
)
CANONICAL_JSON_BYTES: Final = section.declare(
    256 * 1024,
    "JSON bodies that are compared by value with an `Idempotency-Key`; larger ones are compared byte by byte",
    enforced_in="idempotency.fingerprints",
    response="A repeat whose bytes differ is another request: 422.",
    unit="bytes",
)
LEASE_SECONDS: Final = section.declare(
    8.0,
    "How long a request with an `Idempotency-Key` blocks its key after its process has died",
    enforced_in="idempotency.leases",
    response="409 with `Retry-After`",
    unit="s",
)
IDEMPOTENCY_SECONDS: Final = section.declare(
    24 * 60 * 60,
    "How long the answer to a request with an `Idempotency-Key` is kept",
    enforced_in="idempotency.middleware",
    response="The request is carried out again.",
    unit="s",
)
LARGE_BODY_BYTES: Final = section.declare(
    32 * 1024,
    "JSON body that is decoded beside others; of larger ones each process decodes one at a time",
    enforced_in="web.requests",
    response="The request waits for its turn.",
    unit="bytes",
)
JSON_DEPTH: Final = section.declare(
    64, "Levels of nesting in JSON", enforced_in="decoding", response="400", unit="levels"
)
LOCATED_BYTES: Final = section.declare(
    64 * 1024,
    "Length of a JSON body in which the place of a NUL is looked for",
    enforced_in="decoding",
    response="The error points to the body as a whole.",
    unit="bytes",
)
PARAMETERS: Final = section.declare(
    100, "Parameters of a query, and fields of a form", enforced_in="web.requests", response="400"
)
FORM_FIELD_LENGTH: Final = section.declare(
    4096, "Length of a field of a form", enforced_in="web.requests", response="400", unit="characters"
)
ENTITY_TAGS: Final = section.declare(
    100, "Entity tags in `If-Match` or `If-None-Match`", enforced_in="web.entity_tags", response="422"
)
CURSOR_LENGTH: Final = section.declare(
    4096, "Length of `cursor` and `since`", enforced_in="fields", response="422", unit="characters"
)
PAGE_SIZE: Final = section.declare(200, "Items in a page", enforced_in="fields", response="422", unit="items")
LISTED_ERRORS: Final = section.declare(
    20, "Errors listed in a problem", enforced_in="errors", response="The problem tells how many more there are."
)
ERROR_LENGTH: Final = section.declare(
    200, "Length of the text of an error", enforced_in="errors", response="The text is cut.", unit="characters"
)
POINTER_LENGTH: Final = section.declare(
    300, "Length of the pointer of an error", enforced_in="errors", response="The pointer is cut.", unit="characters"
)
REPEATED_NAME_LENGTH: Final = section.declare(
    100,
    "Length to which an error repeats the name of an unknown field or parameter",
    enforced_in="decoding",
    response="The name is cut.",
    unit="characters",
)
REPEATED_VALUE_LENGTH: Final = section.declare(
    20,
    "Length to which an error repeats a value",
    enforced_in="decoding",
    response="The value is cut.",
    unit="characters",
)
CONCURRENT_REQUESTS: Final = section.declare(
    16,
    "Requests of one account served at a time, in each process; without an account, of one address",
    enforced_in="rate_limits.concurrency",
    response="The request waits for its turn.",
)
WAITING_REQUESTS: Final = section.declare(
    512,
    "Requests of one account that wait for their turn, in each process; without an account, of one address",
    enforced_in="rate_limits.concurrency",
    response="429 with `Retry-After`",
)
WAITING_SECONDS: Final = section.declare(
    3.0,
    "How long a request waits for its turn",
    unit="seconds",
    enforced_in="rate_limits.concurrency",
    response="429 with `Retry-After`",
)
SMALL_BODY_BYTES: Final = section.declare(
    16 * 1024,
    "Size of a form, and of a body that is about accounts, sessions or API keys",
    unit="bytes",
    enforced_in="app",
    response="413",
)
COUNTER_WINDOWS: Final = section.declare(
    50_000,
    "Rate limit windows remembered, in each process",
    enforced_in="rate_limits.counters",
    response="The window with the smallest count among eight is forgotten.",
)
COUNTER_LEASES: Final = section.declare(
    20_000,
    "Rate limit leases of MongoDB's counts remembered, in each process",
    enforced_in="rate_limits.counters",
    response="The oldest lease is forgotten; what was left of it counts as used.",
)
SHARED_COUNTER_CALLS: Final = section.declare(
    500,
    "Calls to the rate limits that MongoDB counts, a second in each process",
    enforced_in="rate_limits.counters",
    response="The process counts by itself.",
)
READINESS_SECONDS: Final = section.declare(
    0.1,
    "How long all callers of `/health/ready` share one answer of the document store",
    unit="seconds",
    enforced_in="web.health",
    response="The shared answer.",
)
REFUSALS_LOGGED: Final = section.declare(
    10,
    "Log lines about refused and unmetered requests of one address, in 10 seconds",
    enforced_in="observability.log_limit",
    response="One line says how many were left out.",
)
ALL_REFUSALS_LOGGED: Final = section.declare(
    1000,
    "Log lines about refused and unmetered requests of all addresses, in 10 seconds",
    enforced_in="observability.log_limit",
    response="One line says how many were left out.",
)
STORED_RESPONSE_BYTES: Final = section.declare(
    2 * 1024 * 1024,
    "Answer that is kept for repeats with an `Idempotency-Key`",
    enforced_in="idempotency.stored_responses",
    response="A repeat is 410; it has no second effect.",
    unit="bytes",
)
COMPRESSED_RESPONSE_BYTES: Final = section.declare(
    128 * 1024,
    "The same, compressed (zlib)",
    enforced_in="idempotency.stored_responses",
    response="A repeat is 410; it has no second effect.",
    unit="bytes",
)
STORED_RESPONSES_BYTES: Final = section.declare(
    128 * 2**20,
    "Stored answers of one account to requests with an `Idempotency-Key`, compressed, in 24 hours, in each process",
    enforced_in="idempotency.response_budget",
    response="429 with `Retry-After`; without the key the request is served.",
    unit="bytes",
)
