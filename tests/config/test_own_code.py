"""Own code in a config file: how it is named, and where a file is wrong about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config import ConfigError, loads
from proxy.core.settings import HashOn, PoolSettings
from tests.own_code import forgotten, write

TEXT = "listeners: [a:1]\npools:\n  app:\n    backends: [b:1, b:2]\n"
OWN = """
class Picks:
    def pick(self, request, candidates): ...
def key(request): ...
def again(ended): ...
async def check(target): ...
"""


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path) -> Iterator[None]:
    write(tmp_path, "own", OWN)
    with forgotten():
        yield


def read(folder: Path, *lines: str) -> PoolSettings:
    text = TEXT + "".join(f"    {line}\n" for line in lines)
    settings = loads(text, str(folder / "x.yaml"), {})
    assert str(folder) == settings.own_code
    return settings.pools[0]


def wrong(folder: Path, *lines: str) -> list[str]:
    text = TEXT + "".join(f"    {line}\n" for line in lines)
    with pytest.raises(ConfigError) as caught:
        loads(text, str(folder / "x.yaml"), {})
    return [str(one).removeprefix(f"{folder}/x.yaml:").replace(" error: ", " ", 1) for one in caught.value.mistakes]


def test_own_code_stands_in_place_of_a_word(tmp_path: Path) -> None:
    assert "own:Picks" == read(tmp_path, "balance: own:Picks").balance
    assert HashOn("own", "own:key") == read(tmp_path, "balance: hash", "hash_on: own:key").hash_on
    assert ("connect", "own:again") == read(tmp_path, "retries: {on: [connect, own:again]}").retries.on
    assert "own:check" == read(tmp_path, "health: {check: own:check}").health.check


def test_a_file_without_own_code_has_nothing_to_load() -> None:
    assert "" == loads(TEXT, "/etc/proxy/x.yaml", {}).own_code


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("balance: own:Pick", "5:14: pools.app.balance: module 'own' has no 'Pick'; did you mean 'Picks'?"),
        ("balance: own:key", "5:14: pools.app.balance: is no balancer: it has no pick(request, candidates)"),
        ("balance: nowhere:key", "5:14: pools.app.balance: module 'nowhere' can't be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        ("balance: 'own:'", "5:14: pools.app.balance: expected the dotted path of own code such as shop.routing:NearestWarehouse, not 'own:'"),
        ("balance: own", "5:14: pools.app.balance: expected round_robin, least_requests, peak_ewma, random or hash for 'balance', not 'own'"),
        ("health: {check: own:key}", "5:21: pools.app.health.check: is no probe: it must be async"),
        ("retries: {on: [connect, own:check]}", "5:29: pools.app.retries.on[1]: is no retry condition: it must not be async"),
        ("retries: {on: ['own:a b']}", "5:20: pools.app.retries.on[0]: expected the dotted path of own code such as shop.routing:NearestWarehouse, not 'own:a b'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, line: str, expected: str) -> None:
    assert [expected] == wrong(tmp_path, line)


def test_what_is_wrong_with_a_stick_key_is_said_with_its_place(tmp_path: Path) -> None:
    assert [
        "6:14: pools.app.hash_on: is no stick key: it is a class; name a function, or an object that can be called"
    ] == wrong(tmp_path, "balance: hash", "hash_on: own:Picks")


def test_what_stands_in_the_defaults_is_found_there(tmp_path: Path) -> None:
    text = TEXT + "defaults: {health: {check: own:missing}}\n"

    with pytest.raises(ConfigError) as caught:
        loads(text, str(tmp_path / "x.yaml"), {})
    assert ["defaults.health.check"] == [one.path for one in caught.value.mistakes]
