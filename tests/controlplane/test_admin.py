from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from proxy.controlplane.admin.endpoint import BODY_MAX
from proxy.core.messages import DURATION_BUCKETS, AdminState, BackendCounts
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.settings import Address, AdminSettings, BackendSettings, PoolSettings
from tests.controlplane.conftest import Api, Make, OpenApi, Stage

B0 = "/v1/pools/app/backends/b0"
NOT_JSON = 'the body is not JSON; send {"state": "drain"} or {"weight": 2}'
NOT_AN_ORDER = 'the body must be an object with "state", "weight" or both, and nothing else'
NOT_A_STATE = '"state" must be one of ready, drain, maint'
NOT_A_WEIGHT = '"weight" must be a whole number from 0 to 1000, or null for the configured one'


# Is it alive, is it ready


async def test_it_is_alive_whenever_it_answers(api: Api) -> None:
    api.control.readiness_is = "starting"

    assert (200, "ok\n") == await api.get("/livez")


@pytest.mark.parametrize("why", ["starting", "draining", "no worker serves"])
async def test_it_says_why_it_is_not_ready(api: Api, why: str) -> None:
    api.control.readiness_is = why

    status, problem = await api.get("/readyz")

    assert (503, why) == (status, problem["detail"])


async def test_it_is_ready_when_the_supervisor_says_so(api: Api) -> None:
    assert (200, "ready\n") == await api.get("/readyz")


async def test_the_first_page_lists_what_there_is(api: Api) -> None:
    status, text = await api.get("/")

    assert 200 == status
    assert "/v1/pools/POOL/backends/BACKEND" in text


# State


async def test_a_backend_shows_everything_about_itself(api: Api) -> None:
    registry = api.control.registry
    registry.take_probe(("app", "b0"), Probe(2.0, ok=False, duration=0.0015, detail="connection refused"))

    assert (
        200,
        {
            "name": "b0",
            "url": "http://127.0.0.1:9",
            "pool": "app",
            "tier": 1,
            "weight": 1,
            "configured_weight": 1,
            "weight_share": 1.0,
            "region": "",
            "available": True,
            "reasons": [],
            "vetoes": [],
            "sentence": "app/b0 serves",
            "since": "2023-11-14T22:13:20.000Z",
            "admin_state": "ready",
            "own_state": "ready",
            "drained": False,
            "clients_until": None,
            "health": {
                "state": "up",
                "since": "2023-11-14T22:13:20.000Z",
                "last": [
                    {"at": "2023-11-14T22:13:22.000Z", "ok": False, "ms": 1.5, "detail": "connection refused"},
                ],
            },
            "breaker": {"state": "closed", "until": None, "reason": None},
            "in_flight": 0,
            "idle_connections": 0,
            "requests_total": 0,
            "failures_total": 0,
            "requests_per_second": 0,
            "failures_per_second": 0,
            "latency_ms": {"p50": None, "p99": None},
        },
    ) == await api.get(B0)


async def test_a_backend_that_is_out_says_since_when_and_why(api: Api, make: Make) -> None:
    api.control.registry.take_breaker_news(make.opened(0, until=65.0, at=60.0))

    _, backend = await api.get(B0)

    assert (False, ["breaker_open"]) == (backend["available"], backend["reasons"])
    assert "2023-11-14T22:14:20.000Z" == backend["since"]
    assert {
        "state": "open",
        "until": "2023-11-14T22:14:25.000Z",
        "reason": "5 failures in a row",
    } == backend["breaker"]


async def test_a_backend_shows_the_counts_of_all_workers(api: Api, make: Make) -> None:
    buckets = (0, 0, 0, 4) + (0,) * (len(DURATION_BUCKETS) - 3)
    counts = BackendCounts(in_flight=2, idle_connections=1, requests=10, failures=1, duration_buckets=buckets)
    for worker in range(2):
        api.control.registry.take_report(make.report(worker, backends={("app", "b0"): BackendCounts()}))
        api.control.registry.take_report(make.report(worker, backends={("app", "b0"): counts}))

    _, backend = await api.get(B0)

    assert (4, 2, 20, 2) == tuple(
        backend[name] for name in ("in_flight", "idle_connections", "requests_total", "failures_total")
    )
    assert {"p50": 7.5, "p99": 9.95} == backend["latency_ms"]


async def test_a_backend_shows_its_last_64_probes_and_the_list_of_pools_the_last_5(api: Api) -> None:
    for number in range(70):
        api.control.registry.take_probe(
            ("app", "b0"), Probe(float(number), ok=True, duration=0.001, detail=str(number))
        )

    _, backend = await api.get(B0)
    _, pools = await api.get("/v1/pools")

    assert [str(number) for number in range(6, 70)] == [probe["detail"] for probe in backend["health"]["last"]]
    assert ["65", "66", "67", "68", "69"] == [
        probe["detail"] for probe in pools["pools"][0]["backends"][0]["health"]["last"]
    ]


async def test_a_pool_shows_how_many_of_its_backends_serve(api: Api, make: Make) -> None:
    registry = api.control.registry
    registry.set_admin(registry.pools["app"].backends["b1"], AdminState.DRAIN, 1.0)
    counts = make.pool_counts(retries={("503", "success"): 3, ("connect", "failure"): 1}, saved=3, panic=True)
    registry.take_report(make.report(pools={"app": counts}))

    _, pool = await api.get("/v1/pools/app")

    assert ("app", 1, 2, True) == tuple(pool[name] for name in ("name", "available", "total", "panic"))
    assert (4, 3) == (pool["retries_total"], pool["saved_requests_total"])
    assert ["b0", "b1"] == [backend["name"] for backend in pool["backends"]]


