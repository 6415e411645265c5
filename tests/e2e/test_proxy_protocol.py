"""The PROXY protocol, from those in front of us and towards backends: who the client is arrives where it must."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.samples.children import Children
from tests.e2e.client import Client, request
from tests.e2e.peers import Peer
from tests.e2e.rig import Proxy, Rig, until
from tests.e2e.scripted import Scripted

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
QUIET: dict[str, Any] = {"health": {"interval": "1h", "fast_interval": "1h", "jitter": "0%"}}


def v1(client: str, port: int = 1000) -> bytes:
    return f"PROXY TCP{6 if ':' in client else 4} {client} {'::9' if ':' in client else '192.0.2.9'} {port} 80\r\n".encode()


def v2(client: str, port: int = 1000) -> bytes:
    address = ipaddress.ip_address(client)
    server = ipaddress.ip_address("::9" if address.version == 6 else "192.0.2.9")
    block = address.packed + server.packed + struct.pack("!HH", port, 80)
    return SIGNATURE + bytes((0x21, 0x21 if address.version == 6 else 0x11)) + struct.pack("!H", len(block)) + block


LOCAL = SIGNATURE + bytes((0x20, 0, 0, 0))


async def read_v1(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n")


async def read_v2(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(16)
    return head + await reader.readexactly(int.from_bytes(head[14:], "big"))


READERS = {"v1": read_v1, "v2": read_v2}


async def start(rig: Rig, backend: Scripted, config: dict[str, Any] | None = None, **pool: Any) -> Proxy:
    """One worker whose listener wants headers."""
    listener = {"address": "127.0.0.1:0", "proxy_protocol": True}
    pools = {"app": {**QUIET, "backends": [backend.address], **pool}}
    settings = {"workers": 1, "listeners": {"web": listener}, "trusted_proxies": ["127.0.0.0/8"], "pools": pools}
    return await rig.start_proxy({**settings, **(config or {})})


async def refused(proxy: Proxy, reason: str) -> float:
    """Connections that were closed for this reason, once one was."""
    async with asyncio.timeout(10):
        while not (count := await proxy.admin.counter("failover_refused_connections_total", reason=reason)):  # noqa: ASYNC110 - Reports come by the clock
            await asyncio.sleep(0.05)
    return count


# From those in front of us


@pytest.mark.parametrize("header", [v1, v2], ids=["v1", "v2"])
@pytest.mark.parametrize(("client", "node"), [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", '"[2001:db8::1]"')])
async def test_the_client_is_who_the_header_says(
    rig: Rig, header: Callable[[str], bytes], client: str, node: str
) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend)
        connection = await rig.connect(proxy.address)
        connection.send(header(client) + request("GET", "/1"))
        answers = [await connection.answer(), await connection.ask("GET", "/2")]

    assert [b"/1", b"/2"] == [answer.body for answer in answers]
    assert [client] * 2 == [asked.field("x-forwarded-for") for asked in backend.asked]
    assert [f'for={node};proto=http;host="test"'] * 2 == [asked.field("forwarded") for asked in backend.asked]


async def test_a_clients_own_forwarding_fields_are_not_believed_because_its_proxy_is(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend)
        connection = await rig.connect(proxy.address)
        connection.send(v1("192.0.2.1") + request("GET", "/", "X-Forwarded-For: 203.0.113.5"))
        await connection.answer()

    assert ["192.0.2.1"] == [asked.field("x-forwarded-for") for asked in backend.asked]


async def test_a_connection_of_the_proxys_own_is_its_own(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend)
        for header in (LOCAL, b"PROXY UNKNOWN\r\n"):
            connection = await rig.connect(proxy.address)
            connection.send(header + request("GET", "/"))
            await connection.answer()

    assert ["127.0.0.1"] * 2 == [asked.field("x-forwarded-for") for asked in backend.asked]


@pytest.mark.parametrize(
    "said",
    [
        request("GET", "/"),
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1000\r\n" + request("GET", "/"),
        SIGNATURE + b"\x21\x11\xff\xff" + request("GET", "/"),
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1",
    ],
    ids=["no header", "a bad header", "a header without end", "TLS"],
)
async def test_what_does_not_begin_with_a_header_is_closed_without_a_word_and_counted(rig: Rig, said: bytes) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend)
        connection = await rig.connect(proxy.address)
        connection.send(said)

        assert b"" == await connection.until_closed()
        assert 1 == await refused(proxy, "proxy_protocol_malformed")
        assert [] == backend.asked


async def test_a_header_from_anybody_else_is_not_believed(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, {"trusted_proxies": ["192.0.2.0/24"]})
        connection = await rig.connect(proxy.address)
        connection.send(v1("192.0.2.1") + request("GET", "/"))

        assert b"" == await connection.until_closed()
        assert 1 == await refused(proxy, "proxy_protocol_untrusted")
        assert [] == backend.asked


async def test_a_header_has_the_time_of_a_head(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await start(rig, backend, {"defaults": {"timeouts": {"request_head": "300ms"}}})
        connection = await rig.connect(proxy.address)
        connection.send(v1("192.0.2.1")[:-1])

        assert b"" == await connection.until_closed()
        assert 1 == await refused(proxy, "proxy_protocol_timeout")


async def test_a_limit_for_each_client_counts_those_whom_headers_name(rig: Rig) -> None:
    """The proxy in front has no such limit, though every connection is its own."""
    async with Scripted() as backend:
        proxy = await start(rig, backend, {"defaults": {"limits": {"connections_per_client": 2}}})
        statuses = []
        for client in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8::3"):
            connection = await rig.connect(proxy.address)
            connection.send(v2(client) + request("GET", "/"))
            statuses.append((await connection.answer()).status)
        for _ in range(3):
            connection = await rig.connect(proxy.address)
            connection.send(LOCAL + request("GET", "/"))
            statuses.append((await connection.answer()).status)

    assert [200, 200, 503, 200, 200, 200, 503, 200, 200, 200] == statuses


# Towards backends


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_backend_learns_who_the_client_is_on_a_connection_of_its_own(rig: Rig, version: str) -> None:
    async with Scripted(introduced=READERS[version]) as backend:
        proxy = await rig.start_proxy(
            {"pools": {"app": {**QUIET, "backends": [backend.address], "send_proxy_protocol": version}}}
        )
        own = int(proxy.address.rpartition(":")[2])
        clients = [await rig.connect(proxy.address) for _ in range(2)]
        for _ in range(2):
            for client in clients:
                await client.ask("GET", f"/{client.port}")

    expected = {}
    for client in clients:
        block = bytes((127, 0, 0, 1, 127, 0, 0, 1)) + struct.pack("!HH", client.port, own)
        expected[f"/{client.port}"] = {
            "v1": f"PROXY TCP4 127.0.0.1 127.0.0.1 {client.port} {own}\r\n".encode(),
            "v2": SIGNATURE + b"\x21\x11" + struct.pack("!H", 12) + block,
        }[version]
    assert 4 == len(backend.asked)
    assert [expected[asked.target] for asked in backend.asked] == [asked.introduction for asked in backend.asked]
    assert 2 == len({asked.connection for asked in backend.asked})


async def test_a_clients_connection_to_a_backend_ends_with_it(rig: Rig) -> None:
    async with Scripted(introduced=read_v1) as backend:
        proxy = await rig.start_proxy(
            {"workers": 1, "pools": {"app": {**QUIET, "backends": [backend.address], "send_proxy_protocol": True}}}
        )
        client = await rig.connect(proxy.address)
        await client.ask("GET", "/")
        [asked] = backend.asked
        client.close()

        await until(asked.reader.at_eof)


async def test_the_first_client_is_passed_on_through_both_protocols(rig: Rig) -> None:
    async with Scripted(introduced=read_v1) as backend:
        proxy = await start(rig, backend, send_proxy_protocol="v1")
        connection = await rig.connect(proxy.address)
        connection.send(v2("2001:db8::1", 4711) + request("GET", "/"))
        await connection.answer()

    assert [b"PROXY TCP6 2001:db8::1 ::9 4711 80\r\n"] == [asked.introduction for asked in backend.asked]


async def test_a_client_of_a_unix_socket_is_unknown(rig: Rig, tmp_path: Path) -> None:
    async with Scripted(introduced=read_v1, path=str(tmp_path / "backend.sock")) as backend:
        pool = {**QUIET, "backends": [backend.address], "send_proxy_protocol": "v1"}
        proxy = await rig.start_proxy({"listeners": [f"unix:{tmp_path / 'proxy.sock'}"], "pools": {"app": pool}})
        client = await rig.connect(proxy.address)
        answer = await client.ask("GET", "/")

    assert (200, [b"PROXY UNKNOWN\r\n"]) == (answer.status, [asked.introduction for asked in backend.asked])


@pytest.mark.parametrize(("version", "own"), [("v1", b"PROXY UNKNOWN\r\n"), ("v2", LOCAL)])
@pytest.mark.parametrize("health", [{}, {"path": "/healthz"}], ids=["connecting", "asking"])
async def test_a_probe_says_that_it_is_nobodys(rig: Rig, version: str, own: bytes, health: dict[str, str]) -> None:
    async with Scripted(introduced=READERS[version]) as backend:
        pool = {"backends": [backend.address], "send_proxy_protocol": version}
        proxy = await rig.start_proxy({"pools": {"app": {**pool, "health": {**health, "interval": "100ms"}}}})
        await until(lambda: len(backend.introductions) >= 3)
        document = await proxy.admin.backend(backend.address)

    assert {own} == set(backend.introductions)
    assert (True, True) == (document["available"], document["health"]["last"][0]["ok"])


async def test_a_read_is_tried_again_where_the_first_backend_is_gone(rig: Rig) -> None:
    async with Scripted(introduced=read_v2) as gone, Scripted(introduced=read_v2) as well:
        backends = [{"address": gone.address, "tier": 1}, {"address": well.address, "tier": 2}]
        proxy = await rig.start_proxy(
            {"pools": {"app": {**QUIET, "backends": backends, "send_proxy_protocol": "v2", "retries": {"attempts": 2}}}}
        )
        await gone.__aexit__()
        client = await rig.connect(proxy.address)
        answer = await client.ask("GET", "/x")

    assert (200, b"/x") == (answer.status, answer.body)
    assert SIGNATURE == well.asked[0].introduction[:12]


# With programs of others

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} proxy_protocol;
        location / {{ return 200 "$proxy_protocol_addr:$proxy_protocol_port"; }}
    }}
}}
"""
HAPROXY = """\
defaults
    mode tcp
    timeout connect 1s
    timeout client 10s
    timeout server 10s
listen front
    bind 127.0.0.1:{port}
    server proxy {address} {send}
"""


