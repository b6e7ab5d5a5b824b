"""The URLs of the OpenAPI document below a prefix."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from todo_service.web.openapi.prefixed_urls import fill_urls, mark_urls


@pytest.mark.parametrize(("prefix", "server"), [("/a%20b", "/a%20b"), ("", "/")])
def test_the_server_and_the_urls_of_oauth_flows_are_below_the_prefix(prefix: str, server: str) -> None:
    flows = {
        "password": {"tokenUrl": "/v1/auth/token", "scopes": {}},
        "clientCredentials": {"tokenUrl": "https://example.com/token", "refreshUrl": "/v1/auth/token"},
    }
    document: dict[str, Any] = {
        "servers": [{"url": "/"}],
        "components": {"securitySchemes": {"bearer": {"type": "http"}, "oauth": {"type": "oauth2", "flows": flows}}},
    }

    filled = msgspec.json.decode(fill_urls(msgspec.json.encode(mark_urls(document)), prefix))

    assert filled["servers"] == [{"url": server}]
    assert filled["components"]["securitySchemes"]["oauth"]["flows"] == {
        "password": {"tokenUrl": f"{prefix}/v1/auth/token", "scopes": {}},
        "clientCredentials": {"tokenUrl": "https://example.com/token", "refreshUrl": f"{prefix}/v1/auth/token"},
    }
