"""What shares the backends of a pool get from two workers, by balancer and weight."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.rig import NAMES, Rig

BALANCERS = ("round_robin", "least_requests", "peak_ewma", "random")
WEIGHTS = {"red": 1, "green": 2, "blue": 3}


def pool(rig: Rig, balance: str, **changes: Any) -> dict[str, Any]:
    backends = [backend | {"weight": WEIGHTS[backend["name"]]} for backend in rig.addresses()]
    return {"balance": balance, "backends": backends, **changes}


async def test_shares_follow_weights_and_what_belongs_together_stays_together(rig: Rig) -> None:
    """One proxy with a pool for each balancer, since all of them can be seen at work at once."""
    await rig.start_backends(*NAMES, delay_ms=0)
    pools = {name: pool(rig, name) for name in BALANCERS} | {"hash": pool(rig, "hash", hash_on="path")}
    routes = [{"match": {"path": f"/{name}/*"}, "pool": name} for name in pools]
    proxy = await rig.start_proxy({"pools": pools, "routes": routes})
    clients = [await Client.connect(proxy.address) for _ in range(4)]

    async def ask(pool: str, number: int) -> str:
        answer = await clients[number % len(clients)].ask("GET", f"/{pool}/{number // len(clients)}")
        assert 200 == answer.status
        return answer.backend or ""

    seen = {name: Counter([await ask(name, number) for number in range(240)]) for name in BALANCERS}
    homes = [{await ask("hash", number * 4 + client) for client in range(4)} for number in range(60)]
    for client in clients:
        client.close()

    # In turns, each worker's count is exact to one request for each connection that it has.
    assert {"red": 40, "green": 80, "blue": 120} == pytest.approx(seen["round_robin"], abs=4)
    assert {"red": 40, "green": 80, "blue": 120} == pytest.approx(seen["least_requests"], abs=4)
    # Six standard deviations of 240 draws.
    assert {"red": 40, "green": 80, "blue": 120} == pytest.approx(seen["random"], abs=48)
    assert set(NAMES) == seen["peak_ewma"].keys()
    assert [1] * 60 == [len(home) for home in homes]
    assert set(NAMES) == set.union(*homes)
