"""TLS with backends: who is believed, what is said of who is not, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from tests.certificates import Authority, Pair
from tests.e2e.client import PATIENCE, BrokenOffError, Client
from tests.e2e.load import RATE, Load
from tests.e2e.rig import POLICIES, Changes, Proxy, Rig
from tests.e2e.scripted import Asked, Scripted


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("backends") / "ca")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue()


def url(backend: Scripted, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{backend.address.rpartition(':')[2]}"


def pool(authority: Authority, *urls: str, **tls: Any) -> dict[str, Any]:
    """A pool whose probes come often and never take a backend out: traffic shall find out."""
    return {
        "backends": list(urls),
        "tls": {"ca": str(authority.cert), **tls},
        "health": {"interval": "100ms", "fast_interval": "100ms", "fall": 1000},
    }


async def last_probe(proxy: Proxy) -> dict[str, Any]:
    """What the first probe found."""
    async with asyncio.timeout(PATIENCE):
        while True:
            (backend,) = (await proxy.admin.get("/v1/pools/app"))["backends"]
            if backend["health"]["last"]:
                return dict(backend["health"]["last"][-1])
            await asyncio.sleep(0.02)


# Who is believed


async def test_a_backend_is_asked_over_tls_and_its_connection_kept(rig: Rig, authority: Authority, pair: Pair) -> None:
    async with Scripted(tls=pair.context()) as backend:
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool(authority, url(backend))}})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", f"/{number}", body=b"x") for number in range(20)]
        probe = await last_probe(proxy)

    assert [f"/{number}".encode() for number in range(20)] == [answer.body for answer in answers]
    assert 1 == len({asked.connection for asked in backend.asked})
    assert (True, "connected") == (probe["ok"], probe["detail"])


async def test_the_name_asked_for_is_the_urls_host_or_the_configured_one(rig: Rig, authority: Authority) -> None:
    names: list[str | None] = []
    context = authority.issue("app.internal", "localhost").context(
        sni_callback=lambda _connection, name, _context: names.append(name)
    )
    async with Scripted(tls=context) as backend:
        pools = {
            "app": pool(authority, url(backend, "localhost")),
            "named": pool(authority, url(backend), server_name="app.internal"),
        }
        routes = [{"match": {"path": f"/{name}"}, "pool": name} for name in pools]
        proxy = await rig.start_proxy({"pools": pools, "routes": routes})
        async with await Client.connect(proxy.address) as client:
            statuses = [(await client.ask("GET", f"/{name}")).status for name in pools]

    assert [200, 200] == statuses
    assert {"localhost", "app.internal"} == set(names)


async def test_a_client_certificate_is_shown_where_one_is_asked_for(rig: Rig, authority: Authority, pair: Pair) -> None:
    own = authority.issue("proxy.internal", subject="/CN=the proxy")
    seen: list[Any] = []

    async def look(asked: Asked) -> None:
        seen.append(dict(part[0] for part in asked.writer.get_extra_info("peercert")["subject"])["commonName"])
        asked.answer(200)

    async with Scripted(look, tls=pair.context(authority.cert)) as backend:
        proxy = await rig.start_proxy({"pools": {"app": pool(authority, url(backend), **own.files)}})
        async with await Client.connect(proxy.address) as client:
            answer = await client.ask("GET", "/")
        probe = await last_probe(proxy)

    assert (200, ["the proxy"], True) == (answer.status, seen, probe["ok"])


async def test_a_backend_that_is_not_verified_is_believed(rig: Rig, pair: Pair) -> None:
    async with Scripted(tls=pair.context()) as backend:
        app = {"backends": [url(backend)], "tls": {"verify": False}}
        proxy = await rig.start_proxy({"pools": {"app": app}})
        async with await Client.connect(proxy.address) as client:
            assert 200 == (await client.ask("GET", "/")).status


# Who is not


@pytest.mark.parametrize("path", [None, "/healthz"], ids=["connect", "get"])
@pytest.mark.parametrize(
    ("fault", "kind", "said", "told"),
    [
        ("expired", "tls_certificate_error", "certificate expired on 20", "certificate has expired"),
        ("name", "tls_certificate_error", "not valid for '127.0.0.1'", "it is for another name"),
        ("authority", "tls_certificate_error", "unable to get local issuer certificate", "issuer"),
        ("plain", "tls_protocol_error", "TLS failed", "wrong version number"),
        ("closes", "tls_protocol_error", "closed during", "closed during the TLS handshake"),
        ("old", "tls_alert_received", "TLS alert", "protocol version"),
        ("ciphers", "tls_alert_received", "TLS alert", "handshake failure"),
    ],
)
async def test_a_backend_that_cannot_be_believed_gets_nothing(
    rig: Rig, authority: Authority, tmp_path: Path, *, fault: str, kind: str, said: str, told: str, path: str | None
) -> None:
    async with untrustworthy(fault, authority, tmp_path) as (address, asked):
        app = pool(authority, f"https://{address}", **({"min_version": 1.3} if fault == "old" else {}))
        app["health"] |= {"path": path} if path else {}
        app["hold"] = {"for": 0}
        proxy = await rig.start_proxy({"pools": {"app": app}})
        async with await Client.connect(proxy.address) as client:
            answer = await client.ask("POST", "/", body=b"x")
        probe = await last_probe(proxy)
        await rig_settled(proxy)

    problem = json.loads(answer.body)
    assert (502, f"urn:failover-proxy:{kind}", "no") == (answer.status, problem["type"], problem["executed"])
    assert f"error={kind}" in (answer.field("proxy-status") or "")
    assert told in problem["detail"]
    assert "127.0.0.1" not in answer.body.decode()
    assert not probe["ok"]
    assert said in probe["detail"]
    assert [] == asked


async def rig_settled(proxy: Proxy) -> None:
    """Every Attempt has been settled."""
    async with asyncio.timeout(PATIENCE):
        while await proxy.admin.counter("failover_backend_in_flight"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def untrustworthy(fault: str, authority: Authority, folder: Path) -> AsyncIterator[tuple[str, list[Asked]]]:
    """A backend with one thing wrong: its address, and what it was asked."""
    pairs: dict[str, Callable[[], Pair]] = {
        "expired": lambda: authority.issue(days=-1, file="expired"),
        "name": lambda: authority.issue("elsewhere.example"),
        "authority": lambda: Authority(folder / "other").issue(),
    }
    options = {"old": ("-tls1_2",), "ciphers": ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")}
    if fault in pairs:
        async with Scripted(tls=pairs[fault]().context()) as backend:
            yield backend.address, backend.asked
    elif fault in options:
        async with openssl_server(authority.issue(), *options[fault]) as address:
            yield address, []
    else:
        async with listening({"plain": refuse_plainly, "closes": close_at_once, "hangs": hang}[fault]) as address:
            yield address, []


@contextlib.asynccontextmanager
async def openssl_server(pair: Pair, *options: str | Path) -> AsyncIterator[str]:
    """`openssl s_server`, which answers every GET with a page about the connection."""
    command = ("s_server", "-accept", "127.0.0.1:0", "-www", "-cert", pair.cert, "-key", pair.key, *options)
    process = await asyncio.create_subprocess_exec(
        "openssl", *map(str, command), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            line = b""
            while not line.startswith(b"ACCEPT"):
                line = await process.stdout.readline()
        yield line.split()[1].decode()
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def listening(handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """Something that does not speak TLS."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def refuse_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    writer.close()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass
    writer.close()


