"""Own code by its dotted path: what can be loaded, what is said of the rest, and the examples of `docs/extending.md`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config import loads
from proxy.core.pools.pool import Pool
from proxy.core.requests.retry import RetryPolicy, answered
from proxy.core.settings import PoolSettings
from proxy.extensions import BALANCER, CONDITION, KEY, PROBE, ExtensionError, Named, install, load
from tests.core.pools import members, request
from tests.own_code import config, forgotten, write, write_examples

RNG = random.Random(0)


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    with forgotten():
        yield


GOOD = """
import functools
class Made:
    def pick(self, request, candidates): ...
class Asked:
    async def __call__(self, target): ...
class Called:
    def __call__(self, ended): ...
made, asked, called = Made(), Asked(), Called()
def key(request): ...
def with_more(request, more=None): ...
async def probe(target): ...
partial = functools.partial(probe)
"""


@pytest.mark.parametrize(
    "named",
    [
        Named(BALANCER, "own:Made"),
        Named(BALANCER, "own:made"),
        Named(CONDITION, "own:called"),
        Named(CONDITION, "own:with_more"),
        Named(KEY, "own:key"),
        Named(PROBE, "own:probe"),
        Named(PROBE, "own:asked"),
        Named(PROBE, "own:partial"),
    ],
)
def test_what_fits_is_loaded(tmp_path: Path, named: Named) -> None:
    write(tmp_path, "own", GOOD)

    assert load(named, str(tmp_path)) is not None


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (KEY, "other = 1", "module 'own' has no 'it'"),
        (KEY, "import no_such_thing", "module 'own' can't be loaded: ModuleNotFoundError: No module named 'no_such_thing'"),
        (KEY, "it = (", "module 'own' can't be loaded: SyntaxError: '(' was never closed (own.py, line 1)"),
        (KEY, "raise SystemExit(3)", "module 'own' can't be loaded: SystemExit: 3"),
        (KEY, "it = 5", "can't be called: expected (request)"),
        (KEY, "def it(): ...", "can't be called as (request): too many positional arguments"),
        (KEY, "async def it(request): ...", "is no stick key: it must not be async"),
        (KEY, "class it:\n def __init__(self, x): ...", "is no stick key: it is a class; name a function, or an object that can be called"),
        (CONDITION, "def it(a, b): ...", "can't be called as (ended): missing a required argument: 'b'"),
        (PROBE, "def it(target): ...", "is no probe: it must be async"),
        (BALANCER, "class it: ...", "is no balancer: it has no pick(request, candidates)"),
        (BALANCER, "class it:\n pick = 5", "can't be called: expected pick(request, candidates)"),
        (BALANCER, "class it:\n def pick(self, a): ...", "can't be called as pick(request, candidates): too many positional arguments"),
        (BALANCER, "class it:\n def __init__(self, a): ...\n def pick(self, a, b): ...", "can't be called as a class that is made without arguments: missing a required argument: 'a'"),
        (BALANCER, "class it:\n async def pick(self, a, b): ...", "is no balancer: it must not be async"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(tmp_path: Path, kind: str, text: str, expected: str) -> None:
    write(tmp_path, "own", text)

    with pytest.raises(ExtensionError) as caught:
        load(Named(kind, "own:it"), str(tmp_path))
    assert expected == str(caught.value)


def test_a_module_of_the_config_takes_no_other_modules_place(tmp_path: Path) -> None:
    write(tmp_path, "json", "def it(request): ...")

    with pytest.raises(ExtensionError, match="module 'json' has no 'it'"):
        load(Named(KEY, "json:it"), str(tmp_path))


def test_what_was_there_when_the_config_was_read_may_be_gone_when_a_worker_loads_it(tmp_path: Path) -> None:
    names = write_examples(tmp_path)
    said: list[str] = []
    with forgotten():
        settings = loads(config(), str(tmp_path / "proxy.yaml"), {})
    for name in names:
        (tmp_path / name).unlink()
    install(settings, lambda name, error: said.append(name))

    shop, baskets = (Pool(pool, 0.0) for pool in settings.pools)
    assert shop.pick(request(), 0.0, RNG) in shop.backends
    assert baskets.pick(request(), 0.0, RNG) in baskets.backends
    assert not settings.pools[0].retries.names(answered(429, False))
    assert ["shop.routing:NearestWarehouse", "shop.retries:overloaded", "shop.keys:basket"] == said


class TestExamples:
    """The page's own words, run."""

    @pytest.fixture(autouse=True)
    def installed(self, tmp_path: Path) -> None:
        assert ["shop/routing.py", "shop/retries.py", "shop/keys.py", "shop/checks.py"] == write_examples(tmp_path)
        self.settings = loads(config(), str(tmp_path / "proxy.yaml"), {})

        def complain(name: str, error: Exception) -> None:
            raise AssertionError(name) from error

        install(self.settings, complain)

    def test_the_nearest_warehouse_serves(self) -> None:
        pool = Pool(self.settings.pools[0], 0.0)

        def region(country: str) -> str:
            backend = pool.pick(request("GET", "/", f"X-Country: {country}"), 0.0, RNG)
            return "" if backend is None else backend.settings.region

        assert [["eu"] * 5, ["us"] * 5] == [[region(country) for _ in range(5)] for country in ("FR", "US")]
        assert {"eu", "us"} == {region("JP") for _ in range(5)}

    def test_a_429_is_tried_elsewhere(self) -> None:
        policy = self.settings.pools[0].retries

        assert [True, True, False] == [policy.names(answered(status, False)) for status in (429, 503, 404)]
        assert not RetryPolicy().names(answered(429, False))

    def test_a_basket_stays_where_it_is(self) -> None:
        pool = Pool(PoolSettings("baskets", members(5), "hash", self.settings.pools[1].hash_on), 0.0)

        def owner(path: str, client: str) -> str:
            backend = pool.pick(request("GET", path, client=client), 0.0, RNG)
            return "" if backend is None else backend.name

        clients = [f"192.0.2.{number}" for number in range(20)]
        assert 1 == len({owner("/basket/7/items", client) for client in clients})
        assert 1 < len({owner(f"/basket/{number}", "192.0.2.9") for number in range(20)})
        assert 1 < len({owner("/", client) for client in clients})
