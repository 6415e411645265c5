"""What a route answers with when nothing can serve: what the blocks become, and what is said of those that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import load, loads
from proxy.core.requests.fallback import Fallback, FixedAnswer, StalePolicy
from tests.config.conftest import Mistakes

POOLS = "listeners: [a:1]\npools: {app: [b:1], spare: [b:2], keyed: {backends: [b:3], idempotency: {}}}\nstate_dir: s\n"


def route(*lines: str) -> str:
    return POOLS + "routes:\n  - pool: app\n" + "".join(f"    {line}\n" for line in lines)


def read(*lines: str) -> Fallback | None:
    return loads(route(*lines), "/etc/proxy/x.yaml", {}).routes[0].fallback


def test_a_route_has_no_fallback_unless_it_is_given_one() -> None:
    assert read() is None


@pytest.mark.parametrize("block", ["fallback: spare", "fallback: {pool: spare}"])
def test_a_pools_name_is_enough(block: str) -> None:
    assert Fallback(pool="spare") == read(block)


def test_an_answer_is_what_the_file_says() -> None:
    block = 'fallback: {status: 200, body: "{}", content_type: application/json, headers: {Retry-After: "5"}}'

    assert Fallback(answer=FixedAnswer(200, b"{}", "application/json", (("Retry-After", "5"),))) == read(block)
    assert Fallback(answer=FixedAnswer(204)) == read("fallback: {status: 204}")


def test_good_answers_are_kept_where_it_is_asked_for() -> None:
    assert Fallback(stale=StalePolicy()) == read("stale_if_error: {}")
    assert Fallback(stale=StalePolicy(60.0, 1024)) == read("stale_if_error: {for: 1m, max_bytes: 1KiB}")


@pytest.mark.parametrize(
    ("name", "given", "kind"),
    [
        ("sorry.html", "", "text/html; charset=utf-8"),
        ("sorry.json", "", "application/json"),
        ("sorry", "", "text/plain; charset=utf-8"),
        ("sorry.html", ", content_type: text/x", "text/x"),
    ],
)
def test_a_file_is_read_with_the_config(tmp_path: Path, name: str, given: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"\xffsorry")
    config = tmp_path / "x.yaml"
    config.write_text(route(f"fallback: {{file: {name}{given}}}"))

    assert Fallback(answer=FixedAnswer(503, b"\xffsorry", kind)) == load(config, {}).routes[0].fallback


def test_a_file_that_is_too_large_is_a_mistake(tmp_path: Path, mistakes: Mistakes) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * (1024**2 + 1))

    assert ["6:22: routes[0].fallback.file: can't be read: larger than 1048576 bytes"] == mistakes(
        route(f"fallback: {{file: {large}}}")
    )


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("fallback: {}", "6:15: routes[0].fallback: needs 'pool', 'status', 'body' or 'file'"),
        ("fallback: spar", "6:15: routes[0].fallback: there is no pool 'spar'; did you mean 'spare'?"),
        ("fallback: {pool: spar}", "6:22: routes[0].fallback.pool: there is no pool 'spar'; did you mean 'spare'?"),
        ("fallback: app", "6:15: routes[0].fallback: 'app' is the pool of this route: it can't stand in for itself"),
        (
            "fallback: keyed",
            "6:15: routes[0].fallback: pool 'keyed' has 'idempotency', and writes that come this way would not be in its ledger",
        ),
        ("fallback: {body: a, file: b}", None),
        ("fallback: {file: nowhere}", "6:22: routes[0].fallback.file: can't be read: No such file or directory"),
        ("fallback: {status: 204, body: a}", "6:35: routes[0].fallback.body: an answer 204 has no body"),
        ("fallback: {status: 99}", "6:24: routes[0].fallback.status: must be from 200 to 599, not 99"),
        (
            "fallback: {content_type: text/x}",
            "6:16: routes[0].fallback.content_type: does nothing without 'body' or 'file'",
        ),
        (
            "fallback: {headers: {Content-Length: '5'}}",
            "6:26: routes[0].fallback.headers.Content-Length: the proxy writes this field itself",
        ),
        (
            "fallback: {headers: {A: b, a: c}}",
            "6:32: routes[0].fallback.headers.a: this header is given twice",
        ),
        ("fallback: {bod: a}", "6:16: routes[0].fallback.bod: unknown key; did you mean 'body'?"),
        ("stale_if_error: {for: 10}", None),
        (
            "stale_if_error: {max_bytes: 1B}",
            "6:33: routes[0].stale_if_error.max_bytes: must be from 1KiB to 1024GiB, not 1B",
        ),
        (
            "{stale_if_error: {}, match: {method: POST}}",
            "6:5: routes[0].stale_if_error: does nothing: only answers to GET are kept",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(mistakes: Mistakes, block: str, expected: str | None) -> None:
    lines = ["stale_if_error: {}", "match: {method: POST}"] if block.startswith("{") else [block]
    found = mistakes(route(*lines))

    assert expected is None or [expected] == found
    assert all(one.startswith("6:") for one in found)


@pytest.mark.parametrize("key", ["fallback: spare", "stale_if_error: {}"])
def test_a_route_that_answers_by_itself_needs_nothing_that_stands_in(mistakes: Mistakes, key: str) -> None:
    text = POOLS + f"routes:\n  - answer: {{}}\n    {key}\n"

    name = key.partition(":")[0]
    assert [f"6:5: routes[0].{name}: does nothing without 'pool' or 'split'"] == mistakes(text)


def test_a_pool_of_a_split_may_stand_in_for_the_others() -> None:
    text = POOLS + "routes:\n  - split: {app: 90%, spare: 10%}\n    fallback: app\n"

    assert Fallback(pool="app") == loads(text, "x", {}).routes[0].fallback
