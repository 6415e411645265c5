from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli import switch
from proxy.cli.availability import percent
from proxy.cli.client import Caller, Endpoint, Unreachable
from proxy.cli.status import status
from proxy.cli.table import WIDTH
from proxy.controlplane.pools import switching
from proxy.core.messages import AdminState, BackendCounts, PoolNews
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.settings import Address, AdminSettings, BackendSettings, IdempotencyPolicy, PoolSettings
from proxy.ledger.upkeep import KeyCounts
from tests.controlplane.conftest import Api, Make, OpenApi

Status = Callable[..., Awaitable[Result]]


@pytest.fixture
def run_status() -> Status:
    """Runs the command in a thread, as it blocks and the endpoint is served by the test's loop."""

    async def run(*arguments: str, **environment: str) -> Result:
        runner = CliRunner(env={"FAILOVER_PROXY_TOKEN": None, "FAILOVER_PROXY_ADMIN": None, **environment})
        return await asyncio.to_thread(runner.invoke, status, arguments)

    return run


def address(api: Api) -> str:
    return f"{api.client.host}:{api.client.port}"


async def test_all_is_well(api: Api, run_status: Status) -> None:
    result = await run_status("--admin", address(api))

    assert [
        "POOL app  UP  2 of 2 available",
        "  all 2 app backends are well; nothing failed",
        "  BACKEND                    STATE   WEIGHT IN FLIGHT    REQ/S  REQUESTS FAILURES   P50 MS   P99 MS",
        "  b0                         up           1         0      0.0         0        0        -        -",
        "  b1                         up           1         0      0.0         0        0        -        -",
    ] == result.output.splitlines()
    assert 0 == result.exit_code


async def test_what_is_wrong_with_the_proxy_itself_comes_first(api: Api, run_status: Status) -> None:
    api.control.problems_are = ["state can't be written: a restart would forget it: no space left on device"]

    result = await run_status("--admin", address(api))

    assert f"PROBLEM {api.control.problems_are[0]}" == result.output.splitlines()[0]
    assert (200, api.control.problems_are) == await problems(api)


@pytest.mark.parametrize(("readiness", "code"), [("ready", 0), ("draining", 1), ("starting", 1)])
async def test_a_healthcheck_asks_whether_the_proxy_serves_and_nothing_else(
    api: Api, run_status: Status, readiness: str, code: int
) -> None:
    """With no backend it may be the only one that can tell clients so."""
    api.control.readiness_is = readiness
    for record in api.control.registry.records():
        api.control.registry.set_admin(record, AdminState.MAINT, 1.0)

    result = await run_status("--ready", "--admin", address(api))

    assert (code, f"{readiness}\n") == (result.exit_code, result.output)


async def problems(api: Api) -> tuple[int, object]:
    status, document = await api.get("/v1/pools")
    return status, document["problems"]


async def test_a_backend_that_is_out_says_why(api: Api, make: Make, run_status: Status) -> None:
    registry = api.control.registry
    for second in range(3):
        registry.take_probe(("app", "b0"), Probe(second, ok=False, duration=0.0, detail="connection refused"))
    registry.take_breaker_news(make.opened(0, until=65.0, at=60.0))
    registry.set_admin(registry.pools["app"].backends["b0"], AdminState.DRAIN, 70.0)

    result = await run_status("--admin", address(api))

    assert [
        "  b0                         out          1         0      0.0         0        0        -        -",
        "    drain: a person has put it in drain; until a person says ready",
        "    failed_probes: its probes fail (connection refused); until 2 good probes in a row, one about",
        "      every 1e+07 s",
        "    breaker_open: its breaker took it out (5 failures in a row); until 2 good trials in a row, which",
        "      begin in 65 s",
        "    since 2023-11-14T22:13:22.000Z",
    ] == result.output.splitlines()[3:10]
    assert 0 == result.exit_code


async def test_a_pool_without_an_available_backend_is_a_failure(api: Api, run_status: Status) -> None:
    registry = api.control.registry
    for record in registry.records():
        registry.set_admin(record, AdminState.MAINT, 1.0)
    registry.take_pool_news(PoolNews(0, "app", panic=True, at=1.0))

    result = await run_status("--admin", address(api))

    first = [
        "POOL app  DOWN  0 of 2 available",
        "  2 of 2 app backends out (b0 maint, b1 maint); too few are well, so verdicts are not believed;",
    ]
    assert (1, first) == (result.exit_code, result.output.splitlines()[:2])


