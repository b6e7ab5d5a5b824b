"""Webhooks cannot be sent to addresses that are not public, whatever name leads there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from odmantic import ObjectId

from tests.application import build_variables
from tests.people import Person, assert_problem
from todo_service.bounds.requests import RESPONSE_SECONDS
from todo_service.bounds.webhooks import RESOLUTION_SECONDS
from todo_service.settings import Settings, load_settings
from todo_service.webhooks.addresses import AddressPolicy
from todo_service.webhooks.lanes import Speed
from todo_service.webhooks.receivers import Receivers
from todo_service.webhooks.resolver import Resolver
from todo_service.webhooks.sender import Sender

pytestmark = pytest.mark.anyio
ADDRESSES = [
    "0.0.0.0",  # noqa: S104  # it is refused
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "2606:4700::5efe:7f00:1",
    "2606:4700::200:5efe:a00:1",
    "3ffe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
"""Addresses that are not public, or that embed another address."""
NAMES = {
    "localhost": ["127.0.0.1"],
    "LOCALHOST": [],
    "printer": [],
    "api.localhost": [],
    "db.internal": [],
    "metadata.google.internal": [],
    "metadata.google.internal.": [],
    "nas.local": [],
    "router.lan": [],
    "router.home.arpa": [],
    "intranet.corp": [],
    "loopback.example.com": ["127.0.0.1"],
    "mapped.example.com": ["::ffff:10.0.0.1"],
    "linklocal.example.com": ["fe80::1%eth0"],
    "one-of-two.example.com": ["93.184.215.14", "10.0.0.1"],
    "one-of-two-v6.example.com": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::1"],
    "public.internal": ["93.184.215.14"],
}
"""Names, and what they resolve to."""
SPELLINGS = [
    "http://127.1/",
    "http://127.0.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1.:80/",
    "http://127.0.0.1%2f@example.com/",
    "http://example.com@127.0.0.1/",
    "http://user:secret@example.com/",
    "http://example.com#@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://example.com /",
    "http://example.com\t/",
    "http://[::1%25lo]/",
    "http://[::1/",
    "http://[127.0.0.1]/",
    "http://１２７.0.0.1/",  # noqa: RUF001  # digits that look like ASCII
    "http://127。0。0。1/",
    "http://ⓛocalhost/",
    "http:///hook",
    "http:example.com",
    "http://example.com:0/",
    "http://example.com:22/",
    "http://example.com:25/",
    "http://example.com:65536/",
    "http://example.com:80:80/",
    "http://-a.example.com/",
    "http://a..example.com/",
    "//example.com/",
    "example.com",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "unix:///run/docker.sock",
    "javascript:alert(1)",
]
"""URLs that programs read differently, or that are not those of a receiver."""
PUBLIC = [
    "8.8.8.8",
    "93.184.215.14",
    "192.0.66.1",
    "100.128.0.1",
    "172.32.0.1",
    "2606:4700::1111",
    "2001:4860:4860::8888",
]
URLS = [
    *(f"http://[{address}]/hook" if ":" in address else f"http://{address}/hook" for address in ADDRESSES),
    *(f"https://{name}/hook" for name in NAMES),
    *SPELLINGS,
]


def look_up(name: str) -> list[str]:
    """Resolve a name of `NAMES`."""
    found = NAMES.get(name, [])
    if not found:
        raise OSError("unknown name")
    return found


def create_receivers(*networks: str, allow_http: bool = True) -> Receivers:
    return Receivers(AddressPolicy(networks), allow_http=allow_http, resolver=Resolver(look_up))


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The store does not matter here."""
    return f"lmdb://{tmp_path / 'store'}"


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    """The settings without networks that are allowed."""
    return load_settings(build_variables(tmp_path, store_url))


@pytest.mark.parametrize("url", URLS)
async def test_the_url_is_refused_when_it_is_set(url: str) -> None:
    with pytest.raises(ValueError, match="Expected"):
        await create_receivers().check(url)


@pytest.mark.parametrize("url", URLS)
async def test_the_url_is_refused_when_it_is_sent_to(url: str) -> None:
    sender = Sender(create_receivers(), lambda: Resolver(look_up))

    async with sender.enter_lane(ObjectId(), Speed.UNKNOWN) as lane:
        outcome = await sender.send(lane, url, {}, b"{}")

    assert outcome.error == "the URL or an address of its host is not allowed"


async def test_the_service_refuses_the_urls(ada: Person) -> None:
    hook = (await ada.post("/v1/webhooks", json={"url": "https://192.0.66.1/", "events": ["todo.changed"]})).json()
    for url in [url for url in URLS if "example.com/hook" not in url and url != "https://public.internal/hook"]:
        body = {"url": url, "events": ["todo.changed"]}
        assert_problem(await ada.post("/v1/webhooks", json=body), 422, "/url")
        assert_problem(await ada.patch(f"/v1/webhooks/{hook['id']}", json={"url": url}), 422, "/url")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert AddressPolicy().allows(address, [address])
    assert AddressPolicy().allows("receiver.example.com", [address, *PUBLIC])


def test_allowed_networks_include_names_that_lead_there() -> None:
    policy = AddressPolicy(["127.0.0.0/8", "fd00::/8"])

    assert policy.allows("localhost", ["127.0.0.1"])
    assert policy.allows("hooks.internal", ["127.0.0.1", "fd00::1"])
    assert policy.allows("hooks.example.com", ["127.0.0.1", "8.8.8.8"])
    assert not policy.allows("localhost", ["127.0.0.1", "::1"])
    assert not policy.allows("hooks.example.com", ["::ffff:127.0.0.1"])
    assert not policy.allows("hooks.internal", ["8.8.8.8"])
    assert not policy.allows("hooks.internal", [])


async def test_a_name_that_does_not_resolve_is_accepted_when_it_is_set() -> None:
    await create_receivers().check("https://unknown.example.com/hook")


async def test_only_https_is_allowed_in_production() -> None:
    receivers = create_receivers("127.0.0.0/8", allow_http=False)

    await receivers.check("https://127.0.0.1:8443/hook")
    with pytest.raises(ValueError, match="https://"):
        await receivers.check("http://127.0.0.1:8080/hook")


async def test_a_name_server_that_does_not_answer_delays_no_response() -> None:
    answered = threading.Event()

    def wait(_: str) -> list[str]:
        answered.wait()
        return []

    receivers = Receivers(AddressPolicy(), allow_http=False, resolver=Resolver(wait))
    try:
        await receivers.check("https://slow.example.com/hook")
    finally:
        answered.set()

    assert RESOLUTION_SECONDS < RESPONSE_SECONDS / 2
