"""The URLs of the OpenAPI document that depend on the prefix of a request.

The document is rendered once, with placeholders in place of these URLs. A request only replaces them, and nothing is
kept for each prefix.
"""

from __future__ import annotations

from typing import Final

from todo_service.web.openapi.document import Json

_SERVER: Final = "@server@"
_PREFIX: Final = "@prefix@"
_FLOW_URLS: Final = ("authorizationUrl", "tokenUrl", "refreshUrl")


def mark_urls(document: Json) -> Json:
    """Put placeholders into a document: as the URL of its server, and before the paths of its OAuth 2 flows."""
    for server in document["servers"]:
        server["url"] = _SERVER
    for scheme in document["components"]["securitySchemes"].values():
        for flow in scheme.get("flows", {}).values():
            flow.update({name: _PREFIX + flow[name] for name in _FLOW_URLS if flow.get(name, "").startswith("/")})
    return document


def fill_urls(rendered: bytes, prefix: str) -> bytes:
    """Return a rendered document with the URLs below a prefix in place of the placeholders.

    Args:
        rendered: The result of rendering what `mark_urls` returned.
        prefix: The prefix in normal form (see `url_prefix`), or "".
    """
    return rendered.replace(_SERVER.encode(), prefix.encode() or b"/").replace(_PREFIX.encode(), prefix.encode())
