"""Splits over the API and on the command line: how they stand, and what a person orders."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner, Result

from proxy.__main__ import main
from proxy.core.settings import Address, BackendSettings, PoolSettings, RouteSettings
from tests.controlplane.conftest import Api, OpenApi

SPLIT = RouteSettings("shop", split=(("stable", 0.95), ("canary", 0.05)))


async def opened(open_api: OpenApi) -> Api:
    pools = tuple(
        PoolSettings(name, (BackendSettings("b0", Address("127.0.0.1", 9)),)) for name in ("stable", "canary")
    )
    return await open_api(pools=pools, routes=(SPLIT, RouteSettings("all", split=(("stable", 1.0),))))


async def run(api: Api, *arguments: str) -> Result:
    """Run a command in a thread, as it blocks and the endpoint is served by the test's loop."""
    options = ("--admin", f"{api.client.host}:{api.client.port}")
    runner = CliRunner(env={"FAILOVER_PROXY_TOKEN": None})
    return await asyncio.to_thread(runner.invoke, main, [*arguments, *options])


SHARES = [{"pool": "stable", "share": 0.95}, {"pool": "canary", "share": 0.05}]


async def test_what_is_cut_off_is_shown_and_gets_its_share_back(open_api: OpenApi) -> None:
    api = await opened(open_api)
    whole = {"route": "shop", "shares": SHARES, "cut_off": None}
    before = await api.get("/v1/splits")
    status, told = await api.send("POST", "/v1/splits/shop/cut", data='{"pool": "canary"}')
    _, pools = await api.get("/v1/pools")
    after = await api.send("POST", "/v1/splits/shop/resume")

    assert (200, {"splits": [whole]}) == before
    assert (200, "canary", "by a person") == (status, told["cut_off"]["pool"], told["cut_off"]["evidence"])
    assert [{"route": "shop", "pool": "canary", "evidence": "by a person"}] == pools["cut_off"]
    assert (200, whole) == after


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("shop/cut", "x", 400, 'the body is not JSON; send {"pool": "checkout-canary"}'),
        ("shop/cut", "[]", 400, "the body must be an object with the name of a pool"),
        ("shop/cut", '{"pool": 5}', 400, "the body must be an object with the name of a pool"),
        ("shop/cut", '{"pool": "a", "b": 1}', 400, "the body must be an object with the name of a pool"),
        ("shop/cut", '{"pool": "other"}', 409, "the split of shop has no pool other"),
        ("all/cut", '{"pool": "stable"}', 404, "no route with a split is named all"),
        ("shop/resume", '{"pool": "canary"}', 400, "this has no body"),
        ("shop/resume", "", 409, "nothing is cut off from the split of shop"),
        ("other/resume", "", 404, "no route with a split is named other"),
    ],
)
async def test_an_order_that_is_wrong_is_answered_with_the_reason(
    open_api: OpenApi, path: str, body: str, status: int, said: str
) -> None:
    api = await opened(open_api)
    found, problem = await api.send("POST", f"/v1/splits/{path}", data=body)

    assert status == found
    assert json.dumps(problem["detail"]).strip('"').replace('\\"', '"').startswith(said)


async def test_the_command_cuts_and_resumes_and_status_says_so(open_api: OpenApi) -> None:
    api = await opened(open_api)
    cut = await run(api, "split", "cut", "shop", "canary")
    status = await run(api, "status")
    resumed = await run(api, "split", "resume", "shop")
    again = await run(api, "split", "resume", "shop")

    assert (0, "shop: stable 95%, canary cut off\n") == (cut.exit_code, cut.output)
    assert "CUT OFF canary from route shop: by a person\n" in status.output
    assert (0, "shop: stable 95%, canary 5%\n") == (resumed.exit_code, resumed.output)
    assert (1, "error: nothing is cut off from the split of shop\n") == (again.exit_code, again.output)


@pytest.mark.parametrize("words", [("cut", "shop"), ("resume", "shop", "canary"), ("cut",), ("mend", "shop")])
async def test_the_command_says_how_it_is_used(open_api: OpenApi, words: tuple[str, ...]) -> None:
    result = await run(await opened(open_api), "split", *words)

    assert 2 == result.exit_code
