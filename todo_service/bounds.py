"""Every bound on what a client can make the service do, declared once.

A bound is a module-level constant that other modules import, and a row of the table in `docs/limits.md`. Declaring both
in one place keeps the page true: a number cannot change in the code without changing on the page.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

NumberT = TypeVar("NumberT", int, float)


class Bound(NamedTuple):
    """One row of the table.

    Attributes:
        subject: What is bounded.
        value: The number.
        unit: The unit of the number, such as `bytes`; empty for a plain count.
        enforced_in: The module that enforces the bound, relative to the package, such as `accounts.passwords`.
        response: What a client that exceeds the bound gets.
        setting: The environment variable that changes the number, or None where it is fixed.
    """

    subject: str
    value: int | float
    unit: str
    enforced_in: str
    response: str
    setting: str | None


class Section:
    """A group of bounds that share a heading in the table.

    Args:
        title: The heading.

    Attributes:
        bounds: The bounds declared so far, in order.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bounds: list[Bound] = []

    def declare(
        self,
        value: NumberT,
        subject: str,
        *,
        enforced_in: str,
        response: str,
        unit: str = "",
        setting: str | None = None,
    ) -> NumberT:
        """Add a row, and return its number to be bound to a constant. See `Bound` for the arguments."""
        self.bounds.append(Bound(subject, value, unit, enforced_in, response, setting))
        return value


_connections = Section("Connections")

