from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from proxy.controlplane.admin.explain import request_head
from proxy.core.messages import AdminState
from proxy.core.pools.active import FailoverPolicy
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.requests.fallback import Fallback, FixedAnswer
from proxy.core.requests.splitting import Split
from proxy.core.requests.sticky import Seal
from proxy.core.settings import (
    Address,
    BackendSettings,
    IdempotencyPolicy,
    Match,
    PoolSettings,
    Redirect,
    RouteSettings,
    StaticAnswer,
    StatusOfWrites,
    StickyPolicy,
)
from tests.controlplane.conftest import Api, OpenApi

NOWHERE = Address("127.0.0.1", 9)
HEALTH = HealthPolicy(fall=1, interval=1.0)
APP = PoolSettings("app", tuple(BackendSettings(name, NOWHERE) for name in ("red", "green")), health=HEALTH)
PAY = PoolSettings(
    "payments",
    tuple(BackendSettings(name, NOWHERE) for name in ("primary", "backup")),
    health=HEALTH,
    failover=FailoverPolicy(automatic=False),
    idempotency=IdempotencyPolicy(require_for=("POST",)),
)
ROUTES = (
    RouteSettings("pay", Match("shop.example", "/pay/*"), (("payments", 1.0),)),
    RouteSettings("old", Match(path="/old"), answer=Redirect("/new", 308)),
    RouteSettings("ping", Match(path="/ping"), answer=StaticAnswer(204)),
    RouteSettings("writes", Match(path="/writes"), answer=StatusOfWrites()),
    RouteSettings("canary", Match(path="/canary"), (("app", 0.75), ("payments", 0.25))),
    RouteSettings("all", Match(headers=(("X-Key", "s3cret"),)), (("app", 1.0),)),
)


@pytest.fixture
async def api(open_api: OpenApi) -> Api:
    return await open_api(pools=(APP, PAY), routes=ROUTES)


async def explained(api: Api, **asked: object) -> dict[str, object]:
    status, document = await api.send("GET", "/v1/explain", params=asked)
    assert 200 == status, document
    return document


def fail(api: Api, pool: str, name: str) -> None:
    api.control.registry.take_probe((pool, name), Probe(0.0, ok=False, duration=0.0, detail="connection refused"))


async def test_it_tells_the_route_the_pool_and_the_backend(api: Api) -> None:
    told = await explained(api, url="https://shop.example/pay/1")

    assert (
        "GET https://shop.example/pay/1 takes route pay to pool payments: it goes to primary",
        "pay",
        [],
        None,
    ) == (told["sentence"], told["route"], told["earlier"], told["refused"])
    (choice,) = told["choices"]
    assert ("payments", "up", "primary", False) == (
        choice["pool"],
        choice["state"],
        choice["picked"],
        choice["trial"],
    )
    assert [("primary", True, [], 1.0), ("backup", False, ["standby"], 0.0)] == [
        (one["name"], one["available"], one["reasons"], one["chance"]) for one in choice["backends"]
    ]
    assert (1.0, 3) == (choice["timeouts"]["connect"], choice["retries"]["attempts"])


async def test_routes_before_it_say_why_they_did_not_match_but_no_secret(api: Api) -> None:
    told = await explained(api, url="/x", header="X-Key: wrong")

    assert "GET /x is refused with 404: no route matches" == told["sentence"]
    assert {"status": 404, "detail": "no route matches"} == told["refused"]
    assert [
        {"route": "pay", "why_not": "the host is not shop.example"},
        {"route": "old", "why_not": "the path is not /old"},
    ] == told["earlier"][:2]
    assert {"route": "all", "why_not": "X-Key has another value"} == told["earlier"][-1]