@pytest.fixture
async def peers() -> AsyncIterator[tuple[Children, list[Peer]]]:
    started: list[Peer] = []
    async with Children() as children:
        yield children, started
        for peer in started:
            await peer.kill()
            peer.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_nginx_understands_what_we_send(
    rig: Rig, peers: tuple[Children, list[Peer]], program: Callable[..., str], tmp_path: Path, version: str
) -> None:
    def command(folder: Path, port: int) -> list[str]:
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port))
        return [path, "-p", str(folder), "-e", "stderr", "-c", str(config)]

    path = program("nginx")
    children, started = peers
    server = Peer(children, tmp_path / "nginx", command)
    started.append(server)
    await server.start()
    health = {"path": "/", "interval": "100ms"}
    pool = {"health": health, "backends": [server.address], "send_proxy_protocol": version}
    proxy = await rig.start_proxy({"pools": {"app": pool}})
    client = await rig.connect(proxy.address)
    answers = [await client.ask("GET", "/") for _ in range(3)]
    document = await proxy.admin.backend(server.address)

    assert [f"127.0.0.1:{client.port}".encode()] * 3 == [answer.body for answer in answers]
    assert (True, "200 OK") == (document["available"], document["health"]["last"][0]["detail"])


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
async def test_we_understand_what_haproxy_sends(
    rig: Rig, peers: tuple[Children, list[Peer]], program: Callable[..., str], tmp_path: Path, send: str
) -> None:
    path = program("haproxy")
    children, started = peers
    async with Scripted(introduced=read_v1) as backend:
        proxy = await start(rig, backend, send_proxy_protocol="v1")

        def command(folder: Path, port: int) -> list[str]:
            config = folder / "haproxy.cfg"
            config.write_text(HAPROXY.format(port=port, address=proxy.address, send=f"{send} check inter 100ms"))
            return [path, "-db", "-f", str(config)]

        front = Peer(children, tmp_path / "haproxy", command)
        started.append(front)
        await front.start()
        async with await Client.connect(front.address) as client:
            answer = await client.ask("GET", "/")
            port = client.port

    assert 200 == answer.status
    assert [f"PROXY TCP4 127.0.0.1 127.0.0.1 {port} {front.port}\r\n"] == [
        asked.introduction.decode() for asked in backend.asked
    ]
