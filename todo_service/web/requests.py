"""Strict parsing of requests: the media type, the JSON body, the form and the query.

Litestar coerces bodies and parameters (`"1"` to 1, 0 to a time), ignores the media type and unknown parameters, and
responds to invalid UTF-8 with a 500. `ApiRequest` replaces all of this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl

import msgspec
import msgspec.inspect
from litestar import Request
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.handlers import HTTPRouteHandler

from todo_service.bounds.requests import FORM_FIELD_LENGTH, LARGE_BODY_BYTES, PARAMETERS
from todo_service.decoding import decode_hook, decode_json, to_issue
from todo_service.security.caller import Caller, CredentialVerifier
from todo_service.timestamps import Timestamp
from todo_service.web.cursors import Cursors
from todo_service.web.problems import ProblemError, create_parameter_problem
from todo_service.web.raw_headers import find_header
from todo_service.web.route_options import PARTS_LATER

_JSON_TYPES: Final = frozenset({"application/json"})
_PATCH_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})
ACCEPT_PATCH: Final = ", ".join(sorted(_PATCH_TYPES))
"""The value of `Accept-Patch` (RFC 5789, section 3.1)."""
_BODY: Final = "body"
"""The key of the body in the state of the scope, for further requests of the same scope."""
_OFFSET_SPACE: Final = re.compile(r"(?<=\d) (?=\d\d:\d\d$)")
"""The space before the offset of a time whose `+` was not encoded in the query."""

QueryT = TypeVar("QueryT", bound=msgspec.Struct)


class ApiRequest(Request[Caller, None, State]):
    """A request that parses its body and its query strictly."""

    _complete_body: bytes | None = None

    @property
    def cursors(self) -> Cursors:
        """The cursors of the application. Not a dependency, because Litestar starts a task for each of several."""
        cursors: Cursors = self.app.state.cursors
        return cursors

    @property
    def is_head(self) -> bool:
        """Whether the client sent HEAD, which is served as GET without the body."""
        return bool(self.scope["state"].get("is_head"))

    async def require_live_caller(self) -> None:
        """Check again that the caller's session or API key is valid, for example after a slow upload.

        An access token that has expired since the request began is accepted. The check is a look-up in memory, and in
        the store if the last one was some seconds ago. A request without a caller passes.

        Raises:
            Unauthenticated: The session or the API key has ended.
        """
        if (caller := self.scope.get("user")) is not None:
            credentials: CredentialVerifier = self.app.state.credentials
            await credentials.require_alive(caller, self.scope["auth"])

    async def body(self) -> bytes:
        """Read the body, and check the caller again before the body is used. Later calls return the same body.

        Raises:
            RequestEntityTooLarge: The body is larger than the route allows.
            Unauthenticated: See `require_live_caller`.
        """
        if self._complete_body is None:
            state = self.scope["state"]
            body = state.get(_BODY)
            if body is None:
                body = state[_BODY] = await self._read_body()
            await self.require_live_caller()
            self._complete_body = body
        return self._complete_body

    async def _read_body(self) -> bytes:
        """Read the body without the overhead of Litestar's `Request.body`, which decodes all headers first."""
        self.require_size()
        limit = self.route_handler.resolve_request_max_body_size()
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message: Any = await self.receive()  # raises `ClientDisconnected` (see `web.middleware`)
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if limit is not None and size > limit:
                raise RequestEntityTooLarge
            more = message.get("more_body", False)
        return b"".join(chunks)

    def require_size(self) -> None:
        """Reject a body whose `Content-Length` exceeds the route's limit, before reading it.

        Raises:
            RequestEntityTooLarge: The body is larger than the route allows.
        """
        limit = self.route_handler.resolve_request_max_body_size()
        length = find_header(self.scope, b"content-length")
        if limit is not None and length and int(length) > limit:
            raise RequestEntityTooLarge

    async def json(self) -> Any:
        """Decode the body into the type of the handler's `data`.

        Raises:
            RequestEntityTooLarge: The body is larger than the route allows.
            ProblemError: 415, the media type is not supported.
            Malformed, Invalid: See `decode_json`.
        """
        field = self.route_handler.parsed_data_field
        assert field is not None  # Litestar calls this only if the handler has `data`
        self.require_size()
        self.require_media_type(_PATCH_TYPES if self.method == "PATCH" else _JSON_TYPES)
        body = await self.body()
        parts_later = bool(self.route_handler.opt.get(PARTS_LATER))
        if len(body) <= LARGE_BODY_BYTES:
            return decode_json(body, field.annotation, parts_later=parts_later)
        # decoding takes milliseconds: decode one large body at a time, so that other requests are served in between
        async with self.app.state.large_body_lock:
            return decode_json(body, field.annotation, parts_later=parts_later)

    def require_media_type(self, allowed: frozenset[str]) -> str:
        """Return the media type of the body.

        Args:
            allowed: The supported media types, in lower case.

        Raises:
            ProblemError: 415, the media type is not supported, or the charset is not UTF-8.
        """
        header = find_header(self.scope, b"content-type").decode("latin-1")
        if header in allowed:
            return header
        media_type, options = self.content_type
        if media_type.lower() not in allowed or options.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
            raise self._create_body_problem(f"the body must be {' or '.join(sorted(allowed))}, in UTF-8")
        return media_type.lower()

    def require_uncompressed(self) -> None:
        """Check that the body is not compressed (RFC 9110, section 8.4), if there is one.

        Raises:
            ProblemError: 415, the body is compressed.
        """
        codings = b",".join(value for name, value in self.scope["headers"] if name == b"content-encoding").split(b",")
        if all(coding.strip().lower() in (b"", b"identity") for coding in codings):
            return
        if self.content_length or "transfer-encoding" in self.headers:
            # RFC 9110, section 12.5.3
            raise self._create_body_problem("the body must not be compressed", {"Accept-Encoding": "identity"})

    def _create_body_problem(self, detail: str, headers: Mapping[str, str] = MappingProxyType({})) -> ProblemError:
        """Return a 415. That of a PATCH names the supported media types (RFC 5789, section 2.2)."""
        patch_headers = {"Accept-Patch": ACCEPT_PATCH} if self.method == "PATCH" else {}
        return ProblemError("unsupported-media-type", detail, headers={**headers, **patch_headers})

    async def form_fields(self) -> dict[str, str]:
        """Parse a form body (application/x-www-form-urlencoded). Repeated fields are errors (RFC 6749, section 3.2).

        Raises:
            RequestEntityTooLarge: The body is larger than the route allows.
            ProblemError: 415, the media type is not supported, or 400, the form is malformed.
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
            raise ProblemError("malformed-request", "the form is malformed") from None
        if any(len(value) > FORM_FIELD_LENGTH for _, value in pairs):
            raise ProblemError("malformed-request", "a form field is too long")
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ProblemError("malformed-request", "a form field is repeated")
        return fields


class QueryRequest(ApiRequest, Generic[QueryT]):
    """A request with query parameters: `QueryT` has a field for each, which is a list if it may be repeated."""

    def parameters(self) -> QueryT:
        """Parse the query.

        Raises:
            ProblemError: 422 with the name of the parameter. Unknown parameters are errors.
        """
        kind: type[QueryT] | None = find_query_struct(self.route_handler)
        assert kind is not None  # a handler that calls this declares its request as a `QueryRequest`
        known = _repeatable(kind)
        values: dict[str, Any] = {}
        for name, value in _parse_query(self.scope["query_string"]):
            if name not in known:
                raise create_parameter_problem(name, "unknown parameter")
            if "\x00" in value:
                raise create_parameter_problem(name, "Expected text without NUL")
            if known[name]:
                values.setdefault(name, []).append(value)
            elif name in values:
                raise create_parameter_problem(name, "Expected a single value")
            else:
                values[name] = value
        try:
            return msgspec.convert(values, kind, strict=False, dec_hook=_decode_parameter)
        except msgspec.ValidationError as error:
            issue = to_issue(error)
            raise create_parameter_problem((issue.pointer or "/").split("/")[1], issue.detail) from None


def find_query_struct(handler: HTTPRouteHandler) -> type[Any] | None:
    """Return the Struct of a handler's query parameters, or None if its request is not a `QueryRequest`."""
    request = handler.parsed_fn_signature.parameters.get("request")
    return request.args[0] if request is not None and request.origin is QueryRequest else None


def _decode_parameter(kind: type[Any], value: Any) -> Any:
    if kind is Timestamp and isinstance(value, str):
        value = _OFFSET_SPACE.sub("+", value)
    return decode_hook(kind, value)


@cache
def _repeatable(kind: type[msgspec.Struct]) -> dict[str, bool]:
    """Return whether each parameter may be repeated, by name."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    types = {field.encode_name: field.type for field in info.fields}
    return {
        name: isinstance(kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind, msgspec.inspect.ListType)
        for name, kind in types.items()
    }


def _parse_query(query: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS)
    except ValueError:
        raise ProblemError("malformed-request", "the query is malformed") from None


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Reject a compressed body, and query parameters on a handler without any. For Litestar's `before_request`."""
    assert isinstance(request, ApiRequest)  # the application's `request_class`
    request.require_uncompressed()
    query = request.scope["query_string"]
    if query and find_query_struct(request.route_handler) is None:
        for name, _ in _parse_query(query):
            raise create_parameter_problem(name, "unknown parameter")
