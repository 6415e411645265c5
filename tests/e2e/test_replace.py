"""USR2: the running program is replaced by a new one. No client notices."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.load import Load
from tests.e2e.long import LongLived, long_backend, routes
from tests.e2e.rig import NAMES, PATIENCE, POLICIES, Admin, Proxy, Rig, until
from tests.e2e.scripted import Scripted
from tests.e2e.test_orphans import has_ended
from tests.e2e.test_processes import counters, ends, went_back

ROOT = Path(__file__).parents[2]
REPLACEMENTS = 5
STARTS_WITHIN = 60.0
"""Seconds for a rehearsal and two starts on a busy machine; on an idle one it is two."""


async def replace(proxy: Proxy) -> None:
    """Replace the program, and wait until the new one serves and the workers before it are told to go."""
    already = proxy.log.count("handed over")
    proxy.process.send_signal(signal.SIGUSR2)
    await until(lambda: proxy.log.count("handed over") > already, STARTS_WITHIN)


async def fail_to_replace(rig: Rig, proxy: Proxy) -> str:
    """Try to; the reason why not."""
    rig.expected += ["not replaced"]
    already = proxy.log.count("not replaced")
    proxy.process.send_signal(signal.SIGUSR2)
    await until(lambda: proxy.log.count("not replaced") > already, STARTS_WITHIN)
    return proxy.log.rpartition("not replaced")[2]


def rewrite(rig: Rig, **changes: Any) -> None:
    """Change the config file, for the next program."""
    path = rig.folder / "proxy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


async def test_five_replacements_under_load_cost_nothing(rig: Rig) -> None:
    """No request, no WebSocket, no download, no count; no write is executed twice."""
    await rig.start_backends(*NAMES)
    history = []
    async with long_backend() as backend:
        proxy = await rig.start_proxy(routes(backend, {"pools": {"app": {**POLICIES, "backends": rig.addresses()}}}))
        first = set(proxy.workers())
        async with LongLived(proxy.address) as long, Load(proxy.address) as load:
            await load.answered(50)
            for _ in range(REPLACEMENTS):
                history.append(await counters(proxy))
                await replace(proxy)
                await load.answered(50)
            history.append(await counters(proxy))
            await long.moved(5)
        broken = long.broken
        assert ([], [], []) == (broken, load.failed("GET"), load.failed("POST"))
        await counted(proxy, len(load.records))
        await until(lambda: not first & set(proxy.workers()))

    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    assert [] == went_back(history)
    assert 0 == await proxy.admin.counter("failover_worker_restarts_total")


async def counted(proxy: Proxy, requests: int) -> None:
    """Wait until exactly so many short requests are counted: none is forgotten, none is counted twice."""
    async with asyncio.timeout(PATIENCE):
        while (seen := await proxy.admin.counter("failover_requests_total", pool="app")) != requests:
            assert seen < requests
            await asyncio.sleep(0.05)


async def test_a_new_connection_is_served_at_every_moment_of_a_replacement(rig: Rig) -> None:
    """Those in an accept queue included: sockets are handed on, never closed."""
    proxy = await rig.start()
    statuses = []
    replacing = asyncio.create_task(replace(proxy))
    while not replacing.done():
        clients = [await Client.connect(proxy.address) for _ in range(8)]
        answers = await asyncio.gather(*(client.ask("GET", "/") for client in clients))
        statuses += [answer.status for answer in answers]
        for client in clients:
            client.close()

    await replacing
    assert {200} == set(statuses)


# When the new program is no good


async def goes_on(proxy: Proxy, workers: list[int]) -> None:
    """The old program serves, with the same workers."""
    assert workers == proxy.workers()
    async with await Client.connect(proxy.address) as client:
        assert 200 == (await client.ask("GET", "/")).status
    assert (200, "ready\n") == await proxy.admin.text("/readyz")


async def test_a_config_that_is_wrong_by_now_leaves_the_old_program_going_on(rig: Rig) -> None:
    proxy = await rig.start()
    workers = proxy.workers()
    rewrite(rig, pools={"app": []})

    reason = await fail_to_replace(rig, proxy)

    assert "status 78" in reason
    await goes_on(proxy, workers)


async def test_a_new_listener_that_can_not_be_bound_leaves_the_old_program_going_on(rig: Rig) -> None:
    proxy = await rig.start()
    workers = proxy.workers()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        rewrite(rig, listeners={"web": "127.0.0.1:0", "more": f"127.0.0.1:{taken.getsockname()[1]}"})
        reason = await fail_to_replace(rig, proxy)

    assert "status 1" in reason
    assert "is taken: another process listens there" in proxy.log
    await goes_on(proxy, workers)


async def start_copy(rig: Rig) -> tuple[Proxy, Path]:
    """A proxy that runs from a copy of the program, which can then be changed under it."""
    copy = rig.folder / "program"
    shutil.copytree(ROOT / "proxy", copy / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    await rig.start_backends("red")
    config, told, log = (rig.folder / name for name in ("proxy.json", "addresses.json", "proxy.log"))
    fixed = {"workers": 2, "listeners": {"web": "127.0.0.1:0"}, "admin": "127.0.0.1:0"}
    config.write_text(json.dumps(fixed | {"pools": {"app": {**POLICIES, "backends": rig.addresses()}}}))
    program = f"import sys; sys.path.insert(0, {str(copy)!r}); from proxy.__main__ import main; main()"
    with log.open("w") as output:
        process = await rig._children.start(
            "-c",
            program,
            "run",
            str(config),
            "--addresses",
            str(told),
            orphaned=signal.SIGTERM,
            stdout=output,
            stderr=output,
        )
    await until(told.exists)
    document = json.loads(told.read_text())
    return Proxy(process, document, Admin(document["admin"], rig._session), log, config), copy / "proxy"


async def version(proxy: Proxy) -> str:
    """Of the program that runs."""
    return next(one.labels["version"] for one in await proxy.admin.samples() if one.name == "failover_build_info")


async def test_new_code_runs_after_it_and_broken_code_never(rig: Rig) -> None:
    proxy, program = await start_copy(rig)
    workers = proxy.workers()
    for broken in ("dataplane/worker.py", "controlplane/supervisor.py"):
        whole = (program / broken).read_text()
        (program / broken).write_text("raise SystemExit('broken')\n")
        await fail_to_replace(rig, proxy)
        await goes_on(proxy, workers)
        (program / broken).write_text(whole)
    (program / "__init__.py").write_text('__version__ = "9.9.9"\n')

    before = await version(proxy)
    await replace(proxy)

    assert before != await version(proxy) == "9.9.9"


# What the new program begins with


@pytest.mark.parametrize("numbers", [(2, 3), (3, 1)])
async def test_the_number_of_workers_may_change(rig: Rig, numbers: tuple[int, int]) -> None:
    """More get sockets of their own beside the others; fewer accept for those that are no more."""
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"workers": numbers[0], "pools": {"app": [backend.address]}})
        old = set(proxy.workers())
        rewrite(rig, workers=numbers[1])
        await replace(proxy)
        await until(lambda: not old & set(proxy.workers()))
        clients = [await rig.connect(proxy.address) for _ in range(40)]
        answers = [await client.ask("GET", "/") for client in clients]

    assert numbers[1] == len(proxy.workers())
    assert [200] * 40 == [answer.status for answer in answers]


async def test_a_unix_socket_stays_where_it_is(rig: Rig) -> None:
    path = rig.folder / "web.sock"
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"listeners": {"web": f"unix:{path}"}, "pools": {"app": [backend.address]}})
        inode = path.stat().st_ino
        await replace(proxy)
        client = await rig.connect(f"unix:{path}")
        answer = await client.ask("GET", "/")

    assert (200, inode) == (answer.status, path.stat().st_ino)


async def served_by(proxy: Proxy) -> str | None:
    """Who answers on a connection of its own."""
    async with await Client.connect(proxy.address) as client:
        return (await client.ask("GET", "/")).backend


def known(backend: dict[str, Any]) -> list[object]:
    """What must not change. Each worker adds its own jitter to the time of the first trial."""
    kept = [backend[key] for key in ("admin_state", "weight", "available", "reasons", "requests_total")]
    return [*kept, backend["breaker"]["state"], backend["breaker"]["reason"]]


async def test_what_is_known_of_the_backends_goes_along(rig: Rig) -> None:
    """A new program that had to find out anew would send requests to the dead."""
    proxy = await rig.start(breaker={"consecutive": 3, "open_for": "60s"})
    await proxy.admin.patch("red", state="drain")
    await proxy.admin.patch("green", weight=7)
    await rig.spoil("blue", "503", spares_health=True)
    async with Load(proxy.address) as load:
        while (await proxy.admin.backend("blue"))["breaker"]["state"] != "open":
            await load.answered(5)
    await counted(proxy, len(load.records))
    before = {name: await proxy.admin.backend(name) for name in NAMES}

    await replace(proxy)

    after = {name: await proxy.admin.backend(name) for name in NAMES}
    assert {name: known(one) for name, one in before.items()} == {name: known(one) for name, one in after.items()}
    assert ["green"] * 9 == [await served_by(proxy) for _ in range(9)]


async def test_a_backend_that_is_down_gets_no_request_from_the_new_program(rig: Rig) -> None:
    proxy = await rig.start()
    await rig.kill("red")
    await until_down(proxy, "red")

    await replace(proxy)

    assert ["failed_probes"] == (await proxy.admin.backend("red"))["reasons"]


async def until_down(proxy: Proxy, name: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await proxy.admin.backend(name))["health"]["state"] != "down":  # noqa: ASYNC110 - it has no event here
            await asyncio.sleep(0.02)


# The end


async def test_term_ends_the_workers_from_before_a_replacement_too(rig: Rig) -> None:
    async with long_backend() as backend:
        config = routes(backend, {"pools": {"app": [backend.address]}}) | {"drain_timeout": "300ms"}
        proxy = await rig.start_proxy(config)
        async with LongLived(proxy.address, sockets=4, downloads=2):
            old = set(proxy.workers())
            await replace(proxy)
            workers = old | set(proxy.workers())
            proxy.process.terminate()
            status = await ends(proxy.process)

    assert 4 == len(workers)
    assert 0 == status
    assert [True] * 4 == [has_ended(pid) for pid in workers]


async def test_replaced_timeout_ends_what_does_not_end_by_itself(rig: Rig) -> None:
    async with long_backend() as backend:
        config = routes(backend, {"pools": {"app": [backend.address]}}) | {"replaced_timeout": "200ms"}
        proxy = await rig.start_proxy(config)
        async with LongLived(proxy.address, sockets=2, downloads=0) as long:
            old = set(proxy.workers())
            await replace(proxy)
            await until(lambda: not old & set(proxy.workers()))
            await until(lambda: len(long.broken) == 2)


async def test_a_term_that_comes_between_the_programs_is_heeded(rig: Rig) -> None:
    """And nobody is left behind."""
    proxy = await rig.start()
    old = proxy.workers()
    proxy.process.send_signal(signal.SIGUSR2)
    await until(lambda: "the supervisor is gone" in proxy.log, STARTS_WITHIN)

    proxy.process.terminate()

    assert 0 == await ends(proxy.process)
    assert [True, True] == [has_ended(pid) for pid in old]


async def test_no_thread_but_the_first_catches_signals(rig: Rig, tmp_path: Path) -> None:
    """While the program is replaced they wait for the next; a thread that caught one would take it along."""
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"state_dir": str(tmp_path / "state"), "pools": {"app": [backend.address]}})
        await proxy.admin.patch(backend.address, state="drain")
        await proxy.reload()
        blocked = {
            int(task.name): int((task / "status").read_text().partition("SigBlk:")[2].split()[0], 16)
            for task in Path(f"/proc/{proxy.process.pid}/task").iterdir()
        }

    catching = [task for task, mask in blocked.items() if not mask & 1 << (signal.SIGTERM - 1)]
    assert [proxy.process.pid] == catching
    assert 1 < len(blocked)


async def test_a_proxy_that_drains_is_not_replaced(rig: Rig) -> None:
    async with Scripted() as backend:
        proxy = await rig.start_proxy({"drain_delay": "1h", "pools": {"app": [backend.address]}})
        proxy.process.terminate()
        await until(lambda: "draining" in proxy.log)

        reason = await fail_to_replace(rig, proxy)

    assert 'reason="it drains"' in reason
    proxy.process.terminate()
    assert 0 == await ends(proxy.process)
