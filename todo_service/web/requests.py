"""What a request may carry, read strictly: the media type, the JSON body, the form, the query.

Litestar converts bodies and parameters loosely (`"1"` for 1, 0 for a time), ignores the media type and parameters
that it does not know, and answers a body in broken UTF-8 with a 500. `ApiRequest` is the one place that mends it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
import msgspec.inspect
from litestar import Request
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from todo_service.bounds.requests import FORM_FIELD_LENGTH, LARGE_BODY_BYTES, PARAMETERS
from todo_service.decoding import decode_hook, decode_json, to_issue
from todo_service.security.caller import Caller, Credentials
from todo_service.web.cursors import Cursors
from todo_service.web.problems import ProblemError, invalid_parameter
from todo_service.web.route_options import QUERY

_JSON_TYPES: Final = frozenset({"application/json"})
_PATCH_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})

QueryT = TypeVar("QueryT", bound=msgspec.Struct)


class ApiRequest(Request[Caller, None, State]):
    """A request whose body and query are read as the API says, or not at all."""

    _complete_body: bytes | None = None

    @property
    def cursors(self) -> Cursors:
        """What makes positions opaque. No dependency: where a handler has two, Litestar starts a task for each."""
        cursors: Cursors = self.app.state.cursors
        return cursors

    async def require_live_caller(self) -> None:
        """Check once more that the caller is signed in, as after a body that may have taken long to arrive.

        An access token that has expired since the request began is good enough: the request began in time. The check
        costs a look-up in memory, and one in the store where the last one is more than some seconds ago. A request
        without a caller passes.

        Raises:
            Unauthenticated: the session or the API key has ended.
        """
        if (caller := self.scope.get("user")) is not None:
            credentials: Credentials = self.app.state.credentials
            await credentials.require_alive(caller, self.scope["auth"])

    async def body(self) -> bytes:
        """Read the body, and check the caller once more before anything is done with it. Later calls return it again.

        Raises:
            RequestEntityTooLarge: it is larger than the route allows.
            Unauthenticated: as in `require_live_caller`.
        """
        if self._complete_body is None:
            body = await super().body()
            await self.require_live_caller()
            self._complete_body = body
        return self._complete_body

    def require_size(self) -> None:
        """Refuse a body whose `Content-Length` is over the route's limit, before any of it is read.

        Raises:
            RequestEntityTooLarge: it is.
        """
        limit = self.route_handler.resolve_request_max_body_size()
        if limit is not None and (self.content_length or 0) > limit:
            raise RequestEntityTooLarge

    async def json(self) -> Any:
        """Decode the body into the type of the handler's `data`.

        Raises:
            RequestEntityTooLarge: the body is larger than the route allows.
            ProblemError: 415 for another media type.
            Malformed, Invalid: as in `decode_json`.
        """
        field = self.route_handler.parsed_data_field
        assert field is not None  # Litestar asks for the body only where the handler has `data`
        self.require_size()
        self.require_media_type(_PATCH_TYPES if self.method == "PATCH" else _JSON_TYPES)
        body = await self.body()
        if len(body) <= LARGE_BODY_BYTES:
            return decode_json(body, field.annotation)
        # it takes milliseconds: one large body at a time, so that other requests are served between two of them
        async with self.app.state.large_body_lock:
            return decode_json(body, field.annotation)

    def require_media_type(self, allowed: frozenset[str]) -> str:
        """Return the body's media type; refuse any other, a charset other than UTF-8 and a compressed body: 415."""
        if self.headers.get("content-encoding", "identity").strip().lower() != "identity":
            # RFC 9110, section 12.5.3
            raise ProblemError(
                "unsupported-media-type", "the body must not be compressed", headers={"Accept-Encoding": "identity"}
            )
        media_type, options = self.content_type
        if media_type.lower() not in allowed or options.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise ProblemError("unsupported-media-type", f"the body must be {' or '.join(sorted(allowed))}, in UTF-8")
        return media_type.lower()

    async def form_fields(self) -> dict[str, str]:
        """Read a form body (application/x-www-form-urlencoded) whose fields come once each (RFC 6749, 3.2).

        Raises:
            RequestEntityTooLarge: the body is larger than the route allows.
            ProblemError: 415 for another media type, 400 for what is no such form.
        """
        self.require_size()
        self.require_media_type(frozenset({RequestEncodingType.URL_ENCODED.value}))
        body = await self.body()
        try:
            pairs = parse_qsl(
                body.decode("utf-8"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=PARAMETERS,
            )
        except ValueError:
            raise ProblemError("malformed-request", "the form cannot be read", error="invalid_request") from None
        if any(len(value) > FORM_FIELD_LENGTH for _, value in pairs):
            raise ProblemError("malformed-request", "a field is too long", error="invalid_request")
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ProblemError("malformed-request", "a field comes more than once", error="invalid_request")
        return fields

    def parameters(self, kind: type[QueryT]) -> QueryT:
        """Read the query into a Struct: one field a parameter, a list where it may come more than once.

        Raises:
            ProblemError: 422 that names the parameter, also for one that the Struct does not have.
        """
        known = _repeatable(kind)
        values: dict[str, Any] = {}
        for name, value in _query_pairs(self.scope["query_string"]):
            if name not in known:
                raise invalid_parameter(name, "there is no such parameter")
            if "\x00" in value:
                raise invalid_parameter(name, "Expected text without NUL")
            if known[name]:
                values.setdefault(name, []).append(value)
            elif name in values:
                raise invalid_parameter(name, "Expected this parameter once")
            else:
                values[name] = value
        try:
            return msgspec.convert(values, kind, strict=False, dec_hook=decode_hook)
        except msgspec.ValidationError as error:
            found = to_issue(error)
            raise invalid_parameter((found.pointer or "/").split("/")[1], found.detail) from None


@cache
def _repeatable(kind: type[msgspec.Struct]) -> dict[str, bool]:
    """Return the names of the parameters, and whether each may come more than once."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    types = {field.encode_name: field.type for field in described.fields}
    return {
        name: isinstance(kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind, msgspec.inspect.ListType)
        for name, kind in types.items()
    }


def _query_pairs(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS)
    except ValueError:
        raise ProblemError("malformed-request", "the query cannot be read") from None


async def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuse any query parameter on a handler that reads none; for Litestar's `before_request`."""
    query = request.scope["query_string"]
    if query and not request.route_handler.opt.get(QUERY):
        for name, _ in _query_pairs(query):
            raise invalid_parameter(name, "there is no such parameter")
