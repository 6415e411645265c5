from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from click.testing import CliRunner, Result

from proxy.cli.explain import explain
from proxy.cli.table import WIDTH
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.settings import Address, BackendSettings, Match, PoolSettings, RouteSettings
from tests.controlplane.conftest import Api, OpenApi

Explain = Callable[..., Awaitable[Result]]
HEALTH = HealthPolicy(fall=1, interval=1.0)
NOWHERE = Address("127.0.0.1", 9)


@pytest.fixture
async def api(open_api: OpenApi) -> Api:
    pools = tuple(
        PoolSettings(
            name, (BackendSettings(f"{name}-1", NOWHERE), BackendSettings(f"{name}-2", NOWHERE)), health=HEALTH
        )
        for name in ("app", "canary")
    )
    early = [RouteSettings(f"r{number}", Match(path=f"/{number}"), (("app", 1.0),)) for number in range(25)]
    split = RouteSettings("split", Match(headers=(("X-Canary", "yes"),)), (("app", 0.9), ("canary", 0.1)))
    return await open_api(pools=pools, routes=(*early, split, RouteSettings("all", split=(("app", 1.0),))))


@pytest.fixture
def run(api: Api) -> Explain:
    async def run(*arguments: str) -> Result:
        admin = f"{api.client.host}:{api.client.port}"
        return await asyncio.to_thread(CliRunner().invoke, explain, (*arguments, "--admin", admin))

    return run


def fail(api: Api, name: str, detail: str = "connection refused") -> None:
    api.control.registry.take_probe(("app", name), Probe(0.0, ok=False, duration=0.0, detail=detail))


async def test_it_tells_the_route_the_pool_and_each_backend(api: Api, run: Explain) -> None:
    fail(api, "app-2")
    result = await run("GET", "https://shop.example/3/x")

    lines = result.output.splitlines()
    assert (0, "GET https://shop.example/3/x takes route all to pool app: it goes to app-1") == (
        result.exit_code,
        lines[0],
    )
    assert ["routes that do not match:", "  r0: the path is not /0"] == lines[1:3]
    assert [
        "  … and 6 more",
        "pool app  DEGRADED",
        "  1 of 2 app backends out (app-2 failed_probes); nothing failed",
        f"  {'app-1':<40} up        100%",
        f"  {'app-2':<40} out          -",
        "    app/app-2 has been out for 0 s: its probes fail (connection refused); back after 2 good probes",
        "      in a row, one about every 1 s",
        "  timeouts: connect 1 s, first_byte 15 s, stall 30 s",
        "  retries: GET may be repeated: up to 3 attempts in all; on connect, reset, 502, 503, 504; budget",
        "    20%",
    ] == lines[22:]
    assert max(map(len, lines)) <= WIDTH


async def test_fields_are_given_as_to_curl(run: Explain) -> None:
    result = await run("POST", "/", "-H", "X-Other: 1", "-H", "X-Canary: yes")

    assert "POST / takes route split, which splits: 0.9 to app: " in result.output
    assert "pool canary  UP  0.1 of such requests" in result.output


async def test_why_a_backend_is_out_is_one_sentence(api: Api, run: Explain) -> None:
    fail(api, "app-1")
    result = await run("--backend", "app/app-1")

    assert (
        "app/app-1 has been out for 0 s: its probes fail (connection refused); back after 2 good probes in a\n"
        "  row, one about every 1 s\n"
    ) == result.output


async def test_what_a_backend_says_can_not_move_the_cursor(api: Api, run: Explain) -> None:
    fail(api, "app-1", detail="503 \x1b[2Jgone\x9b1m")
    result = await run("--backend", "app/app-1")

    assert ("503 �[2Jgone�1m" in result.output, "\x1b" in result.output) == (True, False)


async def test_json_is_what_the_api_answers(api: Api, run: Explain) -> None:
    result = await run("--backend", "app/app-1", "--json")

    assert (await api.get("/v1/explain?backend=app/app-1"))[1] == json.loads(result.output)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "name a METHOD and a URL, or a --backend"),
        (("GET",), "name a METHOD and a URL, or a --backend"),
        (("GET", "/", "--backend", "app/app-1"), "--backend is a question of its own"),
    ],
)
async def test_half_a_question_is_a_usage_error(run: Explain, arguments: tuple[str, ...], text: str) -> None:
    result = await run(*arguments)

    assert (2, True) == (result.exit_code, text in result.output)


async def test_what_the_endpoint_refuses_is_an_error(run: Explain) -> None:
    result = await run("--backend", "app/none")

    assert (1, "error: no backend of app is named none; there are app-1, app-2\n") == (result.exit_code, result.output)
