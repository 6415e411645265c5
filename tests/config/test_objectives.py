"""Promises of `slo` and of the `journal` block."""

from __future__ import annotations

import pytest

from proxy.config import loads
from proxy.core.settings import JournalSettings
from tests.config.conftest import Mistakes

START = "listeners: [127.0.0.1:0]\n"


def test_pools_and_routes_have_objectives_of_their_own_or_none() -> None:
    text = f"""{START}pools:
  a: {{backends: [a:1], slo: 99.95%}}
  b: [b:1]
routes:
  - {{name: x, pool: a, slo: 99%, match: {{path: /x}}}}
  - {{name: y, pool: b}}
"""
    settings = loads(text, "x", {})

    assert [0.9995, None] == [pool.slo for pool in settings.pools]
    assert [0.99, None] == [route.slo for route in settings.routes]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("100%", "must be below 100%: with nothing that may fail there is no budget to count"),
        ("40%", "must be from 50% to 100%, not 40%"),
        ("0.9995", "expected a share such as 20%, not 0.9995; did you mean 99.95%?"),
        ("three nines", "expected a share such as 20%, not 'three nines'"),
    ],
)
def test_an_objective_that_can_not_be_is_named_with_its_place(value: str, message: str, mistakes: Mistakes) -> None:
    of_pool = f"{START}pools: {{a: {{backends: [a:1], slo: {value}}}}}\n"
    of_route = f"{START}pools: {{a: [a:1]}}\nroutes: [{{pool: a, slo: {value}}}]\n"

    assert [f"2:35: pools.a.slo: {message}"] == mistakes(of_pool)
    assert [f"3:25: routes[0].slo: {message}"] == mistakes(of_route)


def test_the_journal_is_as_long_as_the_file_says() -> None:
    text = f"{START}pools: {{a: [a:1]}}\n"

    assert JournalSettings(10000) == loads(text, "x", {}).journal
    assert JournalSettings(500) == loads(f"{text}journal: {{max_entries: 500}}\n", "x", {}).journal


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{max_entries: 5}", "3:24: journal.max_entries: must be from 100 to 1000000, not 5"),
        ("{size: 5}", "3:11: journal.size: unknown key"),
        ("500", "3:10: journal: expected a map, not 500"),
    ],
)
def test_a_journal_that_can_not_be_is_named_with_its_place(block: str, message: str, mistakes: Mistakes) -> None:
    assert [message] == mistakes(f"{START}pools: {{a: [a:1]}}\njournal: {block}\n")
