"""The examples of `docs/extending.md` in real processes, and own code that goes wrong: no read fails for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.e2e.client import Client
from tests.e2e.load import Load
from tests.e2e.rig import NAMES, POLICIES, Rig, until
from tests.own_code import write, write_examples

WRONG = """
class Raises:
    def pick(self, request, candidates):
        raise RuntimeError("no stock")

def again(ended):
    return 1 / 0
"""


async def test_own_code_picks_and_own_code_that_raises_fails_no_request(rig: Rig) -> None:
    write_examples(rig.folder)
    write(rig.folder, "own", WRONG)
    await rig.start_backends(*NAMES)
    regions = {"red": "eu", "green": "us", "blue": "ap"}
    backends = [{**one, "region": regions[one["name"]]} for one in rig.addresses()]
    pool: dict[str, Any] = {**POLICIES, "backends": backends}
    proxy = await rig.start_proxy({"pools": {"app": {**pool, "balance": "shop.routing:NearestWarehouse"}}})
    async with await Client.connect(proxy.address) as client:
        near = Counter([(await client.ask("GET", "/", "X-Country: US")).backend for _ in range(20)])

    wrong = {**pool, "balance": "own:Raises", "retries": {"on": ["own:again", "connect", "reset", "503"]}}
    await proxy.reload(pools={"app": wrong})
    async with Load(proxy.address) as load:
        await load.answered(60)
        await rig.spoil("red", "503", spares_health=True)
        await load.answered(60)
        await until(lambda: proxy.log.count("extension changed") >= 2)
    said = [line for line in proxy.log.splitlines() if "extension changed" in line]
    print(f"near {dict(near)}; {len(load.failed('GET'))} of {len(load.records)} failed; said {len(said)} times")

    assert {"green": 20} == near
    assert [] == load.failed("GET")
    assert ["own:Raises", "own:again"] == sorted(
        word.removeprefix("from=") for line in said for word in line.split() if word.startswith("from=")
    )
    assert any('reason="RuntimeError: no stock"' in line for line in said)


async def test_a_config_whose_own_code_is_missing_changes_nothing(rig: Rig) -> None:
    proxy = await rig.start()
    proxy.rewrite(pools={"app": {"backends": rig.addresses(), "balance": "shop.routing:Nobody"}})
    rig.expected.append("reload")

    status, document = await proxy.admin.reload()

    assert 400 <= status < 500
    assert "module 'shop.routing' can't be loaded" in str(document)