async def test_a_pool_that_is_merely_full_is_no_failure(open_api: OpenApi, make: Make, run_status: Status) -> None:
    backend = BackendSettings("b0", Address("127.0.0.1", 9), max_in_flight=1)
    api = await open_api(pools=(PoolSettings("app", (backend,), health=HealthPolicy()),))
    api.control.registry.take_report(make.report(backends={("app", "b0"): BackendCounts(in_flight=1)}))

    result = await run_status("--admin", address(api))

    assert (0, "POOL app  UP  0 of 1 available") == (result.exit_code, result.output.splitlines()[0])


async def test_a_standby_is_not_called_out(open_api: OpenApi, run_status: Status) -> None:
    backends = tuple(BackendSettings(f"b{tier}", Address("127.0.0.1", 9), tier=tier) for tier in (1, 2))
    api = await open_api(pools=(PoolSettings("app", backends, health=HealthPolicy()),))

    result = await run_status("--admin", address(api))

    assert "standby" in result.output.splitlines()[4]
    cause = "    standby: a lower tier or a nearer region serves; until a lower tier fails"
    assert cause == result.output.splitlines()[5]
    assert 0 == result.exit_code


async def test_the_table_fits_whatever_the_names_and_numbers_are(
    open_api: OpenApi, make: Make, run_status: Status
) -> None:
    name = "a-very-long-name-" * 10
    pool = PoolSettings(name, (BackendSettings(name, Address("127.0.0.1", 9)),), health=HealthPolicy(fall=1))
    api = await open_api(pools=(pool,))
    counts = BackendCounts(in_flight=10**9, requests=10**14, failures=10**12, duration_buckets=(0,) * 14 + (5,))
    for one in (BackendCounts(), counts):
        api.control.registry.take_report(make.report(backends={(name, name): one}))
    api.control.registry.take_probe((name, name), Probe(1.0, ok=False, duration=0.0, detail="words " * 40))

    result = await run_status("--admin", address(api))

    assert max(map(len, result.output.splitlines())) <= WIDTH
    row = next(line for line in result.output.splitlines() if " out " in line and "BACKEND" not in line)
    assert ["out", "1", "1000.0M", "0.0", "100.0T", "1000.0G", "30000.0", "30000.0"] == row.split()[1:]


async def test_a_pool_that_had_requests_says_how_available_it_was(
    open_api: OpenApi, make: Make, run_status: Status
) -> None:
    pool = PoolSettings("app", (BackendSettings("b0", Address("h", 1)),), slo=0.999)
    api = await open_api(pools=(pool,))
    requests = {("all", "app", "GET", 200): 99_963, ("all", "app", "GET", 502): 37}
    api.control.accounting.take(make.report(requests=requests))

    result = await run_status("--admin", address(api))

    line = "  went well: 1h 99.96%, 24h 99.96%, 30d 99.96%; error budget of 30d: 63% left"
    assert line in result.output.splitlines()


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100%"),
        (0.0, "0%"),
        (0.5, "50.00%"),
        (0.99996, "99.996%"),
        (0.99999999, "99.999999%"),
        (0.9999999999, "over 99.999999%"),
        (0.00001, "0.001%"),
        (1e-12, "under 0.000001%"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, text: str) -> None:
    assert text == percent(share)


async def test_json_is_what_the_api_answers(api: Api, run_status: Status) -> None:
    result = await run_status("--json", "--admin", f"http://{address(api)}/")

    _, document = await api.get("/v1/pools")
    assert document == json.loads(result.output)


async def test_the_environment_says_where_and_with_which_token(open_api: OpenApi, run_status: Status) -> None:
    api = await open_api(admin=AdminSettings(Address("127.0.0.1", 0), token="s3cret"))

    result = await run_status(FAILOVER_PROXY_ADMIN=address(api), FAILOVER_PROXY_TOKEN="s3cret")

    assert 0 == result.exit_code


async def test_a_proxy_variable_does_not_lead_it_astray(api: Api, run_status: Status) -> None:
    result = await run_status("--admin", address(api), http_proxy="http://127.0.0.1:9")

    assert 0 == result.exit_code


