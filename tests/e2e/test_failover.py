"""Whatever happens to one backend of three: no read fails, no write runs twice, and no client is told a lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import pytest
import pytest_asyncio

from tests.e2e.client import PATIENCE
from tests.e2e.load import RATE, Load
from tests.e2e.rig import CONSECUTIVE, FIRST_BYTE, OPEN_FOR, Changes, Proxy, Rig, now, rigged

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHIN = 1.0
"""Seconds from the first failure in which a backend has to be out."""
BACK_WITHIN = 2.0 + OPEN_FOR
"""Seconds from its recovery in which it has to be back."""


@dataclass(frozen=True)
class Fault:
    """What happens to a backend, and how it ends."""

    begin: Callable[[Rig], Awaitable[None]]
    lift: Callable[[Rig], Awaitable[None]]
    shows_after: float = 0.0
    """Seconds that a request waits before it has failed."""
    lasts: float = 0.5
    """Seconds from the time at which the backend is out."""


def spoilt(mode: str, *, spares_health: bool = False, shows_after: float = 0.0) -> Fault:
    return Fault(
        lambda rig: rig.spoil("red", mode, spares_health=spares_health),
        lambda rig: rig.spoil("red", "none"),
        shows_after,
        # Where probes say that it is well, there is time for a trial to fail.
        1.3 * OPEN_FOR if spares_health else 0.5,
    )


FAULTS = {
    "kill -9": Fault(lambda rig: rig.kill("red"), lambda rig: rig.revive("red")),
    "stop listening": spoilt("refuse"),
    "accept and hang": spoilt("hang", shows_after=FIRST_BYTE),
    "accept then close": spoilt("close"),
    "half an answer": spoilt("half"),
    "503 for everything": spoilt("503"),
    "kill -STOP": Fault(lambda rig: rig.freeze("red"), lambda rig: rig.thaw("red"), FIRST_BYTE),
    # One request at a time goes to a backend that holds on to it, and only traffic tells.
    "hang with a green probe": spoilt("hang", spares_health=True, shows_after=CONSECUTIVE * FIRST_BYTE),
    "half an answer with a green probe": spoilt("half", spares_health=True),
    "503 with a green probe": spoilt("503", spares_health=True),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def long_lived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Rig, Proxy]]:
    """One proxy for all faults in turn, as in life."""
    async with rigged(tmp_path_factory.mktemp("failover")) as rig:
        yield rig, await rig.start()


@pytest_asyncio.fixture(loop_scope="module")
async def stage(long_lived: tuple[Rig, Proxy]) -> AsyncIterator[tuple[Rig, Proxy]]:
    """With all backends well, whatever became of the test before."""
    rig, proxy = long_lived
    said = len(proxy.log)
    yield rig, proxy
    print(proxy.log[said:])
    await rig.mend("red")


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_no_read_fails_and_no_write_runs_twice(stage: tuple[Rig, Proxy], fault: Fault) -> None:
    """The backend is out within a second of the first failure, and back within two of its recovery plus `open_for`."""
    rig, proxy = stage
    async with Changes(proxy.admin.address).watched() as changes, Load(proxy.address) as load:
        await changes.until("red", available=True)
        await load.answered(int(RATE / 2))
        begun = now()
        await fault.begin(rig)
        out = await changes.until("red", available=False)
        await load.answered(int(RATE * fault.lasts))
        await fault.lift(rig)
        lifted = now()
        back = await changes.until("red", available=True)
        await load.answered(int(RATE / 3))
    executions = rig.executions()

    assert [] == load.failed("GET")
    assert {} == {write: times for write, times in executions.items() if times > 1}
    assert set() == load.written() - executions.keys()
    assert [] == load.untold()
    # What reached nobody is for another backend to do, and there are two.
    assert set() == load.ids("no")
    assert [True, False, True] == changes.availability("red")
    assert out - begun <= WITHIN + fault.shows_after
    assert back - lifted <= BACK_WITHIN
    assert [[True], [True]] == [changes.availability(name) for name in ("green", "blue")]
    print(f"out after {out - begun:.3f}s, back after {back - lifted:.3f}s, failed writes: {load.failed('POST')}")


async def test_a_green_probe_alone_does_not_bring_a_liar_back(stage: tuple[Rig, Proxy]) -> None:
    """Not in a pause of the traffic either: the next writes would pay for it."""
    rig, proxy = stage
    async with Changes(proxy.admin.address).watched() as changes:
        await changes.until("red", available=True)
        await rig.spoil("red", "503", spares_health=True)
        async with Load(proxy.address) as load:
            await changes.until("red", available=False)
        # So many take longer than the breaker stays open.
        await good_probes(proxy, 15)
        async with Load(proxy.address) as after:
            await after.answered(40)

    assert [] == load.failed("GET")
    assert [True, False] == changes.availability("red")
    assert [] == after.failed("GET") + after.failed("POST")


async def good_probes(proxy: Proxy, more: int) -> None:
    """Wait for so many good probes of `red`."""
    passed = partial(proxy.admin.counter, "failover_probes_total", backend="red", result="success")
    wanted = await passed() + more
    async with asyncio.timeout(PATIENCE):
        while await passed() < wanted:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.02)
