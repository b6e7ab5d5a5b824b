"""The options that a route handler may set in `opt`, each a constant.

The middleware reads them while it serves a request, and the OpenAPI document is built from them.
"""

from __future__ import annotations

from typing import Final

PUBLIC: Final = "public"
"""Whether the route needs no credential: `opt={PUBLIC: True}`."""
SESSION_ONLY: Final = "session_only"
"""Whether API keys are rejected."""
LIMIT: Final = "limit"
"""The rate limit policy of the route, `api` by default; None for no limit."""
BUCKET: Final = "bucket"
"""The bucket of a public route: its requests count separately from those to other routes from the same address."""
NO_TIMEOUT: Final = "no_timeout"
"""Whether the response may begin later than `RESPONSE_SECONDS`. Each call of the store still has its own timeout."""
LONG_LIVED: Final = "long_lived"
"""Whether the response may last for hours. It does not count as a concurrent request of its client."""
TICKET: Final = "ticket"
"""Whether the query may contain an event ticket in place of the `Authorization` header."""
LAST_EVENT_ID: Final = "last_event_id"
"""Whether the route reads `Last-Event-ID`."""
IDEMPOTENT: Final = "idempotent"
"""How the route handles an `Idempotency-Key`: with True, the response is stored and sent again; or `RERUN`."""
RERUN: Final = "rerun"
"""The response holds a secret and is not stored: a repeat runs the handler again, which finds the earlier effect."""
CONFIDENTIAL_BODY: Final = "confidential_body"
"""Whether the body contains secrets. The digest that is stored for an `Idempotency-Key` is then keyed with SECRET_KEY,
so that a copy of the store does not help to guess them."""
ON_REPLAY: Final = "on_replay"
"""A `CheckReplay`, which is called before a stored response is sent again."""
PARTS_LATER: Final = "parts_later"
"""Whether the body has `msgspec.Raw` parts, which the handler decodes and checks itself (see `decode_json`)."""
FORM: Final = "form"
"""The Struct of the form body (see `ApiRequest.form_fields`)."""
BODIES: Final = "bodies"
"""The bodies that the handler parses itself, by media type: a Struct, or an example of a file."""
RESPONSE_BODIES: Final = "response_bodies"
"""The responses that the handler writes itself, by media type: a Struct, or an example of a file."""
COMPONENTS: Final = "components"
"""Further Structs that the body is composed of."""
