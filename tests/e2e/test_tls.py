"""TLS with clients: real handshakes by openssl, curl and Python's ssl module."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import pytest
import pytest_asyncio

from tests.certificates import Authority, Pair
from tests.e2e.client import PATIENCE, Client, request
from tests.e2e.rig import Proxy, happens, rigged
from tests.e2e.scripted import Asked, Scripted, say_who

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def run(*command: str | Path, stdin: bytes = b"") -> tuple[int, str]:
    """Run a program to its end; its exit code and all that it said."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate(stdin)
    return process.returncode or 0, said.decode(errors="replace")


class Site:
    """A proxy with TLS on one listener and without on another, before a scripted backend."""

    def __init__(self, authority: Authority, proxy: Proxy, backend: Scripted) -> None:
        self.authority = authority
        self.proxy = proxy
        self.backend = backend
        self.address = proxy.listeners["secure"]
        self.port = self.address.rpartition(":")[2]

    async def connect(self, name: str = "localhost", pair: Pair | None = None, **attributes: object) -> Client:
        return await Client.connect(self.address, tls=self.authority.trusting(pair, **attributes), name=name)

    async def s_client(self, *options: str) -> tuple[int, str]:
        command = ("openssl", "s_client", "-connect", self.address, "-CAfile", self.authority.cert, "-brief")
        return await run(*command, *options)

    async def handshakes(self, result: str) -> float:
        return await self.proxy.admin.counter("failover_tls_handshakes_total", result=result)

    async def counted(self, result: str, before: float) -> None:
        """Wait until one more has been counted."""
        async with asyncio.timeout(PATIENCE):
            while await self.handshakes(result) <= before:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder / "ca")
    pairs = [authority.issue(), authority.issue("shop.example", "*.shop.example"), authority.issue("pay.shop.example")]
    tls = {**pairs[0].files, "certificates": [pair.files for pair in pairs[1:]]}
    listeners = {"plain": "127.0.0.1:0", "secure": {"address": "127.0.0.1:0", "tls": tls}}
    async with rigged(folder) as rig, Scripted() as backend:
        proxy = await rig.start_proxy({"listeners": listeners, "pools": {"app": [backend.address]}})
        yield Site(authority, proxy, backend)


@pytest.fixture
def site(one_site: Site) -> Site:
    one_site.backend.handler = say_who
    one_site.backend.asked.clear()
    return one_site


# Handshakes


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
async def test_tls_1_2_and_1_3_are_spoken(site: Site, option: str, version: str) -> None:
    code, said = await site.s_client(option, "-alpn", "h2,http/1.1", "-verify_return_error")

    assert (0, True, True) == (code, f"Protocol version: {version}" in said, "Verification: OK" in said)


async def test_older_versions_are_refused(site: Site) -> None:
    before = await site.handshakes("version")

    code, said = await site.s_client("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")

    assert (1, True) == (code, "alert protocol version" in said)
    await site.counted("version", before)


async def test_http_1_1_is_agreed_on(site: Site) -> None:
    context = site.authority.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with await Client.connect(site.address, tls=context) as client:
        chosen = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()

    assert "http/1.1" == chosen


@pytest.mark.parametrize(
    ("asked_for", "shown"),
    [
        ("localhost", "localhost"),
        ("shop.example", "shop.example"),
        ("WWW.Shop.Example", "shop.example"),
        ("pay.shop.example", "pay.shop.example"),
        ("a.b.shop.example", "localhost"),
        ("elsewhere.example", "localhost"),
    ],
)
async def test_the_certificate_is_the_one_for_the_name_that_is_asked_for(
    site: Site, asked_for: str, shown: str
) -> None:
    async with await site.connect(asked_for, check_hostname=False) as client:
        certificate = client.writer.get_extra_info("peercert")

    assert ("DNS", shown) == certificate["subjectAltName"][0]


async def test_who_asks_for_no_name_gets_the_first_certificate(site: Site) -> None:
    code, said = await site.s_client("-noservername", "-verify_hostname", "localhost", "-verify_return_error")

    assert (0, True) == (code, "Verified peername: localhost" in said)


async def test_backends_are_told_that_it_was_https(site: Site) -> None:
    async with await site.connect() as client:
        answer = await client.ask("GET", "/a")
    (asked,) = site.backend.asked

    assert (200, b"/a") == (answer.status, answer.body)
    assert "https" == asked.field("x-forwarded-proto")
    assert 'for=127.0.0.1;proto=https;host="test"' == asked.field("forwarded")


async def test_curl_is_served(site: Site, program) -> None:  # noqa: ANN001 - a fixture
    url = f"https://localhost:{site.port}/curl"
    code, said = await run(program("curl"), "--silent", "--show-error", "--cacert", site.authority.cert, url, url)

    assert (0, "/curl/curl") == (code, said)


async def test_a_session_is_resumed(site: Site) -> None:
    """By one of two workers: each has keys of its own, so ask until one that gave the ticket answers."""
    context = site.authority.trusting()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with await Client.connect(site.address, tls=context) as client:
        session = client.writer.get_extra_info("ssl_object").session
        assert (await client.ask("GET", "/")).status == 200

    host, port = site.address.split(":")

    def resume() -> bool:
        raw = socket.create_connection((host, int(port)))
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as secured:
            return secured.session_reused or False

    results = [await asyncio.to_thread(resume) for _ in range(20)]

    assert any(results)


