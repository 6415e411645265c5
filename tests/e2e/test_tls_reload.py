"""Certificates are read again on reload: new connections get them, old ones live on, and a bad file changes nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, Pair
from tests.e2e.client import PATIENCE, Client
from tests.e2e.rig import Proxy, Rig, now
from tests.e2e.scripted import Scripted

EXPIRY = "failover_tls_certificate_not_after_seconds"


def place(pair: Pair, folder: Path) -> dict[str, str]:
    """Put a certificate where the config says that it is."""
    shutil.copy(pair.cert, folder / "site.crt")
    shutil.copy(pair.key, folder / "site.key")
    return {"cert": "site.crt", "key": "site.key"}


async def shown(client: Client) -> str:
    """The name in the certificate of this connection."""
    name: str = client.writer.get_extra_info("peercert")["subjectAltName"][0][1]
    return name


async def all_show(proxy: Proxy, authority: Authority, name: str) -> None:
    """Until every worker shows it: 20 connections in a row do."""
    begun, alike = now(), 0
    while alike < 20:
        assert now() - begun < PATIENCE
        tls = authority.trusting(check_hostname=False)
        async with await Client.connect(proxy.address, tls=tls) as client:
            alike = alike + 1 if await shown(client) == name else 0


async def test_new_connections_get_a_new_certificate_and_old_ones_live_on(rig: Rig, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    files = place(authority.issue("old.example", days=3), tmp_path)
    async with Scripted() as backend:
        listeners = {"web": {"address": "127.0.0.1:0", "tls": files}}
        proxy = await rig.start_proxy({"listeners": listeners, "pools": {"app": [backend.address]}})
        before = await proxy.admin.counter(EXPIRY, listener="web", certificate="old.example")
        async with await Client.connect(proxy.address, tls=authority.trusting(), name="old.example") as old:
            assert 200 == (await old.ask("GET", "/")).status
            place(authority.issue("new.example"), tmp_path)
            changed = await proxy.reload()
            await all_show(proxy, authority, "new.example")
            answer = await old.ask("GET", "/still")
        after = await proxy.admin.counter(EXPIRY, listener="web", certificate="new.example")

    assert {"web": ["tls.certificates"]} == changed["listeners"]["changed"]
    assert (200, b"/still") == (answer.status, answer.body)
    assert after - before > 20 * 86400
    assert "will expire on" in proxy.log


async def test_a_worker_that_begins_later_has_the_certificate_that_is_in_force(rig: Rig, tmp_path: Path) -> None:
    """Whatever has become of the files by then."""
    authority = Authority(tmp_path / "ca")
    files = place(authority.issue("first.example"), tmp_path)
    listeners = {"web": {"address": "127.0.0.1:0", "tls": files}}
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"workers": 1, "listeners": listeners, "pools": {"app": [backend.address]}})
        (tmp_path / "site.crt").write_text("half a cert")
        (tmp_path / "site.key").unlink()
        (worker,) = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while proxy.workers() in ([worker], []):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.02)
        async with await Client.connect(proxy.address, tls=authority.trusting(), name="first.example") as client:
            assert 200 == (await client.ask("GET", "/")).status


@pytest.mark.parametrize(
    ("spoil", "key"),
    [
        (lambda folder: (folder / "site.crt").unlink(), "listeners.web.tls.cert"),
        (lambda folder: (folder / "site.key").write_text(""), "listeners.web.tls.key"),
        (lambda folder: shutil.copy(folder / "ca" / "other.example.key", folder / "site.key"), "listeners.web.tls.key"),
    ],
    ids=["missing", "empty", "not a pair"],
)
async def test_a_bad_certificate_changes_nothing(rig: Rig, tmp_path: Path, spoil: Any, key: str) -> None:
    authority = Authority(tmp_path / "ca")
    authority.issue("other.example")
    files = place(authority.issue("good.example"), tmp_path)
    listeners = {"web": {"address": "127.0.0.1:0", "tls": files}}
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"listeners": listeners, "pools": {"app": [backend.address]}})
        spoil(tmp_path)
        status, document = await proxy.admin.reload()
        await all_show(proxy, authority, "good.example")

    assert (422, [key]) == (status, [mistake["key"] for mistake in document["mistakes"]])


async def test_whom_to_trust_may_change_and_idle_connections_go(rig: Rig, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "Another")
    async with Scripted(tls=authority.issue().context()) as backend:

        def pools(ca: Path) -> dict[str, Any]:
            app = {"backends": [f"https://{backend.address}"], "tls": {"ca": str(ca)}, "health": {"fall": 1000}}
            return {"app": {**app, "hold": {"for": 0}, "breaker": {"consecutive": 1000, "min_requests": 1000}}}

        proxy = await rig.start_proxy({"workers": 1, "pools": pools(authority.cert)})
        async with await Client.connect(proxy.address) as client:
            statuses = [(await client.ask("GET", "/")).status]
            await proxy.reload(pools=pools(other.cert))
            refused = await client.ask("GET", "/")
            await proxy.reload(pools=pools(authority.cert))
            async with asyncio.timeout(PATIENCE):
                # A pool that requests have found to be out is tried again in its own time.
                while (await client.ask("GET", "/")).status != 200:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)
            statuses += [(await client.ask("GET", "/")).status for _ in range(3)]

    assert [200] * 4 == statuses
    assert (502, True) == (refused.status, "tls_certificate_error" in (refused.field("proxy-status") or ""))
    assert 2 == len({asked.connection for asked in backend.asked})


async def test_tls_itself_may_come_and_go(rig: Rig, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    plain = {"address": "127.0.0.1:0"}
    secure = {**plain, "tls": {**authority.issue().files, "client_auth": str(authority.cert)}}
    pair = authority.issue("alice", subject="/CN=alice")
    told = []
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"workers": 1, "listeners": {"web": plain}, "pools": {"app": [backend.address]}})
        for listener, tls in ((plain, None), (secure, authority.trusting(pair)), (plain, None)):
            await proxy.reload(listeners={"web": listener})
            async with await Client.connect(proxy.address, tls=tls) as client:
                assert 200 == (await client.ask("GET", "/", "X-Client-Cert-Subject: CN=claimed")).status
            told.append(backend.asked[-1].field("x-client-cert-subject"))

    assert ["CN=claimed", "CN=alice", "CN=claimed"] == told