async def test_fields_of_the_head_count(api: Api) -> None:
    told = await explained(api, url="/x", header="X-Key: s3cret")

    assert "GET /x takes route all to pool app: it goes to one of " in told["sentence"]
    assert told["sentence"].endswith(", by least_requests")
    assert "s3cret" not in str(told)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/old", "takes route old and is answered 308, to /new"),
        ("/ping", "takes route ping and is answered 204"),
        ("/writes", "takes route writes and is told what became of a write"),
    ],
)
async def test_a_route_that_answers_by_itself_says_so(api: Api, path: str, what: str) -> None:
    told = await explained(api, url=path)

    assert (f"GET {path} {what}", []) == (told["sentence"], told["choices"])


async def test_a_split_tells_what_each_pool_would_do(api: Api) -> None:
    fail(api, "app", "green")
    told = await explained(api, url="/canary")

    assert (
        "GET /canary takes route canary, which splits: 0.75 to app: it goes to red; "
        "0.25 to payments: it goes to primary"
    ) == told["sentence"]


async def test_a_pool_that_is_cut_off_from_its_split_gets_nothing(api: Api) -> None:
    api.control.registry.cut("canary", "payments", 0.0)
    told = await explained(api, url="/canary")

    assert "GET /canary takes route canary to pool app: it goes to one of " in told["sentence"]
    assert [("app", 1.0), ("payments", 0.0)] == [(one["pool"], one["share"]) for one in told["choices"]]


async def test_a_client_with_a_cookie_of_ours_goes_where_it_belongs_and_no_key_is_told(open_api: OpenApi) -> None:
    sticky = StickyPolicy(cookie="node", keys=(b"s3cret-" * 5,))
    route = RouteSettings("split", split=(("app", 0.5), ("payments", 0.5)), sticky=sticky)
    api = await open_api(pools=(APP, PAY), routes=(route,))
    seal = Seal(sticky.keys[0], b"node")
    seed = next(seed for seed in range(50) if Split(route.split).of_client(seed, lambda _: False) == "app")
    value = seal.write(int(time.time()) + 60, seed, seal.identity(("app", "green"))).decode()

    told = await explained(api, url="/", header=f"Cookie: node={value}")

    assert ("GET / takes route split to pool app: it goes to green, where its cookie says that it belongs") == told[
        "sentence"
    ]
    assert ([1.0, 0.0], True) == ([one["share"] for one in told["choices"]], told["choices"][0]["kept"])
    assert "s3cret" not in str(told)


async def test_all_reasons_of_who_is_out_are_told(api: Api) -> None:
    fail(api, "app", "green")
    registry = api.control.registry
    registry.set_admin(registry.pools["app"].backends["green"], AdminState.DRAIN, 0.0)
    told = await explained(api, url="/x", header="X-Key: s3cret")

    green = told["choices"][0]["backends"][1]
    assert (False, ["drain", "failed_probes"], 0.0) == (green["available"], green["reasons"], green["chance"])
    assert "app/green has been out for 0 s: a person has put it in drain and its probes fail" in green["sentence"]


async def test_where_nobody_serves_it_tells_what_a_client_gets(api: Api, open_api: OpenApi) -> None:
    fail(api, "payments", "primary")
    waits = await explained(api, url="//shop.example/pay/", method="POST", header="Host: shop.example")
    assert "nobody serves: it waits for up to 1 s, and is then refused with 503" not in waits["sentence"]
    fallback = Fallback(answer=FixedAnswer())
    other = await open_api(pools=(APP,), routes=(RouteSettings("all", split=(("app", 1.0),), fallback=fallback),))
    for name in ("red", "green"):
        other.control.registry.set_admin(other.control.registry.pools["app"].backends[name], AdminState.MAINT, 0.0)
    told = await explained(other, url="/")

    assert (
        "GET / takes route all to pool app: nobody serves: it waits for up to 1 s, and is then refused with 503; "
        "if nobody can serve, the route's fallback stands in"
    ) == told["sentence"]


