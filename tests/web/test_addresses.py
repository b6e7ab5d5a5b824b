"""The address of a client."""

from __future__ import annotations

from typing import Any

import pytest

from todo_service.web.client_address import SITE_PREFIX, SUBSCRIBER_PREFIX, get_client_address, get_client_network


def scope_from(address: str | None) -> Any:
    return {"type": "http", "client": None if address is None else (address, 50000)}


@pytest.mark.parametrize(
    ("peer", "address", "network", "site"),
    [
        ("198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.1"),
        ("::FFFF:c633:6401", "198.51.100.1", "198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::"),
        ("2001:DB8::1", "2001:db8::1", "2001:db8::", "2001:db8::"),
        ("fe80::1%eth0", "fe80::1", "fe80::", "fe80::"),
        ("::1", "::1", "::", "::"),
        ("", "", "", ""),
        (None, "unknown", "unknown", "unknown"),
        ("not:an:address", "not:an:address", "not:an:address", "not:an:address"),
    ],
)
def test_an_address_has_one_canonical_form(peer: str | None, address: str, network: str, site: str) -> None:
    scope = scope_from(peer)

    assert get_client_address(scope) == address
    assert get_client_network(scope, SUBSCRIBER_PREFIX) == network
    assert get_client_network(scope, SITE_PREFIX) == site
