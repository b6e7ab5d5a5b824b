"""Limits of requests."""

from __future__ import annotations

from typing import Final

from todo_service.bounds.table import Section

section = Section("Requests")

TARGET_BYTES: Final = section.declare(
    8 * 1024, "Size of the request target (path and query)", unit="bytes", enforced_in="server.protocol", response="414"
)
HEADERS: Final = section.declare(100, "Number of request headers", enforced_in="server.protocol", response="431")
HEAD_BYTES: Final = section.declare(
    32 * 1024, "Total size of the request line and headers", unit="bytes", enforced_in="server.framing", response="431"
)
BLANK_BYTES: Final = section.declare(
    64, "Size of empty lines before a request", unit="bytes", enforced_in="server.framing", response="400"
)
CHUNK_FRAMING_BYTES: Final = section.declare(
    64 * 1024,
    "Total size of chunk sizes, chunk extensions and trailers of a chunked body, plus the share in the next row",
    unit="bytes",
    enforced_in="server.framing",
    response="400",
)
CHUNK_FRAMING_SHARE: Final = section.declare(
    8, "Number of body bytes for each additional byte of chunk framing", enforced_in="server.framing", response="400"
)
TRAILER_BYTES: Final = section.declare(
    8 * 1024,
    "Size of a chunk extension, or of all trailers, which are ignored",
    unit="bytes",
    enforced_in="server.framing",
    response="400",
)
REQUEST_BYTES: Final = section.declare(
    64 * 1024 * 1024,
    "Size of any request body, read or discarded",
    unit="bytes",
    enforced_in="server.framing",
    response="413, or the connection is closed if the response is complete",
)
ACCEPT_RANGES: Final = section.declare(
    32,
    "Number of media ranges in `Accept` that are read",
    enforced_in="web.accept",
    response="Further ones are ignored.",
)
FORWARDED_BYTES: Final = section.declare(
    4 * 1024,
    "Size of `Forwarded` or `X-Forwarded-For` from a trusted proxy, read from the end",
    unit="bytes",
    enforced_in="web.proxies",
    response="The beginning is ignored.",
)
FORWARDED_HOPS: Final = section.declare(
    50,
    "Number of addresses read from that header",
    enforced_in="web.proxies",
    response="The last address that was read counts as the client's.",
)
PREFIX_LENGTH: Final = section.declare(
    256,
    "Length of `ROOT_PATH`, and of `X-Forwarded-Prefix` from a trusted proxy",
    unit="characters",
    enforced_in="url_prefix",
    response="The service does not start; the header is ignored.",
)
RESPONSE_SECONDS: Final = section.declare(
    4.0,
    "Time until a response starts, not counting the upload of the body",
    unit="s",
    enforced_in="web.timeouts",
    response="503 with `Retry-After`",
)
CANONICAL_JSON_BYTES: Final = section.declare(
    1024 * 1024,
    "Size of a JSON body that is compared by value with an `Idempotency-Key`; larger ones are compared byte by byte",
    enforced_in="idempotency.fingerprints",
    response="A repeat with different bytes counts as another request: 422.",
    unit="bytes",
)
CANONICAL_JSON_VALUES: Final = section.declare(
    100_000,
    "Commas and opening brackets in such a body",
    enforced_in="idempotency.fingerprints",
    response="As in the previous row.",
)
LEASE_SECONDS: Final = section.declare(
    8.0,
    "Time for which the lease of a process that has died still blocks requests with the same `Idempotency-Key`, moves "
    "in the same account, or writes near the same quota",
    enforced_in="leases",
    response="Requests with the same key get a 409 with `Retry-After`; moves and writes wait.",
    unit="s",
)
IDEMPOTENCY_SECONDS: Final = section.declare(
    24 * 60 * 60,
    "Time for which the response to a request with an `Idempotency-Key` is stored",
    enforced_in="idempotency.middleware",
    response="A repeat is executed again.",
    unit="s",
)
LARGE_BODY_BYTES: Final = section.declare(
    32 * 1024,
    "Size of a JSON body that is decoded concurrently; each process decodes larger ones one at a time",
    enforced_in="web.requests",
    response="The request waits.",
    unit="bytes",
)
JSON_DEPTH: Final = section.declare(64, "Nesting depth of JSON", enforced_in="decoding", response="400", unit="levels")
JSON_CONTAINERS: Final = section.declare(
    50_000,
    "Number of objects and arrays in a JSON body, in an operation of a batch, or in an imported record",
    enforced_in="decoding",
    response="422; the operation fails or the record is rejected",
)
LOCATED_BYTES: Final = section.declare(
    64 * 1024,
    "Size of a JSON body in which an invalid NUL character is located",
    enforced_in="decoding",
    response="The error points to the whole body.",
    unit="bytes",
)
PARAMETERS: Final = section.declare(
    100, "Number of query parameters, and of form fields", enforced_in="web.requests", response="400"
)
FORM_FIELD_LENGTH: Final = section.declare(
    4096, "Length of a form field", enforced_in="web.requests", response="400", unit="characters"
)
ENTITY_TAGS: Final = section.declare(
    100, "Number of entity tags in `If-Match` or `If-None-Match`", enforced_in="web.entity_tags", response="422"
)
CURSOR_LENGTH: Final = section.declare(
    4096, "Length of `cursor` and `since`", enforced_in="api_types", response="422", unit="characters"
)
PAGE_SIZE: Final = section.declare(
    200, "Number of items on a page", enforced_in="api_types", response="422", unit="items"
)
LISTED_ERRORS: Final = section.declare(
    20,
    "Number of errors listed in a problem",
    enforced_in="errors",
    response="The problem states how many were omitted.",
)
ERROR_LENGTH: Final = section.declare(
    200, "Length of an error message", enforced_in="errors", response="It is truncated.", unit="characters"
)
POINTER_LENGTH: Final = section.declare(
    300, "Length of an error's JSON pointer", enforced_in="errors", response="It is truncated.", unit="characters"
)
REPEATED_NAME_LENGTH: Final = section.declare(
    100,
    "Length of the name of an unknown field or parameter in an error message",
    enforced_in="decoding",
    response="It is truncated.",
    unit="characters",
)
REPEATED_VALUE_LENGTH: Final = section.declare(
    20,
    "Length of a value in an error message",
    enforced_in="decoding",
    response="It is truncated.",
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
    "Time that a request waits for its turn",
    unit="s",
    enforced_in="rate_limits.concurrency",
    response="429 with `Retry-After`",
)
SMALL_BODY_BYTES: Final = section.declare(
    16 * 1024,
    "Size of a form, and of a JSON body for accounts, sessions or API keys",
    unit="bytes",
    enforced_in="app",
    response="413",
)
COUNTER_WINDOWS: Final = section.declare(
    50_000,
    "Rate limit windows in the memory of a process",
    enforced_in="rate_limits.counters",
    response="Of eight candidates, the window with the smallest count is evicted.",
)
COUNTER_LEASES: Final = section.declare(
    20_000,
    "Leases on shared rate limits in the memory of a process",
    enforced_in="rate_limits.counters",
    response="The oldest lease is evicted; the rest of it counts as used.",
)
SHARED_COUNTER_CALLS: Final = section.declare(
    500,
    "Calls of a process to the shared rate limits in MongoDB, per second",
    enforced_in="rate_limits.counters",
    response="The process counts on its own.",
)
READINESS_SECONDS: Final = section.declare(
    0.1,
    "Time for which `/health/ready` caches the state of the document store",
    unit="s",
    enforced_in="web.health",
    response="The store is checked again.",
)
REFUSALS_LOGGED: Final = section.declare(
    10,
    "Log lines in 10 s about requests of one address that get a 429, reach no route, or are health checks",
    enforced_in="observability.log_limit",
    response="One line states how many were omitted.",
)
ALL_REFUSALS_LOGGED: Final = section.declare(
    1000,
    "Log lines in 10 s about such requests of all addresses",
    enforced_in="observability.log_limit",
    response="One line states how many were omitted.",
)
COMPRESSED_RESPONSE_BYTES: Final = section.declare(
    4 * 2**20,
    "Size of a response that is stored for repeats with an `Idempotency-Key`, compressed (zlib); more than the largest "
    "batch or import has",
    unit="bytes",
    enforced_in="idempotency.stored_responses",
    response="A repeat gets a 410 and has no second effect.",
)
STORED_RESPONSES_BYTES: Final = section.declare(
    128 * 2**20,
    "Records and stored responses of one account's requests with an `Idempotency-Key`, compressed, in 24 hours, in "
    "each process",
    enforced_in="idempotency.response_budget",
    response="429 with `Retry-After`; without the key the request is served.",
    unit="bytes",
)