async def test_a_backend_is_found_by_a_name_with_slashes_and_colons(open_api: OpenApi) -> None:
    name = "unix:/run/a b.sock"
    pool = PoolSettings("app", (BackendSettings(name, Address(path="/run/a b.sock")),), health=HealthPolicy())
    api = await open_api(pools=(pool,))

    for path in (f"/v1/pools/app/backends/{name}", "/v1/pools/app/backends/unix%3A%2Frun%2Fa%20b.sock"):
        _, backend = await api.get(path)
        assert (name, name) == (backend["name"], backend["url"])


# Orders


@pytest.mark.parametrize("state", list(AdminState))
async def test_the_administrators_word_is_carried_out(api: Api, state: AdminState) -> None:
    status, backend = await api.patch(B0, {"state": state})

    assert (200, state) == (status, backend["admin_state"])
    assert [("b0", state)] == api.control.orders


@pytest.mark.parametrize("weight", [0, 7, 1000, None])
async def test_a_weight_is_put_in_place_of_the_configured_one(api: Api, weight: int | None) -> None:
    status, backend = await api.patch(B0, {"weight": weight})

    assert (200, 1 if weight is None else weight) == (status, backend["weight"])
    assert 1 == backend["configured_weight"]


async def test_state_and_weight_can_be_set_together(api: Api) -> None:
    await api.patch(B0, {"state": "drain", "weight": 3})

    assert [("b0", "drain"), ("b0", 3)] == api.control.orders


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", NOT_JSON),
        ("{", NOT_JSON),
        ("\xff", NOT_JSON),
        ("[" * 60000, NOT_JSON),
        ("3", NOT_AN_ORDER),
        ("{}", NOT_AN_ORDER),
        ('{"sate": "drain"}', NOT_AN_ORDER),
        ('{"state": "asleep"}', NOT_A_STATE),
        ('{"state": null}', NOT_A_STATE),
        ('{"state": ["drain"]}', NOT_A_STATE),
        ('{"weight": "3"}', NOT_A_WEIGHT),
        ('{"weight": true}', NOT_A_WEIGHT),
        ('{"weight": 1.5}', NOT_A_WEIGHT),
        ('{"weight": -1}', NOT_A_WEIGHT),
        ('{"weight": NaN}', NOT_A_WEIGHT),
        (
            '{"state": "drain", "weight": 1001}',
            '"weight" must be a whole number from 0 to 1000, or null for the configured one',
        ),
    ],
)
async def test_an_order_that_is_not_understood_changes_nothing(api: Api, body: str, detail: str) -> None:
    status, problem = await api.send("PATCH", B0, data=body.encode("latin-1"))

    assert (400, detail) == (status, problem["detail"])
    assert [] == api.control.orders


async def test_a_body_is_bounded(api: Api) -> None:
    status, problem = await api.send("PATCH", B0, data=b" " * (BODY_MAX + 1))

    assert (413, 413) == (status, problem["status"])


# Problems


async def test_errors_are_problem_documents(api: Api) -> None:
    async with api.client.get("/v1/pools/ap") as answer:
        assert ("application/problem+json", "no-store") == (answer.content_type, answer.headers["Cache-Control"])
        assert {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "no pool is named ap; there are app",
        } == await answer.json(content_type=None)


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/v1/pools/app/backends/b9", "no backend of app is named b9; there are b0, b1"),
        ("/v2", "there is nothing at /v2; GET / lists what there is"),
    ],
)
async def test_what_is_not_there_is_named(api: Api, path: str, detail: str) -> None:
    status, problem = await api.get(path)

    assert (404, detail) == (status, problem["detail"])


async def test_a_long_list_of_names_is_cut(open_api: OpenApi) -> None:
    backends = tuple(BackendSettings(f"b{number}", Address("127.0.0.1", 9)) for number in range(600))
    api = await open_api(pools=(PoolSettings("app", backends),))

    _, problem = await api.get("/v1/pools/app/backends/x")

    assert problem["detail"].endswith("there are b0, b1, b2, b3, b4, b5, b6, b7, b8, b9 and 590 more")


async def test_a_method_that_is_not_for_a_resource_is_405_with_those_that_are(api: Api) -> None:
    async with api.client.delete(B0) as answer:
        assert (405, "GET, HEAD, PATCH") == (answer.status, answer.headers["Allow"])
        assert (
            "DELETE is not for this resource; it takes GET, HEAD, PATCH"
            == (await answer.json(content_type=None))["detail"]
        )


async def test_a_bug_is_a_500_that_tells_nothing(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.control.registry.pools["app"] = None

    status, problem = await api.get("/v1/pools/app")

    assert (500, "the proxy failed to answer; its log says why") == (status, problem["detail"])
    assert "the admin API failed" == caplog.records[0].getMessage()


async def test_it_serves_on_a_unix_socket(stage: Stage, make: Make, tmp_path: Path) -> None:
    path = str(tmp_path / "admin")
    await stage.supervise(replace(make.settings(), admin=AdminSettings(Address(path=path))))

    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as client,
        client.get("http://anything/livez") as answer,
    ):
        assert 200 == answer.status


async def test_a_whole_number_may_be_written_with_a_point(api: Api) -> None:
    """For JSON, 98.0 is an integer."""
    status, backend = await api.send("PATCH", B0, data=b'{"weight": 98.0}')

    assert (200, "98") == (status, json.dumps(backend["weight"]))
