"""Sending responses with complete headers, and every error as a problem."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from todo_service.web.problems import create_problem, find_problem_name, find_problem_type

if TYPE_CHECKING:
    from litestar.types import Message, Scope, Send

    from todo_service.web.response_headers import ResponseHeaders


class ResponseSender:
    """Sends the response to one request: completes its headers, and replaces errors that are not problems.

    Args:
        scope: The ASGI scope of the request.
        send: The server's `send`.
        headers: Completes the headers.
        without_body: Whether to drop the body, as for HEAD.

    Attributes:
        status: The status code, or 0 until the response begins.
    """

    def __init__(self, scope: Scope, send: Send, headers: ResponseHeaders, *, without_body: bool) -> None:
        self._scope = scope
        self._send = send
        self._headers = headers
        self._without_body = without_body
        self._replaced = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if message["status"] >= 400 and not self._is_problem(headers):
                # an error response of Litestar itself, for example from its CORS middleware
                self._replaced = True
                kept = [pair for pair in headers if pair[0] not in (b"content-type", b"content-length")]
                await self.send_problem(find_problem_name(message["status"]), "the request failed", kept)
                return
            self.status = message["status"]
            message["headers"] = self._headers.complete(self._scope, headers)
        elif message["type"] == "http.response.body":
            if self._replaced:
                return
            if self._without_body:
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
        await self._send(message)

    def _is_problem(self, headers: list[tuple[bytes, bytes]]) -> bool:
        media_type = find_problem_type(self._scope["path"]).media_type
        return dict(headers).get(b"content-type") == media_type.encode()

    async def send_problem(self, name: str, detail: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send a problem as the response."""
        problem = create_problem(name, detail, self._scope["path"], self._scope["state"]["request_id"])
        body = msgspec.json.encode(problem)
        self.status = problem.status
        own = [*headers, (b"content-type", problem.media_type.encode()), (b"content-length", str(len(body)).encode())]
        complete = self._headers.complete(self._scope, own)
        await self._send({"type": "http.response.start", "status": problem.status, "headers": complete})
        sent = b"" if self._without_body else body
        await self._send({"type": "http.response.body", "body": sent, "more_body": False})