MAX_CONNECTIONS: Final = _connections.declare(
    20_000,
    "Open connections, in each process; less where the limit of open files is lower (it leaves 256)",
    enforced_in="server.protocol",
    response="Idle connections are closed, then incomplete requests; where there are none, 503 with `Retry-After`.",
)
IDLE_SECONDS: Final = _connections.declare(
    15,
    "Time between two requests of a connection",
    unit="s",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
HEAD_SECONDS: Final = _connections.declare(
    10.0, "Time for the head of a request to come in", unit="s", enforced_in="server.protocol", response="408"
)
BODY_WINDOW_SECONDS: Final = _connections.declare(
    20.0,
    "Window over which the rate of a body is measured",
    unit="s",
    enforced_in="server.protocol",
    response="see next row",
)
BODY_BYTES_PER_SECOND: Final = _connections.declare(
    16 * 1024,
    "Least rate of a body, on average over each window",
    unit="bytes/s",
    enforced_in="server.protocol",
    response="408",
)
BODY_SECONDS: Final = _connections.declare(
    600.0, "Time for a whole body to come in", unit="s", enforced_in="server.protocol", response="408"
)
BODY_MEMORY_BYTES: Final = _connections.declare(
    160 * 1024 * 1024,
    "Received bytes of all bodies whose requests are not answered, in each process; the first 16 KiB of each are free",
    unit="bytes",
    enforced_in="server.protocol",
    response="503 with `Retry-After` for the body that finds no room",
)
SPARE_BODY_MEMORY_BYTES: Final = _connections.declare(
    32 * 1024 * 1024,
    "Share of it that is kept for bodies of up to 1 MiB",
    unit="bytes",
    enforced_in="server.protocol",
    response="503 with `Retry-After` for a larger body that finds no room",
)
PIPELINED_BYTES: Final = _connections.declare(
    32 * 1024 * 1024,
    "Pipelined requests that wait for the response before them, in each process; of each connection at most one read",
    unit="bytes",
    enforced_in="server.protocol",
    response="What waits is dropped, and the connection is closed after the present response.",
)
RESPONSE_WINDOW_SECONDS: Final = _connections.declare(
    30.0,
    "Window over which it is measured how fast a client reads",
    unit="s",
    enforced_in="server.protocol",
    response="see next row",
)
RESPONSE_BYTES_PER_SECOND: Final = _connections.declare(
    4 * 1024,
    "Least rate at which a client reads a response, on average over each window",
    unit="bytes/s",
    enforced_in="server.protocol",
    response="The connection is aborted.",
)
UNSENT_BYTES: Final = _connections.declare(
    64 * 1024 * 1024,
    "Responses that wait for their clients to read them, in each process",
    unit="bytes",
    enforced_in="server.protocol",
    response="The connections of the address with the most of them are aborted, those that have lagged longest first.",
)
LINGER_SECONDS: Final = _connections.declare(
    2.0,
    "Time that a refused connection stays open, so that its client can read why",
    unit="s",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
LINGER_BYTES: Final = _connections.declare(
    1024 * 1024,
    "Bytes that are read and dropped from a refused connection",
    unit="bytes",
    enforced_in="server.protocol",
    response="The connection is closed.",
)
REFUSAL_LOG_SECONDS: Final = _connections.declare(
    10.0,
    "Time between two log lines about refused connections, in each process",
    unit="s",
    enforced_in="server.protocol",
    response="Refusals are counted, and logged together.",
)

_requests = Section("Requests")

TARGET_BYTES: Final = _requests.declare(
    8 * 1024, "Target of a request: path and query", unit="bytes", enforced_in="server.protocol", response="414"
)
HEADERS: Final = _requests.declare(100, "Headers of a request", enforced_in="server.protocol", response="431")
HEAD_BYTES: Final = _requests.declare(
    32 * 1024, "Request line and headers together", unit="bytes", enforced_in="server.framing", response="431"
)
BLANK_BYTES: Final = _requests.declare(
    64, "Empty lines before a request", unit="bytes", enforced_in="server.framing", response="400"
)
CHUNK_FRAMING_BYTES: Final = _requests.declare(
    64 * 1024,
    "Chunk sizes, chunk extensions and trailers of a chunked body, beside a share of the body",
    unit="bytes",
    enforced_in="server.framing",
    response="400",
)
CHUNK_FRAMING_SHARE: Final = _requests.declare(
    8, "Bytes of a body that allow one more byte of them", enforced_in="server.framing", response="400"
)
TRAILER_BYTES: Final = _requests.declare(
    8 * 1024,
    "One chunk extension, or all trailers, which are ignored",
    unit="bytes",
    enforced_in="server.framing",
    response="400",
)
REQUEST_BYTES: Final = _requests.declare(
    64 * 1024 * 1024,
    "Body of any request, read or dropped",
    unit="bytes",
    enforced_in="server.framing",
    response="413, or the connection is closed where the request has been answered already",
)
FORWARDED_BYTES: Final = _requests.declare(
    4 * 1024,
    "`Forwarded` or `X-Forwarded-For` of a trusted proxy, read from its end",
    unit="bytes",
    enforced_in="web.proxies",
    response="What stands before is ignored.",
)
FORWARDED_HOPS: Final = _requests.declare(
    50,
    "Addresses read from it",
    enforced_in="web.proxies",
    response="The last address that was read is taken for the client.",
)
RESPONSE_SECONDS: Final = _requests.declare(
    4.0,
    "Time until a response begins, without the time that the client takes to send its body",
    unit="s",
    enforced_in="web.timeouts",
    response="503 with `Retry-After`",
)
CANONICAL_JSON_BYTES: Final = _requests.declare(
    256 * 1024,
    "JSON bodies that are compared by value with an `Idempotency-Key`; larger ones are compared byte by byte",
    enforced_in="idempotency.fingerprints",
    response="A repeat whose bytes differ is another request: 422.",
    unit="bytes",
)
LEASE_SECONDS: Final = _requests.declare(
    8.0,
    "How long a request with an `Idempotency-Key` blocks its key after its process has died",
    enforced_in="idempotency.leases",
    response="409 with `Retry-After`",
    unit="s",
)
IDEMPOTENCY_SECONDS: Final = _requests.declare(
    24 * 60 * 60,
    "How long the answer to a request with an `Idempotency-Key` is kept",
    enforced_in="idempotency.middleware",
    response="The request is carried out again.",
    unit="s",
)
LARGE_BODY_BYTES: Final = _requests.declare(
    32 * 1024,
    "JSON body that is decoded beside others; of larger ones each process decodes one at a time",
    enforced_in="web.requests",
    response="The request waits for its turn.",
    unit="bytes",
)
JSON_DEPTH: Final = _requests.declare(
    64, "Levels of nesting in JSON", enforced_in="decoding", response="400", unit="levels"
)
LOCATED_BYTES: Final = _requests.declare(
    64 * 1024,
    "Length of a JSON body in which the place of a NUL is looked for",
    enforced_in="decoding",
    response="The error points to the body as a whole.",
    unit="bytes",
)
PARAMETERS: Final = _requests.declare(
    100, "Parameters of a query, and fields of a form", enforced_in="web.requests", response="400"
)
FORM_FIELD_LENGTH: Final = _requests.declare(
    4096, "Length of a field of a form", enforced_in="web.requests", response="400", unit="characters"
)
ENTITY_TAGS: Final = _requests.declare(
    100, "Entity tags in `If-Match` or `If-None-Match`", enforced_in="web.entity_tags", response="422"
)
CURSOR_LENGTH: Final = _requests.declare(
    4096, "Length of `cursor` and `since`", enforced_in="fields", response="422", unit="characters"
)
PAGE_SIZE: Final = _requests.declare(200, "Items in a page", enforced_in="fields", response="422", unit="items")
LISTED_ERRORS: Final = _requests.declare(
    20, "Errors listed in a problem", enforced_in="errors", response="The problem tells how many more there are."
)
ERROR_LENGTH: Final = _requests.declare(
    200, "Length of the text of an error", enforced_in="errors", response="The text is cut.", unit="characters"
)
POINTER_LENGTH: Final = _requests.declare(
    300, "Length of the pointer of an error", enforced_in="errors", response="The pointer is cut.", unit="characters"
)
REPEATED_NAME_LENGTH: Final = _requests.declare(
    100,
    "Length to which an error repeats the name of an unknown field or parameter",
    enforced_in="decoding",
    response="The name is cut.",
    unit="characters",
)
REPEATED_VALUE_LENGTH: Final = _requests.declare(
    20,
    "Length to which an error repeats a value",
    enforced_in="decoding",
    response="The value is cut.",
    unit="characters",
)
CONCURRENT_REQUESTS: Final = _requests.declare(
    32,
    "Requests of one account served at a time, in each process; without an account, of one address",
    enforced_in="rate_limits.concurrency",
    response="The request waits for its turn.",
)
WAITING_REQUESTS: Final = _requests.declare(
    512,
    "Requests of one account that wait for their turn, in each process; without an account, of one address",
    enforced_in="rate_limits.concurrency",
    response="429 with `Retry-After`",
)
WAITING_SECONDS: Final = _requests.declare(
    3.0,
    "How long a request waits for its turn",
    unit="seconds",
    enforced_in="rate_limits.concurrency",
    response="429 with `Retry-After`",
)
SMALL_BODY_BYTES: Final = _requests.declare(
    16 * 1024,
    "Size of a form, and of a body that is about accounts, sessions or API keys",
    unit="bytes",
    enforced_in="services",
    response="413",
)
COUNTER_WINDOWS: Final = _requests.declare(
    50_000,
    "Rate limit windows remembered, in each process",
    enforced_in="rate_limits.counters",
    response="The window with the smallest count among eight is forgotten.",
)
COUNTER_LEASES: Final = _requests.declare(
    20_000,
    "Rate limit leases of MongoDB's counts remembered, in each process",
    enforced_in="rate_limits.counters",
    response="The oldest lease is forgotten; what was left of it counts as used.",
)
SHARED_COUNTER_CALLS: Final = _requests.declare(
    500,
    "Calls to the rate limits that MongoDB counts, a second in each process",
    enforced_in="rate_limits.counters",
    response="The process counts by itself.",
)
READINESS_SECONDS: Final = _requests.declare(
    0.1,
    "How long all callers of `/health/ready` share one answer of the document store",
    unit="seconds",
    enforced_in="web.health",
    response="The shared answer.",
)
REFUSALS_LOGGED: Final = _requests.declare(
    10,
    "Log lines about refused and unmetered requests of one address, in 10 seconds",
    enforced_in="observability.log_limit",
    response="One line says how many were left out.",
)
ALL_REFUSALS_LOGGED: Final = _requests.declare(
    1000,
    "Log lines about refused and unmetered requests of all addresses, in 10 seconds",
    enforced_in="observability.log_limit",
    response="One line says how many were left out.",
)
KEPT_ANSWER_BYTES: Final = _requests.declare(
    2 * 1024 * 1024,
    "Answer that is kept for repeats with an `Idempotency-Key`",
    enforced_in="idempotency.stored_answers",
    response="A repeat is 410; it has no second effect.",
    unit="bytes",
)
COMPRESSED_ANSWER_BYTES: Final = _requests.declare(
    128 * 1024,
    "The same, compressed (zlib)",
    enforced_in="idempotency.stored_answers",
    response="A repeat is 410; it has no second effect.",
    unit="bytes",
)
STORED_ANSWER_BYTES: Final = _requests.declare(
    128 * 2**20,
    "Stored answers of one account to requests with an `Idempotency-Key`, compressed, in 24 hours, in each process",
    enforced_in="idempotency.answer_budget",
    response="429 with `Retry-After`; without the key the request is served.",
    unit="bytes",
)

_text = Section("Text")

COMBINING_MARKS: Final = _text.declare(
    30, "Combining marks in a row (UAX 15, Stream-Safe Text Format)", enforced_in="text", response="422"
)
UNTRIMMED_FACTOR: Final = _text.declare(
    5,
    "How many times its limit a text may be long before white space at its ends is cut off",
    enforced_in="fields",
    response="422",
    unit="times",
)
TIMESTAMP_LENGTH: Final = _text.declare(
    64, "Length of a time", enforced_in="timestamps", response="422", unit="characters"
)
TIME_ZONE_LENGTH: Final = _text.declare(
    64, "Length of the name of a time zone", enforced_in="fields", response="422", unit="characters"
)
SEARCHED_WORDS: Final = _text.declare(
    1_000,
    "Different words of a todo that `q` searches: of the title, the description and the steps, in this order",
    enforced_in="todos.words",
    response="The words beyond it are stored, and not found by `q`.",
    unit="words",
)
SEARCHED_WORD_LENGTH: Final = _text.declare(
    64,
    "Length to which `q` compares a word",
    enforced_in="todos.words",
    response="The rest of the word is not compared.",
    unit="characters",
)
FOLDED_FACTOR: Final = _text.declare(
    3,
    "Times its own length to which a text may grow for searching and sorting, with its ligatures written out",
    enforced_in="todos.words",
    response="The rest is not searched.",
    unit="times",
)
FOLDED_EXTRA: Final = _text.declare(
    64,
    "Characters by which it may grow further",
    enforced_in="todos.words",
    response="The rest is not searched.",
    unit="characters",
)
QUERY_LENGTH: Final = _text.declare(200, "Length of `q`", enforced_in="todos.dto", response="422", unit="characters")
_accounts = Section("Accounts and sessions")

USERNAME_LENGTH: Final = _accounts.declare(
    32, "Length of a user name", enforced_in="accounts.dto", response="422", unit="characters"
)
EMAIL_LENGTH: Final = _accounts.declare(
    254, "Length of an email address", enforced_in="accounts.dto", response="422", unit="characters"
)
PASSWORD_LENGTH: Final = _accounts.declare(
    128, "Length of a password", enforced_in="accounts.passwords", response="422", unit="characters"
)
GIVEN_PASSWORD_LENGTH: Final = _accounts.declare(
    1_024,
    "Length of a password that is only compared",
    enforced_in="accounts.dto",
    response="422",
    unit="characters",
)
DISPLAY_NAME_LENGTH: Final = _accounts.declare(
    100, "Length of a display name", enforced_in="accounts.service", response="422", unit="characters"
)
API_KEY_NAME_LENGTH: Final = _accounts.declare(
    100, "Length of the name of an API key", enforced_in="accounts.api_keys", response="422", unit="characters"
)
ADDRESS_FACTOR: Final = _accounts.declare(
    5,
    "Wrong passwords from one address for all accounts, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="429 with `Retry-After`",
)
ACCOUNT_FACTOR: Final = _accounts.declare(
    10,
    "Wrong passwords for one account from all addresses before it is under attack, as a multiple of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="The next bound applies.",
)
ATTACKED_ATTEMPTS: Final = _accounts.declare(
    2,
    "Wrong passwords from one address for an account that is under attack, in 15 periods of `RATE_LIMIT_AUTH`",
    setting="RATE_LIMIT_AUTH",
    enforced_in="rate_limits.policies",
    response="429 with `Retry-After`",
)


PASSWORD_THREADS: Final = _accounts.declare(
    2,
    "Passwords hashed at a time, in each process",
    enforced_in="accounts.passwords",
    response="The request waits for its turn.",
)
PASSWORD_QUEUE: Final = _accounts.declare(
    64,
    "Requests that wait for a password to be hashed, in each process",
    enforced_in="accounts.passwords",
    response="503 with `Retry-After`",
)
EMAIL_KEY_BYTES: Final = _accounts.declare(
    400,
    "Length of an email address once it is case-folded, as the index of addresses holds it",
    enforced_in="accounts.service",
    response="422",
    unit="bytes",
)
MAX_API_KEYS: Final = _accounts.declare(
    100,
    "API keys of an account",
    enforced_in="accounts.api_keys",
    response="403",
)
MAX_SESSIONS: Final = _accounts.declare(
    100,
    "Sessions of an account",
    enforced_in="accounts.sessions",
    response="The account's oldest session ends.",
)
ACCOUNT_CHANGES_WAITING: Final = _accounts.declare(
    200,
    "Changes of one account that wait for their turn, in each process",
    enforced_in="accounts.service",
    response="503 with `Retry-After`",
)
PASSWORDS_OF_ADDRESS: Final = _accounts.declare(
    8,
    "Requests of one address that have a password hashed or wait for it, in each process",
    enforced_in="services",
    response="The request waits for its turn.",
)

_todos = Section("Todos and lists")

TITLE_LENGTH: Final = _todos.declare(
    200, "Length of the title of a todo or a step", enforced_in="todos.validation", response="422", unit="characters"
)
DESCRIPTION_LENGTH: Final = _todos.declare(
    10_000, "Length of a description", enforced_in="todos.dto", response="422", unit="characters"
)
TAGS: Final = _todos.declare(20, "Different tags of a todo", enforced_in="todos.validation", response="422")
GIVEN_TAGS: Final = _todos.declare(
    100, "Tags given for a todo, doubles included", enforced_in="todos.dto", response="422"
)
TAG_LENGTH: Final = _todos.declare(
    50, "Length of a tag", enforced_in="todos.validation", response="422", unit="characters"
)
STEPS: Final = _todos.declare(100, "Steps of a todo", enforced_in="todos.dto", response="422")
RECURRENCE_LENGTH: Final = _todos.declare(
    500, "Length of a recurrence rule", enforced_in="todos.dto", response="422", unit="characters"
)
LIST_NAME_LENGTH: Final = _todos.declare(
    100, "Length of the name of a list", enforced_in="lists.service", response="422", unit="characters"
)
BATCH_OPERATIONS: Final = _todos.declare(100, "Operations of a batch", enforced_in="todos.dto", response="422")
RECURRENCE_INTERVAL: Final = _todos.declare(
    999, "`INTERVAL` of a recurrence rule", enforced_in="todos.recurrence", response="422"
)
RECURRENCE_COUNT: Final = _todos.declare(
    9999, "`COUNT` of a recurrence rule", enforced_in="todos.recurrence", response="422"
)
RECURRENCE_YEARS: Final = _todos.declare(
    40,
    "Time that is searched for the next occurrence of a rule, or 40 times its interval where that is longer",
    enforced_in="todos.recurrence",
    response="422; a todo that is completed stays completed",
    unit="years",
)
RULE_THREADS: Final = _todos.declare(
    1,
    "Recurrence rules worked out at a time, in each process",
    enforced_in="services",
    response="The request waits for its turn.",
)
RULE_QUEUE: Final = _todos.declare(
    64,
    "Requests that wait for a recurrence rule to be worked out, in each process",
    enforced_in="services",
    response="503 with `Retry-After`",
)
RULE_QUEUE_OF_ACCOUNT: Final = _todos.declare(
    16,
    "Requests of an account that wait for a recurrence rule to be worked out, in each process",
    enforced_in="services",
    response="503 with `Retry-After`",
)
RULE_SECONDS: Final = _todos.declare(
    2.0, "Time for a recurrence rule", enforced_in="services", response="503 with `Retry-After`", unit="seconds"
)
MAX_TODOS: Final = _todos.declare(
    100_000,
    "Todos of an account, deleted ones that are remembered included",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_TODOS",
)
MAX_TAGS: Final = _todos.declare(
    1000,
    "Different tags that the todos of an account have",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_TAGS",
)
MAX_LISTS: Final = _todos.declare(
    500,
    "Lists of an account",
    enforced_in="todos.quotas",
    response="409 `quota-exceeded`",
    setting="MAX_LISTS",
)
PAGE_BYTES: Final = _todos.declare(
    2**20,
    "Todos of a page, of `changes` too, as they are stored",
    unit="bytes",
    enforced_in="todos.listing",
    response="The page ends early; `next_cursor` or `has_more` leads to the rest.",
)
BATCH_BYTES: Final = _todos.declare(
    2 * 2**20,
    "Todos in the answer of a batch",
    unit="bytes of JSON",
    enforced_in="todos.controllers",
    response="The operation is carried out; its result has no `todo`.",
)
QUERY_WORDS: Final = _todos.declare(
    40,
    "Different words of `q`; one that begins another counts as that one",
    enforced_in="todos.query",
    response="422",
)
SORTED_TODOS: Final = _todos.declare(
    1000,
    "Todos that a list or a search puts in order in memory",
    enforced_in="todos.listing",
    response="They are read in order and filtered one by one.",
)
SORTED_BYTES: Final = _todos.declare(
    4 * 2**20,
    "Their size, as they are stored",
    unit="bytes",
    enforced_in="todos.listing",
    response="They are read in order and filtered one by one.",
)
DOCUMENT_WAITERS: Final = _todos.declare(
    1000,
    "Changes of one todo or list that wait for their turn, in each process",
    enforced_in="todos.shared",
    response="503 with `Retry-After`",
)
WRITE_ATTEMPTS: Final = _todos.declare(
    30,
    "Attempts at a change of a todo, a list or an account that other processes change at the same time",
    enforced_in="store.optimistic",
    response="503 with `Retry-After`",
)
APPLIED_CHANGES: Final = _todos.declare(
    200,
    "Changes with an `Idempotency-Key` that a todo remembers, for a day: two of the largest batches",
    enforced_in="todos.service",
    response="A repeat of an older change that had no answer is carried out again.",
)
COUNTED_AT_ONCE: Final = _todos.declare(
    1000,
    "Changed todos that a summary reads itself; more are counted in the background",
    enforced_in="sync.counting",
    response="The request waits for the result.",
)
COUNTING_SECONDS: Final = _todos.declare(
    3.0,
    "How long a summary waits for counts that are made in the background",
    unit="s",
    enforced_in="sync.counting",
    response="503 with `Retry-After`; the counting goes on.",
)
COUNTINGS: Final = _todos.declare(
    100,
    "Accounts that are counted in the background or wait for it (two at a time), in each process",
    enforced_in="sync.counting",
    response="503 with `Retry-After`",
)
FILTERED_TAGS: Final = _todos.declare(
    20, "Tags, and priorities, that a list is filtered by", enforced_in="todos.dto", response="422"
)

_imports = Section("Import and export")

IMPORTS_OF_ACCOUNT: Final = _imports.declare(
    2,
    "Imports of an account under way, in each process",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
)
IMPORTS: Final = _imports.declare(
    4,
    "Imports that are read and stored at a time, in each process; the others wait for their turn",
    enforced_in="exchange.service",
    response="After the wait, 429 with `Retry-After`",
)
IMPORT_WAIT_SECONDS: Final = _imports.declare(
    60,
    "How long an import waits for its turn",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
    unit="seconds",
)
IMPORT_PART_SECONDS: Final = _imports.declare(
    30.0,
    "Time to read a part of an import",
    enforced_in="exchange.service",
    response="503 with `Retry-After`; the parts before it were imported",
    unit="seconds",
)
IMPORT_PART_RECORDS: Final = _imports.declare(
    100, "Records of an import that are stored at once", enforced_in="exchange.service", response="They are split."
)
IMPORT_PART_BYTES: Final = _imports.declare(
    512 * 1024,
    "Bytes of an import that are stored at once, and one record more",
    enforced_in="exchange.service",
    response="They are split.",
    unit="bytes",
)
IMPORT_RECORDS: Final = _imports.declare(
    1_000_000,
    "Records of an import",
    enforced_in="exchange.service",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the rest is rejected as one record",
)
IMPORT_RECORD_BYTES: Final = _imports.declare(
    2**20,
    "A record of an import, or a line of iCalendar when it is unfolded",
    enforced_in="exchange.formats.lines",
    response="JSON: 422, nothing is imported; CSV and iCalendar: the record is rejected",
    unit="bytes",
)
IMPORT_LISTS: Final = _imports.declare(
    1000,
    "Different names of lists in an import",
    enforced_in="exchange.service",
    response="The records with further names are rejected.",
)
IMPORT_LISTS_BYTES: Final = _imports.declare(
    2 * 2**20, "`lists` of a JSON import", enforced_in="exchange.formats.archive", response="422", unit="bytes"
)
IMPORT_PROPERTIES: Final = _imports.declare(
    1000,
    "Properties of a VTODO that are read",
    enforced_in="exchange.formats.calendar_reader",
    response="The record is rejected.",
)
IMPORT_NESTING: Final = _imports.declare(
    32,
    "Levels of iCalendar components inside of each other",
    enforced_in="exchange.formats.calendar_reader",
    response="The record is rejected.",
)
IMPORT_ZONES: Final = _imports.declare(
    100,
    "VTIMEZONE components of an import that are used",
    enforced_in="exchange.formats.timezones",
    response="A record that needs another one is rejected.",
)
ZONE_BYTES: Final = _imports.declare(
    64 * 1024,
    "A VTIMEZONE component",
    enforced_in="exchange.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
    unit="bytes",
)
ZONE_OBSERVANCES: Final = _imports.declare(
    200,
    "STANDARD and DAYLIGHT components of a VTIMEZONE",
    enforced_in="exchange.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
)
ZONE_TRANSITIONS: Final = _imports.declare(
    2000,
    "Transitions that a VTIMEZONE defines for the years 1970 to 2100",
    enforced_in="exchange.formats.timezones",
    response="It is not used; a record that needs it is rejected.",
)
REPORTED_RECORDS: Final = _imports.declare(
    1000,
    "Rejected records that the answer to an import lists",
    enforced_in="exchange.service",
    response="`rejected_count` counts them all.",
)
REPORTED_ERRORS: Final = _imports.declare(
    20, "Errors of a rejected record", enforced_in="exchange.service", response="The rest is left out."
)
REPORTED_LENGTH: Final = _imports.declare(
    200,
    "An error of a rejected record, and the pointer to its place",
    enforced_in="exchange.service",
    response="They are cut.",
    unit="characters",
)
REPORTED_BYTES: Final = _imports.declare(
    2**20,
    "Errors that the answer to an import lists, in all",
    enforced_in="exchange.service",
    response="`rejected_count` counts them all.",
    unit="bytes",
)
EXPORTS_OF_ACCOUNT: Final = _imports.declare(
    2,
    "Exports of an account under way, in each process",
    enforced_in="exchange.service",
    response="429 with `Retry-After`",
)
IMPORT_THREADS: Final = _imports.declare(
    1,
    "Imports whose records are read at a time, in each process",
    enforced_in="exchange.service",
    response="The import waits for its turn.",
)
EXPORT_THREADS: Final = _imports.declare(
    1,
    "Parts of exports written at a time, in each process",
    enforced_in="exchange.service",
    response="The export waits for its turn.",
)
EXPORT_QUEUE: Final = _imports.declare(
    128,
    "Parts of exports that wait to be written, in each process",
    enforced_in="exchange.service",
    response="503 with `Retry-After`, or the answer breaks off",
)
EXPORT_PART_SECONDS: Final = _imports.declare(
    30.0,
    "Time to write a part of an export",
    enforced_in="exchange.service",
    response="503 with `Retry-After`, or the answer breaks off",
    unit="seconds",
)

_store = Section("Document store")

DOCUMENT_BYTES: Final = _store.declare(
    8 * 2**20,
    "A document that is inserted, or changed by more than 16 KiB at once",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="500: no input of a client is allowed to make one",
)
LOADED_DOCUMENT_BYTES: Final = _store.declare(
    9 * 2**20,
    "A document that is copied or restored",
    unit="bytes of BSON",
    enforced_in="store.capacity",
    response="`copy` refuses it.",
)
INDEXED_ELEMENTS: Final = _store.declare(
    20_000,
    "Elements of a list that is indexed",
    enforced_in="store.capacity",
    response="500: no input of a client is allowed to make one",
)
INLINE_SECONDS: Final = _store.declare(
    0.004,
    "How long a read may go on on the event loop, until it goes on in a thread",
    unit="s",
    enforced_in="store.scans",
    response="The request waits for a thread.",
)
SCAN_THREADS: Final = _store.declare(
    2,
    "Threads for reads that take longer, in each process",
    enforced_in="store.scans",
    response="The request waits for its turn.",
)
SCAN_QUEUE: Final = _store.declare(
    64,
    "Such reads that run or wait, in each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCANS_PER_ACCOUNT: Final = _store.declare(
    16,
    "Such reads of one account that run (one at a time) or wait, in each process",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
SCAN_SECONDS: Final = _store.declare(
    10.0,
    "How long such a read may go on, where the answer's deadline does not end it before",
    unit="s",
    enforced_in="store.scans",
    response="503 with `Retry-After`",
)
WRITE_SECONDS: Final = _store.declare(
    0.05,
    "How long operations of one transaction, or documents of one call, are written before others get their turn "
    "(embedded store)",
    unit="s",
    enforced_in="store.embedded.group_commit",
    response="The rest is written next.",
)
BACKUP_LINE_BYTES: Final = _store.declare(
    64 * 2**20,
    "A document in a backup, as JSON",
    unit="bytes",
    enforced_in="store.transfer.backup",
    response="`copy` refuses the backup.",
)
BACKUP_BLOCK_BYTES: Final = _store.declare(
    4 * 2**20,
    "A block of a backup, but for its last document",
    unit="bytes",
    enforced_in="store.transfer.backup",
    response="`copy` refuses the backup.",
)
BACKUP_VALUES: Final = _store.declare(
    2**20,
    "Values within one document of a backup",
    enforced_in="store.transfer.backup",
    response="`copy` refuses the backup.",
)

SECTIONS: Final = (_connections, _requests, _text, _accounts, _todos, _imports, _store)
"""Every section, in the order of the page."""


def limits_table() -> str:
    """Return the table of `docs/limits.md`, in Markdown."""
    lines: list[str] = []
    for section in SECTIONS:
        if not section.bounds:
            continue
        lines += [
            f"### {section.title}",
            "",
            "| what | limit | setting | enforced in | beyond it |",
            "|---|---|---|---|---|",
        ]
        for bound in section.bounds:
            number = f"{bound.value:,} {bound.unit}".replace(",", " ").strip()
            setting = f"`{bound.setting}`" if bound.setting else ""
            lines.append(f"| {bound.subject} | {number} | {setting} | `{bound.enforced_in}` | {bound.response} |")
        lines.append("")
    return "\n".join(lines).strip()
