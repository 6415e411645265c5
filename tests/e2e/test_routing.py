"""Which backend a request reaches and what it is told, by the routes of one config."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.client import Answer, Client
from tests.e2e.rig import Proxy, rigged
from tests.e2e.scripted import Asked, Scripted

pytestmark = pytest.mark.asyncio(loop_scope="module")

POOLS = ("shop", "next", "api", "images")
ROUTES = [
    {"match": {"path": "/robots.txt"}, "answer": {"body": "Disallow: /\n"}},
    {"match": {"path": "/teapot"}, "answer": {"status": 418, "body": "{}", "content_type": "application/json"}},
    {"match": {"host": "*.old.example"}, "redirect": {"to": "https://shop.example{path}", "status": 301}},
    {
        "match": {"host": "api.example", "path": "/api/*"},
        "pool": "api",
        "strip_prefix": "/api",
        "preserve_host": False,
    },
    {"match": {"host": "shop.example", "methods": ["GET", "HEAD"], "headers": {"X-Preview": "on"}}, "pool": "next"},
    {"match": {"host": "shop.example", "path": "/images/*"}, "pool": "images"},
    {"match": {"host": "shop.example", "path": "/checkout"}, "split": {"shop": "75%", "next": "25%"}},
    {"match": {"host": "shop.example"}, "pool": "shop"},
    {"match": {"host": "*.shop.example"}, "pool": "next"},
]


def teller(pool: str) -> Scripted:
    """A backend that says who it is, and what it was asked."""

    async def tell(asked: Asked) -> None:
        asked.answer(200, f"X-Backend: {pool}", f"X-Host: {asked.field('host')}", body=asked.target.encode())

    return Scripted(tell)


class Routed:
    """A proxy with `ROUTES`, and a client of it."""

    def __init__(self, proxy: Proxy, backends: dict[str, Scripted], client: Client) -> None:
        self.proxy = proxy
        self.backends = backends
        self.client = client

    async def ask(self, host: str, target: str, *fields: str, method: str = "GET") -> Answer:
        return await self.client.ask(method, target, *fields, host=host)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def routed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Routed]:
    backends = {name: teller(name) for name in POOLS}
    async with (
        rigged(tmp_path_factory.mktemp("routes")) as rig,
        backends["shop"],
        backends["next"],
        backends["api"],
        backends["images"],
    ):
        pools = {name: [backend.address] for name, backend in backends.items()}
        proxy = await rig.start_proxy({"pools": pools, "routes": ROUTES})
        async with await Client.connect(proxy.address) as client:
            yield Routed(proxy, backends, client)


@pytest.mark.parametrize(
    ("host", "target", "pool"),
    [
        ("shop.example", "/", "shop"),
        ("SHOP.Example:8080", "/", "shop"),
        ("shop.example", "/images/cat.png?size=1", "images"),
        ("shop.example", "/images", "shop"),
        ("shop.example", "/imagesque/cat", "shop"),
        ("shop.example", "/images/%2e%2e/cart", "images"),
        ("eu.shop.example", "/images/cat.png", "next"),
        ("a.b.shop.example", "/", "next"),
    ],
)
async def test_host_and_path_decide_and_nothing_of_the_request_changes(
    routed: Routed, host: str, target: str, pool: str
) -> None:
    answer = await routed.ask(host, target)

    assert (pool, host, target) == (answer.backend, answer.field("x-host"), answer.body.decode())


@pytest.mark.parametrize(
    ("method", "field", "pool"),
    [("GET", "X-Preview: on", "next"), ("GET", "X-Preview: off", "shop"), ("DELETE", "X-Preview: on", "shop")],
)
async def test_a_header_and_a_method_must_match_too(routed: Routed, method: str, field: str, pool: str) -> None:
    answer = await routed.ask("shop.example", "/", field, method=method)

    assert pool == answer.backend


async def test_a_prefix_is_taken_off_and_the_backend_sees_its_own_host(routed: Routed) -> None:
    answers = [await routed.ask("api.example", target) for target in ("/api/orders/7?full=1", "/api/")]

    assert ["/orders/7?full=1", "/"] == [answer.body.decode() for answer in answers]
    assert [routed.backends["api"].address] * 2 == [answer.field("x-host") for answer in answers]


async def test_a_route_may_answer_by_itself(routed: Routed) -> None:
    robots, teapot = await routed.ask("any.example", "/robots.txt"), await routed.ask("any.example", "/teapot")
    bare = await routed.ask("any.example", "/robots.txt", method="HEAD")

    assert (200, b"Disallow: /\n", "text/plain; charset=utf-8") == (
        robots.status,
        robots.body,
        robots.field("content-type"),
    )
    assert (418, b"{}", "application/json") == (teapot.status, teapot.body, teapot.field("content-type"))
    assert (200, "12", b"") == (bare.status, bare.field("content-length"), bare.body)


async def test_a_route_may_redirect_with_path_and_query(routed: Routed) -> None:
    answer = await routed.ask("www.old.example", "/cart?item=1")

    assert (301, "https://shop.example/cart?item=1") == (answer.status, answer.field("location"))


async def test_a_split_gives_each_pool_about_its_share(routed: Routed) -> None:
    """400 draws of 25 %: six standard deviations are 52."""
    answers = Counter([(await routed.ask("shop.example", "/checkout")).backend for _ in range(400)])

    assert {"shop", "next"} == answers.keys()
    assert 48 <= answers["next"] <= 152


async def test_what_no_route_matches_is_not_found(routed: Routed) -> None:
    async with await Client.connect(routed.proxy.address) as client:
        answer = await client.ask("GET", "/", host="unknown.example")

    assert (404, "application/problem+json") == (answer.status, answer.field("content-type"))
    assert "failover-proxy; error=destination_not_found" in (answer.field("proxy-status") or "")