async def test_status_log_and_journal_name_an_expired_certificate(
    rig: Rig, authority: Authority, tmp_path: Path
) -> None:
    async with untrustworthy("expired", authority, tmp_path) as (address, _):
        app = pool(authority, f"https://{address}")
        app["health"] |= {"fall": 1}
        proxy = await rig.start_proxy({"pools": {"app": app}})
        async with Changes(proxy.admin.address).watched() as changes:
            await changes.until(address, available=False)
        status = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "status", "--admin", proxy.admin.address), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(status.communicate(), PATIENCE)
        told = await proxy.admin.get("/v1/journal?kind=certificate")

    assert [(address, "not accepted")] == [(one["backend"], one["to"]) for one in told["entries"]]
    assert told["entries"][0]["cause"].startswith("certificate expired on 20")
    assert "certificate expired on 20" in " ".join(said.decode().split())
    assert "certificate expired on 20" in proxy.log


async def test_a_refused_client_certificate_means_that_nothing_was_sent(
    rig: Rig, authority: Authority, pair: Pair
) -> None:
    """With TLS 1.3 the refusal comes when the request is on its way: another backend may get it, also a POST."""
    strict = openssl_server(pair, "-tls1_3", "-Verify", "1", "-verify_return_error", "-CAfile", authority.cert)
    async with strict as address, Scripted(tls=pair.context()) as lax:
        app = pool(authority, f"https://{address}", url(lax)) | {
            "balance": "round_robin",
            "breaker": {"consecutive": 1000},
        }
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": app}})
        async with await Client.connect(proxy.address) as client:
            answers = [await client.ask("POST", f"/{number}", body=b"x") for number in range(6)]
        async with asyncio.timeout(PATIENCE):
            retried = partial(proxy.admin.counter, "failover_retries_total", reason="tls_alert_received")
            while not await retried():  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
            retries = await retried(result="success")

    assert [f"/{number}".encode() for number in range(6)] == [answer.body for answer in answers]
    assert retries


async def test_a_handshake_that_hangs_ends_with_the_connect_timeout(rig: Rig, authority: Authority) -> None:
    """And the connection is closed."""
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        ended.set()
        writer.close()

    async with listening(hang) as address:
        app = pool(authority, f"https://{address}") | {"timeouts": {"connect": "200ms"}, "hold": {"for": 0}}
        app["health"] = {"interval": "1h"}
        proxy = await rig.start_proxy({"pools": {"app": app}})
        async with await Client.connect(proxy.address) as client:
            answer = await client.ask("GET", "/")
        await asyncio.wait_for(ended.wait(), PATIENCE)

    assert (504, "urn:failover-proxy:connection_timeout") == (answer.status, json.loads(answer.body)["type"])


