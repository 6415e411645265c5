"""TLS with clients: who they are, how long they may take, and certificates that are replaced."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.certificates import Authority, Pair
from tests.e2e.client import PATIENCE, BrokenOffError, Client
from tests.e2e.rig import Proxy, Rig, rigged
from tests.e2e.scripted import Scripted, say_who

HEADER = "X-Client-Cert-Subject"
SUBJECT = '/C=DE/O=Shop, Inc./OU=a\\+b/CN=Zoë "x"'
TOLD = r"CN=Zo\C3\AB \"x\",OU=a\+b,O=Shop\, Inc.,C=DE"


class Gate:
    """A proxy whose listeners ask for certificates in different ways."""

    def __init__(self, authority: Authority, proxy: Proxy, backend: Scripted, alice: Pair, mallory: Pair) -> None:
        self.authority = authority
        self.proxy = proxy
        self.backend = backend
        self.alice = alice
        self.mallory = mallory

    async def ask(self, listener: str, pair: Pair | None, *fields: str, **attributes: Any) -> str | None:
        """What the backend is told of who asks."""
        address = self.proxy.listeners[listener]
        tls = None if listener == "plain" else self.authority.trusting(pair, **attributes)
        async with await Client.connect(address, tls=tls) as client:
            answer = await client.ask("GET", "/", *fields)
        assert 200 == answer.status
        return self.backend.asked[-1].field(HEADER.lower())

    async def handshakes(self, result: str) -> float:
        return await self.proxy.admin.counter("failover_tls_handshakes_total", result=result)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    authority, other = Authority(folder / "ca"), Authority(folder / "other", "Somebody Else")
    alice, mallory = authority.issue("alice", subject=SUBJECT), other.issue("mallory", subject=SUBJECT)
    server = authority.issue().files

    def listener(**auth: str) -> dict[str, Any]:
        return {"address": "127.0.0.1:0", "tls": {**server, "client_auth": {"ca": str(authority.cert), **auth}}}

    listeners = {
        "required": listener(),
        "optional": listener(mode="optional"),
        "without": {"address": "127.0.0.1:0", "tls": server},
        "plain": "127.0.0.1:0",
    }
    async with rigged(folder) as rig, Scripted() as backend:
        proxy = await rig.start_proxy({"workers": 1, "listeners": listeners, "pools": {"app": [backend.address]}})
        yield Gate(authority, proxy, backend, alice, mallory)


@pytest.fixture
def gate(one_gate: Gate) -> Gate:
    one_gate.backend.handler = say_who
    one_gate.backend.asked.clear()
    return one_gate


# Client certificates


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("listener", ["required", "optional"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_verified_subject_is_passed_on(gate: Gate, listener: str, version: ssl.TLSVersion) -> None:
    assert TOLD == await gate.ask(listener, gate.alice, maximum_version=version)


@pytest.mark.asyncio(loop_scope="module")
async def test_an_optional_certificate_may_be_missing(gate: Gate) -> None:
    assert await gate.ask("optional", None) is None


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_has_no_certificate_is_refused_where_one_is_required(gate: Gate, version: ssl.TLSVersion) -> None:
    before = await gate.handshakes("no_certificate")

    with pytest.raises((OSError, BrokenOffError)):
        await gate.ask("required", None, maximum_version=version)

    assert before + 1 == await counted(gate, "no_certificate", before)
    assert [] == gate.backend.asked


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("listener", ["required", "optional"])
async def test_a_certificate_of_another_authority_is_refused(gate: Gate, listener: str) -> None:
    before = await gate.handshakes("certificate")

    with pytest.raises((OSError, BrokenOffError)):
        await gate.ask(listener, gate.mallory)

    assert before + 1 == await counted(gate, "certificate", before)
    assert [] == gate.backend.asked


async def counted(gate: Gate, result: str, before: float) -> float:
    """The number of such handshakes, once it is another than before."""
    async with asyncio.timeout(PATIENCE):
        while (now := await gate.handshakes(result)) == before:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
    return now


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("listener", ["optional", "without", "plain"])
@pytest.mark.parametrize("name", [HEADER, HEADER.upper(), HEADER.replace("-", "_")])
async def test_nobody_can_claim_a_subject(gate: Gate, listener: str, name: str) -> None:
    forged = (f"{name}: CN=admin", "A: 1", f"{name}:CN=root", "Connection: keep-alive")

    told = await gate.ask(listener, None, *forged)

    assert told is None
    assert ["A: 1"] == [line for line in gate.backend.asked[-1].lines if "CN=" in line or line.startswith("A:")]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_verified_subject_takes_the_place_of_a_claimed_one(gate: Gate) -> None:
    """Nor can it be taken away by naming it in `Connection`."""
    assert TOLD == await gate.ask("required", gate.alice, f"{HEADER}: CN=root", f"Connection: close, {HEADER}")


# Time and numbers


async def test_a_handshake_that_hangs_is_cut_in_time_and_counted(rig: Rig, tmp_path: Path) -> None:
    tls = {**Authority(tmp_path / "ca").issue().files, "handshake_timeout": "300ms"}
    proxy = await rig.start_proxy(
        {"listeners": {"web": {"address": "127.0.0.1:0", "tls": tls}}, "pools": {"app": ["127.0.0.1:1"]}}
    )
    loop = asyncio.get_running_loop()
    took = []
    for sent in (b"", b"\x16\x03\x01\x02\x00\x01"):
        async with await Client.connect(proxy.address) as client:
            begun = loop.time()
            client.send(sent)
            assert b"" == await client.until_closed()
            took.append(loop.time() - begun)

    assert all(0.25 < one < 5 for one in took)
    async with asyncio.timeout(PATIENCE):
        while await proxy.admin.counter("failover_tls_handshakes_total", result="timeout") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_handshakes_count_as_connections(rig: Rig, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with Scripted() as backend:
        proxy = await rig.start_proxy(
            {
                "workers": 1,
                "listeners": {"web": {"address": "127.0.0.1:0", "tls": authority.issue().files}},
                "defaults": {"limits": {"connections": 2}},
                "pools": {"app": [backend.address]},
            }
        )
        async with await Client.connect(proxy.address), await Client.connect(proxy.address):
            with pytest.raises(ConnectionError):
                await Client.connect(proxy.address, tls=authority.trusting())
        answer = await ask_until_admitted(proxy.address, authority.trusting())

    assert 200 == answer


async def ask_until_admitted(address: str, tls: ssl.SSLContext) -> int:
    """The proxy notices in its own time that others have left."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with await Client.connect(address, tls=tls) as client:
                    return (await client.ask("GET", "/")).status
            except OSError:
                await asyncio.sleep(0.02)