async def test_a_token_comes_from_a_file(open_api: OpenApi, run_status: Status, tmp_path: Path) -> None:
    api = await open_api(admin=AdminSettings(Address("127.0.0.1", 0), token="s3cret"))
    token = tmp_path / "token"
    token.write_text("s3cret\n")

    assert 0 == (await run_status("--admin", address(api), "--token-file", str(token))).exit_code


async def test_a_missing_token_is_asked_for(open_api: OpenApi, run_status: Status) -> None:
    api = await open_api(admin=AdminSettings(Address("127.0.0.1", 0), token="s3cret"))

    result = await run_status("--admin", address(api))

    assert 1 == result.exit_code
    assert "wants a token: give it with --token-file FILE or FAILOVER_PROXY_TOKEN" in result.output


@pytest.mark.parametrize("token", [b"\xff\xfe", b"two\nlines", "caf\u00e9".encode(), b"two words"])
async def test_a_token_that_can_be_none_is_a_usage_error(run_status: Status, tmp_path: Path, token: bytes) -> None:
    (tmp_path / "token").write_bytes(token)

    result = await run_status("--token-file", str(tmp_path / "token"))

    assert (2, True) == (result.exit_code, "Error: --token-file" in result.output)


async def test_an_endpoint_that_does_not_answer_is_not_said_to_be_missing() -> None:
    """What was ordered may have been done."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        caller = Caller(Endpoint("127.0.0.1", silent.getsockname()[1]), "")
        with pytest.raises(Unreachable) as ended:
            await asyncio.to_thread(caller.try_to_ask, "POST", "/v1/pools/pay/failover", {}, 0.05)

    assert str(ended.value).endswith("did not answer within 0.05 s; the order may have been carried out all the same")


def test_a_switch_is_waited_for_longer_than_the_proxy_waits_for_its_workers() -> None:
    assert switch.PATIENCE > switching.LONGEST


async def test_an_endpoint_that_cannot_be_reached_says_what_to_do(run_status: Status) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        admin = f"127.0.0.1:{closed.getsockname()[1]}"

    result = await run_status("--admin", admin)

    assert 1 == result.exit_code
    assert [
        f"error: the admin endpoint http://{admin} can't be reached: connection refused",
        "Is the proxy running? Say where with --admin ADDRESS or FAILOVER_PROXY_ADMIN.",
    ] == result.output.splitlines()


async def test_a_unix_socket_that_is_not_there_is_named(run_status: Status, tmp_path: Path) -> None:
    result = await run_status("--admin", f"unix:{tmp_path}/admin")

    assert (1, True) == (result.exit_code, f"unix:{tmp_path}/admin can't be reached" in result.output)


@pytest.mark.parametrize(
    "answer",
    [
        b"200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"404 No\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
async def test_something_else_at_the_address_is_said(run_status: Status, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)

    result = await run_status("--admin", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert (1, True) == (result.exit_code, "is not the admin endpoint of a failover-proxy" in result.output)
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "text",
    ["nonsense", "127.0.0.1", "https://127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:1/x", "[::1", "[x]:1", "unix:"],
)
async def test_an_address_that_is_none_is_a_usage_error(run_status: Status, text: str) -> None:
    result = await run_status("--admin", text)

    assert (2, True) == (result.exit_code, "is not an address" in result.output)


def test_the_command_answers_without_loading_the_server() -> None:
    source = "import sys, proxy.cli.status, proxy.cli.run; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", source]

    loaded = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()

    assert set() == {"aiohttp", "uvloop", "pydantic", "prometheus_client"}.intersection(loaded)


async def test_a_pool_that_heeds_keys_says_how_many_are_open(open_api: OpenApi, make: Make, run_status: Status) -> None:
    pool = PoolSettings("app", (BackendSettings("b0", Address("h", 1)),), idempotency=IdempotencyPolicy())
    api = await open_api(pools=(pool,))
    api.control.registry.take_keys({"app": KeyCounts(kept=7, running=0, unknown=2)})

    result = await run_status("--admin", address(api))

    assert "  keys: 7 of 1000000 kept, 2 unknown" == result.output.splitlines()[2]
