"""The commands that change a running proxy: `reload` and `backend`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from click.testing import CliRunner, Result

from proxy.__main__ import main
from proxy.controlplane.difference import Part
from proxy.controlplane.reload import Fault, NotNow, Rejected
from proxy.core.messages import AdminState, BackendCounts
from tests.controlplane.conftest import Api, Make

Run = Callable[..., Awaitable[Result]]
KEY = ("app", "b0")
NOTHING = Part().document()
ANSWER = {
    "changed": True,
    "seconds": 0.1234,
    "applied_in_seconds": 0.01,
    "late_workers": [],
    "listeners": NOTHING,
    "pools": NOTHING,
    "backends": Part(("app/b3",), ("app/b1",), {"app/b2": ("weight", "tier")}).document(),
    "routes": Part(tuple(f"r{number}" for number in range(30))).document(),
    "settings": ["drain_delay"],
}


@pytest.fixture
def run(api: Api) -> Run:
    """Runs a command in a thread, as it blocks and the endpoint is served by the test's loop."""

    async def run(*arguments: str) -> Result:
        runner = CliRunner(env={"FAILOVER_PROXY_TOKEN": None})
        options = ("--admin", f"{api.client.host}:{api.client.port}")
        return await asyncio.to_thread(runner.invoke, main, [*arguments, *options])

    return run


# reload


async def test_reload_says_what_has_changed(api: Api, run: Run) -> None:
    api.control.reloads = lambda: ANSWER

    result = await run("reload")

    assert [
        "reloaded in 0.123s",
        "backends:",
        "  + app/b3",
        "  - app/b1",
        "  ~ app/b2: weight, tier",
        "routes:",
        *(f"  + r{number}" for number in range(20)),
        "  … and 10 more",
        "settings:",
        "  ~ drain_delay",
    ] == result.output.splitlines()
    assert 0 == result.exit_code


async def test_reload_says_that_nothing_has_changed(api: Api, run: Run) -> None:
    api.control.reloads = lambda: ANSWER | {"changed": False, "backends": NOTHING, "routes": NOTHING, "settings": []}

    assert (0, "reloaded in 0.123s; nothing has changed\n") == (
        (result := await run("reload")).exit_code,
        result.output,
    )


async def test_reload_as_json_is_what_the_api_answers(api: Api, run: Run) -> None:
    api.control.reloads = lambda: ANSWER

    assert ANSWER == json.loads((await run("reload", "--json")).output)


async def test_reload_names_workers_that_have_not_followed_and_fails(api: Api, run: Run) -> None:
    api.control.reloads = lambda: ANSWER | {"late_workers": [1, 3]}

    result = await run("reload")

    assert 1 == result.exit_code
    assert result.output.endswith("not yet in force in workers 1, 3; they follow when they can\n")


async def test_reload_prints_every_mistake_and_exits_with_78(api: Api, run: Run) -> None:
    def reject() -> None:
        raise Rejected([Fault("unknown key", "x.yaml", 3, 5, "pools.app.helth"), Fault("is taken")])

    api.control.reloads = reject

    result = await run("reload")

    assert (78, "") == (result.exit_code, result.stdout)
    assert [
        "x.yaml:3:5: error: pools.app.helth: unknown key",
        "error: is taken",
        "error: the config can't be used; nothing has changed",
    ] == result.stderr.splitlines()


async def test_reload_says_why_it_can_not_be_now(api: Api, run: Run) -> None:
    def refuse() -> None:
        raise NotNow("the proxy is draining")

    api.control.reloads = refuse

    result = await run("reload")

    assert (1, "error: the proxy is draining\n") == (result.exit_code, result.stderr)


# backend


@pytest.mark.parametrize("intent", ["drain", "maint"])
async def test_a_backend_is_drained_or_taken_out_and_serves_again(api: Api, run: Run, intent: str) -> None:
    results = [await run("backend", intent, "app", "b0"), await run("backend", "ready", "app", "b0")]

    assert [(0, f"app/b0: {intent}, nothing in flight\n"), (0, "app/b0: ready, 0 in flight\n")] == [
        (one.exit_code, one.output) for one in results
    ]
    assert [("b0", intent), ("b0", "ready")] == api.control.orders


async def test_wait_returns_when_nothing_is_in_flight(api: Api, make: Make, run: Run) -> None:
    registry = api.control.registry
    busy = make.report(snapshot_version=99, backends={KEY: BackendCounts(in_flight=2)})
    registry.take_report(busy)

    waiting = asyncio.create_task(run("backend", "drain", "app", "b0", "--wait"))
    async with asyncio.timeout(10):
        while not api.control.orders:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    assert not waiting.done()
    registry.take_report(make.report(snapshot_version=99))
    result = await waiting

    assert (0, "app/b0: drain, nothing in flight\n") == (result.exit_code, result.output)


async def test_wait_gives_up_after_the_timeout_and_says_what_is_left(api: Api, make: Make, run: Run) -> None:
    api.control.registry.take_report(make.report(snapshot_version=99, backends={KEY: BackendCounts(in_flight=2)}))

    result = await run("backend", "drain", "app", "b0", "--wait", "--timeout", "0")

    assert (1, "app/b0: drain, 2 in flight\n") == (result.exit_code, result.output)


async def test_wait_ends_when_somebody_has_it_serve_again(api: Api, make: Make, run: Run) -> None:
    registry = api.control.registry
    registry.take_report(make.report(snapshot_version=99, backends={KEY: BackendCounts(in_flight=2)}))

    waiting = asyncio.create_task(run("backend", "drain", "app", "b0", "--wait"))
    async with asyncio.timeout(10):
        while not api.control.orders:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    api.control.set_admin(registry.record(KEY), AdminState.READY)
    result = await waiting

    assert (1, "app/b0: ready, 2 in flight\n") == (result.exit_code, result.output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("drain", "app", "nobody"), "no backend of app is named nobody; there are b0, b1"),
        (("drain", "nowhere", "b0"), "no pool is named nowhere; there are app"),
    ],
)
async def test_a_name_that_is_not_known_is_an_error(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = await run("backend", *arguments)

    assert (1, f"error: {message}\n") == (result.exit_code, result.stderr)


@pytest.mark.parametrize("arguments", [("ready", "app", "b0", "--wait"), ("drain", "app", "b0", "--timeout", "3")])
async def test_options_that_would_do_nothing_are_refused(api: Api, run: Run, arguments: tuple[str, ...]) -> None:
    assert 2 == (await run("backend", *arguments)).exit_code
    assert [] == api.control.orders


async def test_a_name_with_a_slash_or_a_space_is_found(open_api: Callable[..., Awaitable[Api]], make: Make) -> None:
    settings = make.settings()
    pool = settings.pools[0]
    backend = pool.backends[0]
    odd = type(backend)("unix:/run/a b.sock", backend.address)
    api = await open_api(pools=(type(pool)("app", (odd,)),))
    options = ["--admin", f"{api.client.host}:{api.client.port}"]

    result = await asyncio.to_thread(
        CliRunner().invoke, main, ["backend", "drain", "app", "unix:/run/a b.sock", *options]
    )

    assert (0, "app/unix:/run/a b.sock: drain, nothing in flight\n") == (result.exit_code, result.output)