# Handshakes that fail


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "plain_http"),
        (b"\x00" * 100, "not_tls"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "protocol"),
    ],
    ids=["http", "zeros", "ssh", "short hello"],
)
async def test_what_is_no_tls_is_closed_at_once_and_counted(site: Site, sent: bytes, result: str) -> None:
    before = await site.handshakes(result)

    async with await Client.connect(site.address) as client:
        client.send(sent)
        async with asyncio.timeout(1):
            said = await client.until_closed()

    assert b"HTTP" not in said
    await site.counted(result, before)
    assert [] == site.backend.asked


async def test_who_leaves_within_a_handshake_is_counted(site: Site) -> None:
    before = await site.handshakes("left")

    async with await Client.connect(site.address) as client:
        client.send(b"\x16\x03\x01")

    await site.counted("left", before)


async def test_a_client_that_does_not_believe_the_certificate_is_counted(site: Site) -> None:
    before = await site.handshakes("alert")

    command = ("openssl", "s_client", "-connect", site.address, "-verify_return_error", "-brief")
    code, said = await run(*command)

    assert (1, True) == (code, "verify error" in said)

    await site.counted("alert", before)


# Traffic


async def test_a_connection_is_kept_and_requests_are_pipelined(site: Site) -> None:
    async with await site.connect() as client:
        client.send(b"".join(request("GET", f"/{number}") for number in range(20)))
        pipelined = [(await client.answer()).body for _ in range(20)]
        kept = [(await client.ask("GET", f"/again/{number}")).body for number in range(20)]

    assert [f"/{number}".encode() for number in range(20)] == pipelined
    assert [f"/again/{number}".encode() for number in range(20)] == kept


async def test_bytes_may_come_one_by_one(site: Site) -> None:
    """Each in a record of its own."""
    async with await site.connect() as client:
        for byte in request("POST", "/slow", body=b"body"):
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        answer = await client.answer()

    assert b"/slow" == answer.body


async def test_large_bodies_pass_both_ways(site: Site) -> None:
    size = 20_000_000

    async def echo(asked: Asked) -> None:
        asked.answer(200, body=await asked.body())

    site.backend.handler = echo
    body = bytes(range(256)) * (size // 256)
    async with await site.connect() as client:
        answer = await client.ask("POST", "/", body=body)

    assert body == answer.body


async def test_a_refused_client_gets_its_answer_however_much_it_still_sends(site: Site) -> None:
    async with await site.connect() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n" + b"x" * 500_000)
        answer = await client.answer()

    assert 400 == answer.status


async def test_a_client_may_end_its_side_and_still_get_its_answer(site: Site) -> None:
    """It says close_notify and goes on reading, as TLS 1.3 allows."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def late(one: Asked) -> None:
        asked.set()
        await go_on.wait()
        one.answer(200, body=b"late")

    site.backend.handler = late
    reader, writer = await asyncio.open_connection(*site.address.split(":"))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = site.authority.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")

    async def more() -> None:
        writer.write(outgoing.read())
        incoming.write(await asyncio.wait_for(reader.read(65536), PATIENCE))

    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            await more()
    tls.write(request("GET", "/"))
    with pytest.raises(ssl.SSLWantReadError):
        tls.unwrap()
    writer.write(outgoing.read())
    await happens(asked)
    go_on.set()
    said = b""
    while not said.endswith(b"late"):
        try:
            said += tls.read(65536)
        except ssl.SSLWantReadError:
            await more()
    writer.close()

    assert said.startswith(b"HTTP/1.1 200")


async def test_the_end_of_a_connection_is_said(site: Site) -> None:
    """By close_notify: the client can tell the end of an answer from a cut."""
    async with await site.connect() as client:
        client.send(b"GET /last HTTP/1.0\r\n\r\n")
        said = await client.until_closed()

    assert said.endswith(b"/last")


async def test_a_broken_answer_ends_without_a_word(site: Site) -> None:
    async def half(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30000\r\n" + b"x" * 0x20000)
        await asked.writer.drain()
        asked.abort()

    site.backend.handler = half
    host, port = site.address.split(":")
    context = site.authority.trusting()

    def ask() -> str:
        raw = socket.create_connection((host, int(port)))
        with context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as secured:
            secured.sendall(b"GET / HTTP/1.0\r\n\r\n")
            try:
                while secured.recv(65536):
                    pass
            except OSError as error:
                return type(error).__name__
        return "a clean end"

    assert "a clean end" != await asyncio.to_thread(ask)


async def test_the_plain_listener_beside_it_is_plain(site: Site) -> None:
    async with await Client.connect(site.proxy.listeners["plain"]) as client:
        answer = await client.ask("GET", "/")

    assert (200, "http") == (answer.status, site.backend.asked[0].field("x-forwarded-proto"))


# What is told of certificates


async def test_the_metrics_say_when_certificates_expire(site: Site) -> None:
    name = "failover_tls_certificate_not_after_seconds"
    found = {s.labels["certificate"]: s.value for s in await site.proxy.admin.samples() if s.name == name}

    assert {"localhost", "shop.example", "pay.shop.example"} == set(found)
    assert all(29 * 86400 < at - time() < 31 * 86400 for at in found.values())


async def test_no_key_is_shown_anywhere(site: Site) -> None:
    pages = [await site.proxy.admin.text(path) for path in ("/metrics", "/v1/pools", "/v1/config")]
    said = json.dumps(pages) + site.proxy.log

    assert "PRIVATE" not in said
