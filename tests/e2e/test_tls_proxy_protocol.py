"""PROXY headers come before the handshake, in both directions."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any, Self

import pytest

from tests.certificates import Authority
from tests.e2e.client import PATIENCE, Client
from tests.e2e.rig import Rig
from tests.e2e.scripted import Scripted


async def test_a_client_behind_another_proxy_is_known_before_its_handshake(rig: Rig, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    listener = {"address": "127.0.0.1:0", "proxy_protocol": True, "tls": authority.issue().files}
    async with Scripted() as backend:
        proxy = await rig.start_proxy(
            {
                "listeners": {"web": listener},
                "trusted_proxies": ["127.0.0.0/8"],
                "pools": {"app": [backend.address]},
            }
        )
        answer = await asyncio.to_thread(introduce, proxy.address, authority.trusting())

    assert answer.startswith(b"HTTP/1.1 200")
    assert ("192.0.2.7", "https") == (
        backend.asked[0].field("x-forwarded-for"),
        backend.asked[0].field("x-forwarded-proto"),
    )


def introduce(address: str, tls: ssl.SSLContext) -> bytes:
    """Say who the client is, then speak TLS, all in one connection; the answer."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as raw:
        raw.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n")
        with tls.wrap_socket(raw, server_hostname="localhost") as secured:
            secured.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return secured.recv(65536)


@pytest.mark.parametrize("path", [None, "/healthz"], ids=["connect", "get"])
async def test_a_backend_is_told_of_the_client_before_the_handshake(rig: Rig, tmp_path: Path, path: str | None) -> None:
    """So is a probe's, which is nobody's."""
    authority = Authority(tmp_path / "ca")
    async with Scripted(tls=authority.issue().context()) as backend, Introduced(backend) as front:
        app: dict[str, Any] = {
            "backends": [f"https://{front.address}"],
            "tls": {"ca": str(authority.cert)},
            "send_proxy_protocol": "v1",
            "health": {"interval": "100ms", "fast_interval": "100ms", "fall": 1000, **({"path": path} if path else {})},
        }
        proxy = await rig.start_proxy({"workers": 1, "pools": {"app": app}})
        async with await Client.connect(proxy.address) as client:
            answers = [(await client.ask("POST", f"/{number}", body=b"x")).body for number in range(3)]
            own = client.port
        async with asyncio.timeout(PATIENCE):
            while not (probes := (await proxy.admin.backend(front.address))["health"]["last"]):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    assert [b"/0", b"/1", b"/2"] == answers
    assert (True, "connected" if path is None else "200 Whatever") == (probes[-1]["ok"], probes[-1]["detail"])
    of_client = [line for line in front.headers if line.startswith(b"PROXY TCP4 127.0.0.1 ")]
    assert [str(own).encode()] == [line.split()[4] for line in of_client]
    assert {b"PROXY UNKNOWN\r\n"} == set(front.headers) - set(of_client)


class Introduced:
    """Takes the PROXY header off each connection, and hands the rest on to a backend, unread."""

    def __init__(self, backend: Scripted) -> None:
        self._backend = backend
        self.headers: list[bytes] = []
        self.address = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = "127.0.0.1:{}".format(self._server.sockets[0].getsockname()[1])  # noqa: UP032 - nested quotes
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.headers.append(await reader.readuntil(b"\r\n"))
        host, port = self._backend.address.split(":")
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
