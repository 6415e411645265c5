"""USR2: the running program is replaced by a new one. No client notices."""

from __future__ import annotations

import signal

from tests.e2e.load import Load
from tests.e2e.rig import Proxy, Rig, until


async def replaced(proxy: Proxy) -> None:
    """Replace the program, and wait until the new one serves and the workers before it are told to go."""
    already = proxy.log.count("handed over")
    proxy.process.send_signal(signal.SIGUSR2)
    await until(lambda: proxy.log.count("handed over") > already)


async def test_five_replacements_lose_no_request(rig: Rig) -> None:
    proxy = await rig.start()
    first = set(proxy.workers())
    async with Load(proxy.address) as load:
        await load.answered(50)
        for _ in range(5):
            await replaced(proxy)
            await load.answered(50)

    assert [] == load.failed("GET") + load.failed("POST")
    assert {} == {write: times for write, times in rig.executions().items() if times > 1}
    await until(lambda: not first & set(proxy.workers()))
