from __future__ import annotations

import pytest

from proxy.config.mistakes import Finding
from proxy.config.notyet import NOT_YET, not_yet


@pytest.mark.parametrize("pattern", NOT_YET)
def test_each_line_of_the_table_refuses_something(pattern: str) -> None:
    words = NOT_YET[pattern]
    path = tuple("x" if part.startswith("*") else part for part in pattern.split("."))
    data: object = words[0] if words else 1
    for part in reversed(path):
        data = {part: data}

    assert [path] == [finding.path for finding in not_yet(data)]


def test_what_is_inside_a_refused_block_is_not_looked_at() -> None:
    data = {"cluster": {"mode": 1}, "pools": {"cluster": {"leader": {"leader": 1}, "mode": "active-active"}}}

    assert [
        Finding(("cluster",), "not supported yet", at_key=True),
        Finding(("pools", "cluster", "leader"), "not supported yet", at_key=True),
    ] == list(not_yet(data))


def test_what_can_be_done_is_not_refused() -> None:
    assert [] == list(not_yet({"pools": {"a": ["https://b"]}, "routes": [{"redirect": {"to": "https://a"}}]}))