# Traffic


async def test_large_bodies_pass_both_ways_over_tls_on_both_sides(rig: Rig, authority: Authority, pair: Pair) -> None:
    async def echo(asked: Asked) -> None:
        asked.answer(200, body=await asked.body())

    body = bytes(range(256)) * 60_000
    async with Scripted(echo, tls=pair.context()) as backend:
        listeners = {"web": {"address": "127.0.0.1:0", "tls": pair.files}}
        proxy = await rig.start_proxy({"listeners": listeners, "pools": {"app": pool(authority, url(backend))}})
        async with await Client.connect(proxy.address, tls=authority.trusting()) as client:
            answer = await client.ask("PUT", "/", body=body)

    assert body == answer.body


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_a_slow_client_gets_all_of_an_answer_whose_backend_has_closed(
    rig: Rig, authority: Authority, pair: Pair, *, says_goodbye: bool
) -> None:
    """What was read from the backend and waits for the client must outlive the backend's connection."""
    size = 3_000_000
    sent = asyncio.Event()

    async def give(asked: Asked) -> None:
        asked.answer(200, "Connection: close", body=b"x" * size)
        await asked.writer.drain()
        if says_goodbye:
            asked.writer.close()
        else:
            asked.abort()
        sent.set()

    async with Scripted(give, tls=pair.context()) as backend:
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": pool(authority, url(backend))}})
        async with await Client.connect(proxy.address, receive_buffer=4096) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.head()
            read = 0
            while read < size:
                piece = await asyncio.wait_for(client.reader.read(50_000), PATIENCE)
                if not piece:
                    break
                read += len(piece)
                await asyncio.sleep(0.001)

    if says_goodbye:
        assert size == read
    else:
        assert read <= size


async def test_a_body_that_ends_with_the_connection_is_whole_only_with_a_goodbye(
    rig: Rig, authority: Authority, pair: Pair
) -> None:
    async def give(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000)
        await asked.writer.drain()
        if asked.target == "/cut":
            end_below(asked.writer)
            await asked.until_closed()
        else:
            asked.writer.close()

    async with Scripted(give, tls=pair.context()) as backend:
        proxy = await rig.start_proxy({"pools": {"app": pool(authority, url(backend))}})
        async with await Client.connect(proxy.address) as client:
            whole = await client.ask("GET", "/whole")
        async with await Client.connect(proxy.address) as client:
            with pytest.raises((BrokenOffError, ConnectionError)):
                await client.ask("GET", "/cut")

    assert 100_000 == len(whole.body)


def end_below(writer: asyncio.StreamWriter) -> None:
    """End the TCP connection without the word that TLS has for it."""
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as below:
        below.shutdown(socket.SHUT_WR)


async def test_a_websocket_passes_over_tls_on_both_sides(rig: Rig, authority: Authority, pair: Pair) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    messages = ["text", b"binary", "", b"x" * 1_500_000]
    async with serve(echo, "127.0.0.1", 0, max_size=None, ssl=pair.context()) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        listeners = {"web": {"address": "127.0.0.1:0", "tls": pair.files}}
        app = pool(authority, f"https://127.0.0.1:{port}")
        proxy = await rig.start_proxy({"listeners": listeners, "pools": {"app": app}})
        async with connect(
            f"wss://{proxy.address}/chat",
            max_size=None,
            compression=None,
            ssl=authority.trusting(),
            server_hostname="localhost",
        ) as connection:
            echoes = []
            for message in messages:
                await connection.send(message)
                echoes.append(await connection.recv())
            await connection.close(1001, "enough")

    assert messages == echoes


async def test_no_read_fails_while_a_backend_is_killed(rig: Rig, authority: Authority, pair: Pair) -> None:
    bundle = str(pair.bundle())
    await rig.start_backends("red", "green", certificate=bundle)
    listeners = {"web": {"address": "127.0.0.1:0", "tls": pair.files}}
    backends = [{"name": one["name"], "url": f"https://{one['address']}"} for one in rig.addresses()]
    app = {**POLICIES, "backends": backends, "tls": {"ca": str(authority.cert)}}
    app["timeouts"] = {"connect": "1s", "first_byte": "1s"}
    proxy = await rig.start_proxy({"listeners": listeners, "pools": {"app": app}})
    async with (
        Changes(proxy.admin.address).watched() as changes,
        Load(proxy.address, tls=authority.trusting()) as load,
    ):
        await changes.until("red", available=True)
        await load.answered(int(RATE / 2))
        await rig.kill("red")
        await changes.until("red", available=False)
        await load.answered(int(RATE))
    executions = rig.executions()

    assert [] == load.failed("GET")
    assert {} == {write: times for write, times in executions.items() if times > 1}
    assert [] == load.untold()