@pytest.mark.parametrize(
    ("method", "url", "repeats"),
    [
        ("GET", "https://shop.example/pay/1", "GET may be repeated: up to 3 attempts in all"),
        (
            "POST",
            "https://shop.example/pay/1",
            "POST with Idempotency-Key is executed once; tried again only as that allows. POST without it is refused.",
        ),
        (
            "PATCH",
            "https://shop.example/pay/1",
            "PATCH with Idempotency-Key is executed once; tried again only as that allows.",
        ),
        ("POST", "/x", "POST may not be repeated: tried again only where nothing was sent"),
    ],
)
async def test_it_tells_whether_a_request_may_be_repeated(api: Api, method: str, url: str, repeats: str) -> None:
    told = await explained(api, method=method, url=url, header="X-Key: s3cret")

    assert repeats == told["choices"][0]["repeats"]


async def test_to_ask_counts_nothing_and_moves_nothing(api: Api) -> None:
    before = await api.get("/v1/pools")
    for _ in range(5):
        await explained(api, url="/x", header="X-Key: s3cret")

    assert before == await api.get("/v1/pools")


async def test_many_may_ask_at_a_time_and_a_reload_is_followed(api: Api) -> None:
    answers = await asyncio.gather(*(explained(api, url="/ping") for _ in range(5)))
    settings = api.control.registry.settings
    api.control.registry.obey(replace(settings, routes=settings.routes[3:]), 1.0)
    after = await explained(api, url="/ping")

    assert (["ping"] * 5, None) == ([one["route"] for one in answers], after["route"])


# Why a Backend is out


async def test_why_a_backend_is_out_is_one_sentence(api: Api) -> None:
    fail(api, "app", "green")

    told = await explained(api, backend="app/green")

    assert (
        "app/green has been out for 0 s: its probes fail (connection refused); "
        "back after 2 good probes in a row, one about every 1 s"
    ) == told["sentence"]
    veto = told["backend"]["vetoes"][0]
    assert ("failed_probes", None, "its probes fail (connection refused)") == (
        veto["reason"],
        veto["until"],
        veto["cause"],
    )


@pytest.mark.parametrize("name", ["app/none", "none/red", "app", ""])
async def test_a_backend_that_is_not_there_is_404(api: Api, name: str) -> None:
    assert 404 == (await api.send("GET", "/v1/explain", params={"backend": name}))[0]


# What can't be asked


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({"uri": "/"}, "there is no parameter uri; there are method, url, header, client, backend"),
        ({"header": "no colon"}, "a header is Name: value"),
        ({"header": ": x"}, "a header is Name: value"),
        ({"header": "X: a\r\nY: b"}, "there is a line break where none can be"),
        ({"url": "/\r\n"}, "there is a line break where none can be"),
        ({"method": "GET\n"}, "there is a line break where none can be"),
        ({"url": "http://[::1/"}, "url is not a URL"),
    ],
)
async def test_what_cannot_be_asked_is_refused(api: Api, asked: dict[str, str], detail: str) -> None:
    status, problem = await api.send("GET", "/v1/explain", params=asked)

    assert (400, detail) == (status, problem["detail"])


async def test_what_a_client_could_send_but_nobody_may_is_explained_as_refused(api: Api) -> None:
    told = await explained(api, url="/a b")

    assert 400 == told["refused"]["status"]


@pytest.mark.parametrize(
    ("url", "fields", "head"),
    [
        ("https://a.example:8443/x?y=1#z", [], b"GET /x?y=1 HTTP/1.1\r\nHost: a.example:8443\r\n\r\n"),
        ("http://a.example", ["X:1"], b"GET / HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n\r\n"),
        ("/x", ["Host: b", "Y:  2 "], b"GET /x HTTP/1.1\r\nHost: b\r\nY: 2\r\n\r\n"),
        ("/x", [], b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ],
)
def test_a_request_is_made_as_a_client_would_send_it(url: str, fields: list[str], head: bytes) -> None:
    assert head == request_head("GET", url, fields)
