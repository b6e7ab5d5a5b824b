"""What a receiver does, good or bad, has the right outcome."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from odmantic import ObjectId

from tests.webhooks.receiver import Answer, Received, Receiver, running_receiver, status
from todo_service.bounds.webhooks import RESOLVER_THREADS
from todo_service.webhooks.addresses import AddressPolicy
from todo_service.webhooks.lanes import Speed
from todo_service.webhooks.receivers import Receivers
from todo_service.webhooks.resolver import Resolver
from todo_service.webhooks.sender import AttemptOutcome, Sender

pytestmark = pytest.mark.anyio
HEADERS = {"webhook-id": "1"}


class Names:
    """A name server whose answers change.

    Attributes:
        answers: The addresses for each call. The last one is repeated.
        calls: The number of calls.
    """

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers
        self.calls = 0

    def look_up(self, _: str) -> list[str]:
        self.calls += 1
        return self.answers[min(self.calls, len(self.answers)) - 1]


def create_sender(
    names: Names | None = None, *networks: str, seconds: float = 15, tls: ssl.SSLContext | None = None
) -> Sender:
    resolver = Resolver((names or Names(["127.0.0.1"])).look_up)
    receivers = Receivers(AddressPolicy(networks or ("127.0.0.0/8",)), allow_http=True, resolver=resolver)
    return Sender(receivers, lambda: resolver, lambda: tls or ssl.create_default_context(), seconds=seconds)


async def post(sender: Sender, url: str) -> AttemptOutcome:
    """Make an attempt."""
    async with sender.enter_lane(ObjectId(), Speed.QUICK) as lane:
        return await sender.send(lane, url, HEADERS, b"{}")


async def send(receiver: Receiver, seconds: float = 15) -> AttemptOutcome:
    """Send a delivery to a receiver."""
    return await post(create_sender(seconds=seconds), receiver.url)


def rename(receiver: Receiver, name: str = "hooks.example.com") -> str:
    """Return the URL of a receiver by a name."""
    return receiver.url.replace("127.0.0.1", name)


@pytest.mark.parametrize("code", [200, 201, 204, 299])
async def test_success_is_delivered(receiver: Receiver, code: int) -> None:
    receiver.answer = status(code)

    outcome = await send(receiver)

    assert (outcome.status_code, outcome.delivered) == (code, True)


@pytest.mark.parametrize("code", [300, 304, 400, 404, 410, 429, 500, 503])
async def test_other_statuses_fail(receiver: Receiver, code: int) -> None:
    receiver.answer = status(code)

    outcome = await send(receiver)

    assert (outcome.status_code, outcome.delivered) == (code, False)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(receiver: Receiver, code: int) -> None:
    async with running_receiver() as other:
        receiver.answer = status(code, f"Location: {other.url}")

        outcome = await send(receiver)

        assert (outcome.status_code, other.received) == (code, [])


async def answer_never(_: Received, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def answer_byte_by_byte(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [answer_never, answer_byte_by_byte])
async def test_a_slow_receiver_fails(receiver: Receiver, answer: Answer) -> None:
    receiver.answer = answer

    assert (await send(receiver, seconds=0.2)).error == "the receiver did not respond within 0.2 s"


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (b"Content-Length: 1000000000", b"x" * 65536),
        (b"Transfer-Encoding: chunked", b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        (b"X: until the connection closes", b"x" * 65536),
    ],
    ids=["a gigabyte", "chunks", "until closed"],
)
async def test_an_endless_body_is_not_read(receiver: Receiver, header: bytes, part: bytes) -> None:
    sent = 0

    async def stream(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n")
        while sent < 10**9:
            writer.write(part)
            await writer.drain()
            sent += 65536

    receiver.answer = stream

    assert (await send(receiver)).delivered
    assert sent < 10**8


async def test_a_body_that_never_ends_does_not_matter(receiver: Receiver) -> None:
    async def stop(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx")
        await writer.drain()
        await asyncio.Event().wait()

    receiver.answer = stop

    assert (await send(receiver)).delivered


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2**20])
async def test_no_answer_fails(receiver: Receiver, answer: bytes) -> None:
    async def close(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    receiver.answer = close
    outcome = await send(receiver)

    assert outcome.status_code is None
    assert outcome.error is not None
    assert outcome.error.startswith(("the receiver closed", "the connection to the receiver broke"))


@pytest.mark.parametrize(
    ("start", "part", "code"),
    [
        (b"", b"HTTP/1.1 100 \r\n\r\n" * 4096, None),
        (b"HTTP/1.1 200 OK\r\n", b"a:\n" * 16_384, None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 8192, 200),
    ],
    ids=["interim responses", "headers", "chunks"],
)
async def test_a_response_of_many_parts_is_read_only_in_part(
    receiver: Receiver, start: bytes, part: bytes, code: int | None
) -> None:
    sent, turns = 0, 0

    async def stream(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(start)
        while sent < 10**9:
            writer.write(part)
            await writer.drain()
            sent += len(part)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    receiver.answer = stream
    counting = asyncio.create_task(count_turns())
    outcome = await send(receiver)
    counting.cancel()

    assert outcome.status_code == code
    assert sent < 10**8
    assert turns > 4  # the event loop ran between parts of the response


async def test_a_name_that_no_thread_can_resolve_keeps_no_slot() -> None:
    names = Names(["127.0.0.1"])
    resolver = Resolver(names.look_up)
    before = threading.stack_size(2**46)  # more than there is
    try:
        for _ in range(RESOLVER_THREADS + 1):
            with pytest.raises(OSError, match="no thread"):
                await resolver.resolve("hooks.example.com")
    finally:
        threading.stack_size(before)

    assert await resolver.resolve("hooks.example.com") == ["127.0.0.1"]


async def test_a_closed_port_fails(receiver: Receiver) -> None:
    async with running_receiver() as closed:
        pass

    assert (await send(closed)).error == "the connection to the receiver failed"


async def test_the_connection_is_made_to_the_checked_address(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"])

    outcome = await post(create_sender(names), rename(receiver))

    assert outcome.delivered
    assert names.calls == 1
    assert receiver.received[0].headers["host"] == rename(receiver).split("/")[2]


async def test_an_address_that_changes_after_it_was_set_is_refused(receiver: Receiver) -> None:
    names = Names(["8.8.8.8"], ["10.0.0.1"])
    resolver = Resolver(names.look_up)
    receivers = Receivers(AddressPolicy(), allow_http=True, resolver=resolver)
    await receivers.check(rename(receiver))

    outcome = await post(Sender(receivers, lambda: resolver), rename(receiver))

    assert outcome.error == "the URL or an address of its host is not allowed"
    assert (names.calls, receiver.received) == (2, [])


async def test_another_address_is_tried_if_one_does_not_connect(receiver: Receiver) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])

    assert (await post(create_sender(names), rename(receiver))).delivered


async def test_the_proxies_of_the_environment_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)

        assert (await send(receiver)).delivered
        assert proxy.received == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", timedelta(seconds=7)),
        ("999999", timedelta(days=1)),
        ("9" * 5000, timedelta(days=1)),
        ("-1", None),
        ("soon", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", timedelta()),
    ],
)
async def test_retry_after_is_read(receiver: Receiver, header: str, expected: timedelta | None) -> None:
    receiver.answer = status(503, f"Retry-After: {header}")

    assert (await send(receiver)).retry_after == expected


async def test_retry_after_may_be_a_date(receiver: Receiver) -> None:
    receiver.answer = status(
        503, f"Retry-After: {format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)}"
    )

    found = (await send(receiver)).retry_after

    assert found is not None
    assert timedelta(hours=1) < found <= timedelta(hours=2)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for hooks.example.com, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    moment = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + built.public_bytes(pem))
    return path


async def test_certificates_are_verified_for_the_name_in_the_url(certificate: Path) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusting = create_sender(tls=ssl.create_default_context(cafile=str(certificate)))
    refused = "the certificate of the receiver is not valid"
    async with running_receiver(served) as receiver:
        good = await post(trusting, rename(receiver))
        other_name = await post(trusting, rename(receiver, "other.example.com"))
        by_address = await post(trusting, receiver.url)
        untrusted = await post(create_sender(), rename(receiver))

    assert good.delivered
    assert [other_name.error, by_address.error, untrusted.error] == [refused] * 3
    assert len(receiver.received) == 1


async def test_certificates_are_loaded_once_and_outside_the_event_loop() -> None:
    threads: list[int] = []

    def create_tls() -> ssl.SSLContext:
        threads.append(threading.get_ident())
        return ssl.create_default_context()

    receivers = Receivers(AddressPolicy(["127.0.0.0/8"]), allow_http=True, resolver=Resolver())
    sender = Sender(receivers, tls=create_tls)
    async with running_receiver() as closed:
        pass
    url = closed.url.replace("http:", "https:")
    await asyncio.gather(*(post(sender, url) for _ in range(3)))

    assert len(threads) == 1
    assert threads != [threading.get_ident()]


FIRST_ATTEMPT = """
import asyncio, sys
from tests.webhooks.test_sender import create_sender, post, running_receiver

async def list_imported():
    async with running_receiver() as receiver:
        before = set(sys.modules)
        assert (await post(create_sender(), receiver.url)).delivered
        return set(sys.modules) - before

print(*sorted(asyncio.run(list_imported())))
"""


def test_the_first_attempt_of_a_process_imports_nothing() -> None:
    """Imports would block the event loop."""
    output = subprocess.run([sys.executable, "-c", FIRST_ATTEMPT], check=True, capture_output=True, text=True).stdout

    assert output.split() == []
