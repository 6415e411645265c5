"""Files with mistakes, and exactly what is said of them. The form of single values has its own tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import ConfigError, load, loads

Mistakes = Callable[..., list[str]]

MINIMAL = "listeners: [127.0.0.1:8080]\npools: {app: [127.0.0.1:9001]}\n"
ADDED_AT = 3


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        # Keys
        ("lissteners: []", ["3:1: lissteners: unknown key; did you mean 'listeners'?"]),
        ("banana: 1", ["3:1: banana: unknown key"]),
        ("pools: {}", ["3:1: pools: duplicate key; it is first given in line 2"]),
        ("routes:", ["3:1: routes: has no value; give it one or take the key away"]),
        ("defaults: 5", ["3:11: defaults: expected a map, not 5"]),
        ("defaults: {health: [1]}", ["3:20: defaults.health: expected a map, not a list"]),
        ("routes: {a: 1}", ["3:9: routes: expected a list, not a map"]),
        ("version: 2", ["3:10: version: the only version of this language is 1, not 2"]),
        ("workers: 0", ["3:10: workers: must be from 1 to 1024, not 0"]),
        ("workers: many", ["3:10: workers: expected 'auto' or a whole number from 1 to 1024, not 'many'"]),
        ("drain_timeout: 5", ["3:16: drain_timeout: expected a duration such as 250ms, 1s or 5m, not 5; did you mean 5s?"]),
        ("trusted_proxies: [10.0.0.1/8]", ["3:19: trusted_proxies[0]: '10.0.0.1/8' has bits set beyond its prefix; did you mean '10.0.0.0/8'?"]),
        # Policies
        ("defaults: {breaker: {trials: 0}}", ["3:30: defaults.breaker.trials: must be from 1 to 1000000, not 0"]),
        ("defaults: {health: {fall: 0, rise: -1}}", [
            "3:27: defaults.health.fall: must be from 1 to 1000, not 0",
            "3:36: defaults.health.rise: must be from 1 to 1000, not -1",
        ]),
        ("defaults: {health: {path: /h, status: []}}", ["3:39: defaults.health.status: must not be empty"]),
        ("defaults: {health: {status: [200]}}", ["3:21: defaults.health.status: does nothing without 'path': such a probe just connects"]),
        ("defaults: {health: {body: ok}}", ["3:21: defaults.health.body: does nothing without 'path': such a probe just connects"]),
        ("defaults: {health: {path: /h, body: '('}}", ["3:37: defaults.health.body: not a regular expression: missing ), unterminated subpattern at position 0"]),
        ("defaults: {retries: {on: [conect, 503]}}", [
            "3:27: defaults.retries.on[0]: expected connect, reset, timeout, 408, 425, 429, 500, 502, 503 or 504, not 'conect'; did you mean 'connect'?",
        ]),
        ("defaults: {retries: {budget: 0.2}}", ["3:30: defaults.retries.budget: expected a share such as 20%, not 0.2; did you mean 20%?"]),
        ("defaults: {retries: {backoff: 1s}}", ["3:31: defaults.retries.backoff: 'backoff' is longer than 'backoff_max', which is 250ms"]),
        ("defaults: {breaker: {open_for_max: 1s}}", ["3:36: defaults.breaker.open_for_max: 'open_for' is longer than 'open_for_max', which is 1s"]),
        ("defaults: {limits: {header_bytes: 64kb}}", ["3:35: defaults.limits.header_bytes: expected a size such as 64KiB or 10MiB, not '64kb'; did you mean 64KiB?"]),
        ("defaults: {hold: {duration: 1s}}", ["3:19: defaults.hold.duration: unknown key"]),
        # Admin
        ("admin: 9900", ["3:8: admin: expected an address such as 127.0.0.1:8080, not 9900"]),
        ("admin: {address: 0.0.0.0:9900}", ["3:18: admin.address: an admin endpoint that other machines can reach needs a 'token'"]),
        ("admin: admin.internal:9900", ["3:8: admin: an admin endpoint that other machines can reach needs a 'token'"]),
        ("admin: {token: {}}", ["3:16: admin.token: needs 'file' or 'env'"]),
        ("admin: {token: {env: A, file: ./a}}", ["3:17: admin.token.env: a secret has one source, and 'file' is given"]),
        ("admin: {address: 127.0.0.1:8080}", ["3:18: admin.address: two endpoints listen on '127.0.0.1:8080'; the other one is in line 1"]),
        # Routes
        ("routes: [{}]", ["3:10: routes[0]: needs pool, split, answer or redirect"]),
        ("routes: [{pool: ap}]", ["3:17: routes[0].pool: there is no pool 'ap'; did you mean 'app'?"]),
        ("routes: [{pool: shop}]", ["3:17: routes[0].pool: there is no pool 'shop'"]),
        ("routes: [{split: {app: 50%, ap: 50%}}]", ["3:29: routes[0].split.ap: there is no pool 'ap'; did you mean 'app'?"]),
        ("routes: [{split: {app: 95%}}]", ["3:18: routes[0].split: the shares add up to 95%, not 100%"]),
        ("routes: [{split: {app: 101%}}]", ["3:24: routes[0].split.app: must be from 0% to 100%, not 101%"]),
        ("routes: [{pool: app, answer: {}}]", ["3:22: routes[0].answer: a route has one of pool, split, answer or redirect, and this one has 'pool'"]),
        ("routes: [{pool: app, name: a}, {pool: app, name: a}]", ["3:50: routes[1].name: two routes are named 'a'; the other one is in line 3"]),
        ("routes: [{pool: app}, {pool: app, name: route-1}]", ["3:41: routes[1].name: two routes are named 'route-1'; the other one is in line 3"]),
        ("routes: [{answer: {status: 204, body: x}}]", ["3:39: routes[0].answer.body: an answer 204 has no body"]),
        ("routes: [{answer: {status: 600}}]", ["3:28: routes[0].answer.status: must be from 200 to 599, not 600"]),
        ("routes: [{redirect: {status: 301}}]", ["3:11: routes[0].redirect: 'to' is missing"]),
        ("routes: [{redirect: {to: /x}, preserve_host: true}]", ["3:31: routes[0].preserve_host: does nothing without 'pool' or 'split'"]),
        ("routes: [{pool: app, strip_prefix: /a}]", ["3:36: routes[0].strip_prefix: needs a 'match.path' that begins with it, such as /a/*"]),
        ("routes: [{pool: app, strip_prefix: /a, match: {path: /ab/*}}]", ["3:36: routes[0].strip_prefix: needs a 'match.path' that begins with it, such as /a/*"]),
        ("routes: [{pool: app, match: {method: GET, methods: [GET]}}]", ["3:43: routes[0].match.methods: does not go with 'method'"]),
        ("routes: [{pool: app, match: {headers: {X-A: b, x-a: c}}}]", ["3:48: routes[0].match.headers.x-a: this header is given twice"]),
        ("routes: [{pool: app, match: {headers: {X-A: 1}}}]", ['3:45: routes[0].match.headers.X-A: expected one line of text, not the value 1; as text it is written "1"']),
        ("routes: [{pool: app, match: {headers: {'X A': b}}}]", ["3:40: routes[0].match.headers.X A: expected a header's name such as X-Canary, not 'X A'"]),
        ("routes: [{pool: app, match: {path: /x*}}]", ["3:36: routes[0].match.path: '*' may only stand at the end of a path, after a '/', not as in '/x*'; did you mean '/x/*'?"]),
        # What is not built yet
        ("cluster: {etcd: []}", ["3:1: cluster: not supported yet"]),
    ],
)  # fmt: skip
def test_a_mistake_at_the_top_is_named_with_its_place(mistakes: Mistakes, added: str, expected: list[str]) -> None:
    assert expected == mistakes(f"{MINIMAL}{added}\n")


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("balence: random", ["5:5: pools.app.balence: unknown key; did you mean 'balance'?"]),
        ("balance: round-robin", [
            "5:14: pools.app.balance: expected round_robin, least_requests, peak_ewma, random or hash for 'balance', not 'round-robin'; did you mean 'round_robin'?",
        ]),
        ("balance: hash", ["5:14: pools.app.balance: 'hash' needs 'hash_on': client, path, {header: NAME} or {cookie: NAME}"]),
        ("hash_on: path", ["5:5: pools.app.hash_on: does nothing without 'balance: hash'"]),
        ("overprovisioning: 1.4", ["5:23: pools.app.overprovisioning: expected a share such as 20%, not 1.4; did you mean 1.4%?"]),
        ("timeouts: {connect: 0}", ["5:25: pools.app.timeouts.connect: must be longer than 0"]),
        ("timeouts: {client_idle: 1s}", ["5:16: pools.app.timeouts.client_idle: belongs in 'defaults': it bounds a wait for clients, whose pool is not known yet"]),
        ("limits: {connections: 1}", ["5:14: pools.app.limits.connections: belongs in 'defaults': it bounds what clients send, before a pool is chosen"]),
        ("breaker: {open_for: 2m}", ["5:25: pools.app.breaker.open_for: 'open_for' is longer than 'open_for_max', which is 60s"]),
        ("mode: leader-follower", ["5:11: pools.app.mode: 'leader-follower' is not supported yet"]),
        ("mode: active", ["5:11: pools.app.mode: expected active-active or active-passive for the mode, not 'active'; did you mean 'active-active'?"]),
        ("proxy_protocol: true", ["5:5: pools.app.proxy_protocol: belongs to a listener; towards backends it is called 'send_proxy_protocol'"]),
        ("send_proxy_protocol: v3", ["5:26: pools.app.send_proxy_protocol: expected v1, v2, true or false, not 'v3'"]),
    ],
)  # fmt: skip
def test_a_mistake_in_a_pool_is_named_with_its_place(mistakes: Mistakes, added: str, expected: list[str]) -> None:
    assert expected == mistakes(f"listeners: [a:1]\npools:\n  app:\n    backends: [b:2]\n    {added}\n")


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        ("{app: [a:1], app: [b:1]}", ["2:21: pools.app: duplicate key; it is first given in line 2"]),
        ("{app: []}", ["2:14: pools.app: must not be empty"]),
        ("{app: 5}", ["2:14: pools.app: expected a list, not 5"]),
        ("{app: }", ["2:9: pools.app: has no value; give it one or take the key away"]),
        ("{app: {}}", ["2:9: pools.app: 'backends' is missing"]),
        ("{a/b: [a:1]}", ["2:9: pools.a/b: expected a name of letters, digits and . _ - such as 'checkout', not 'a/b'"]),
        ("{app: [a:1, a:1]}", ["2:20: pools.app[1]: two backends of this pool are named 'a:1'; the other one is in line 2"]),
        ("{app: [a:1, {name: 'a:1', url: 'http://b'}]}", ["2:27: pools.app[1].name: two backends of this pool are named 'a:1'; the other one is in line 2"]),
        ("{app: [{name: a}]}", ["2:15: pools.app[0]: needs 'address' or 'url'"]),
        ("{app: [{address: a:1, url: 'http://a'}]}", ["2:30: pools.app[0].url: a backend has one address, and 'address' is given"]),
        ("{app: [{address: a:1, weight: -1}]}", ["2:38: pools.app[0].weight: must be from 0 to 1000, not -1"]),
        ("{app: [{address: a:1, weight: 0}]}", ["2:14: pools.app: every weight is 0, so nobody would serve"]),
        ("{app: [a]}", ["2:15: pools.app[0]: expected an address such as 127.0.0.1:8080, not 'a'; the port is missing, such as a:8080"]),
        ("{app: ['ftp://a']}", ["2:15: pools.app[0]: expected http://, https:// or an address, not 'ftp://a'"]),
        ("{app: {backends: [{url: 'httpss://a', weight: x}]}}", [
            "2:32: pools.app.backends[0].url: expected http://, https:// or an address, not 'httpss://a'; did you mean 'https'?",
            "2:54: pools.app.backends[0].weight: expected a whole number from 0 to 1000, not 'x'",
        ]),
        ("{a: [a:1], b: [b:1]}", ["2:1: pools: with more than one pool, 'routes' must say what happens to requests"]),
        ("{}", ["2:1: pools: without a pool, 'routes' must say what happens to requests"]),
        ("5", ["2:8: pools: expected a map, not 5"]),
    ],
)  # fmt: skip
def test_a_mistake_among_pools_is_named_with_its_place(mistakes: Mistakes, pools: str, expected: list[str]) -> None:
    assert expected == mistakes(f"listeners: [a:1]\npools: {pools}\n")


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        ("8080", ["1:12: listeners: expected a list of addresses, or a map from names to addresses"]),
        ("[]", ["1:12: listeners: must not be empty"]),
        ("{}", ["1:12: listeners: must not be empty"]),
        ("[8080]", ["1:13: listeners[0]: expected an address such as 127.0.0.1:8080, not 8080"]),
        ("[a:1, a:1]", ["1:18: listeners[1]: two endpoints listen on 'a:1'; the other one is in line 1"]),
        ("[{name: a, address: a:1}, {name: a, address: b:1}]", ["1:45: listeners[1].name: two listeners are named 'a'; the other one is in line 1"]),
        ("{a: {name: b, address: a:1}}", ["1:17: listeners.a.name: this listener is named 'a' by its key"]),
        ("{a: {}}", ["1:13: listeners.a: 'address' is missing"]),
        ("{a: a:1, a: b:1}", ["1:21: listeners.a: duplicate key; it is first given in line 1"]),
        ("{a: {address: a:1, tls: {}}}", ["1:31: listeners.a.tls: needs 'cert' or 'certificates'"]),
        ("{a: {address: a:1, proxy_protocol: true}}", ["1:31: listeners.a.proxy_protocol: needs 'trusted_proxies', or every connection would be refused"]),
        ("[{address: a:1, proxy_protocol: true}]", ["1:28: listeners[0].proxy_protocol: needs 'trusted_proxies', or every connection would be refused"]),
        ("{a: {address: a:1, proxy_protocol: v2}}", ["1:47: listeners.a.proxy_protocol: expected true or false, not 'v2'"]),
        ("{a: {address: a:1, limits: {connections: none}}}", ["1:53: listeners.a.limits.connections: expected a whole number from 1 to 1000000, not 'none'"]),
        ("{a: {address: a:1, limits: {body: 1B}}}", ["1:40: listeners.a.limits.body: unknown key"]),
        ("{'a b': a:1}", ["1:13: listeners.a b: expected a name of letters, digits and . _ - such as 'checkout', not 'a b'"]),
    ],
)  # fmt: skip
def test_a_mistake_among_listeners_is_named_with_its_place(
    mistakes: Mistakes, listeners: str, expected: list[str]
) -> None:
    assert expected == mistakes(f"listeners: {listeners}\npools: {{app: [b:2]}}\n")


EVERYTHING_WRONG = """\
workers: ${WORKERS}
listeners: [127.0.0.1:8080, 127.0.0.1:8080]
pools:
  app:
    balance: hash
    breaker: { trials: none }
    backends: [127.0.0.1:9001, 127.0.0.1:9001, {adress: a:1}]
  other: [127.0.0.1:9001, 5]
routes:
  - { pool: aap, match: { host: "a.*" } }
  - { pool: othr, redirect: { to: x } }
  - { split: { app: 50%, other: 40% } }
"""


def test_every_mistake_of_a_file_is_reported_at_once_in_the_order_of_the_file(mistakes: Mistakes) -> None:
    """Values, references and what does not fit together, also beside values that are wrong."""
    assert [
        "1:10: workers: the environment variable WORKERS is not set; write ${WORKERS:-…} to give a default",
        "2:29: listeners[1]: two endpoints listen on '127.0.0.1:8080'; the other one is in line 2",
        "5:14: pools.app.balance: 'hash' needs 'hash_on': client, path, {header: NAME} or {cookie: NAME}",
        "6:24: pools.app.breaker.trials: expected a whole number from 1 to 1000000, not 'none'",
        "7:32: pools.app.backends[1]: two backends of this pool are named '127.0.0.1:9001'; the other one is in line 7",
        "7:49: pools.app.backends[2].adress: unknown key; did you mean 'address'?",
        "8:27: pools.other[1]: expected an address such as 127.0.0.1:8080, not 5",
        "10:13: routes[0].pool: there is no pool 'aap'; did you mean 'app'?",
        "10:33: routes[0].match.host: '*' may only stand for the first part of a host, such as *.shop.example, not 'a.*'",
        "11:13: routes[1].pool: there is no pool 'othr'; did you mean 'other'?",
        "11:19: routes[1].redirect: a route has one of pool, split, answer or redirect, and this one has 'pool'",
        "11:35: routes[1].redirect.to: expected a path or URL such as https://new.example{path}, not 'x'",
        "12:14: routes[2].split: the shares add up to 90%, not 100%",
    ] == mistakes(EVERYTHING_WRONG)


def test_what_is_wrong_does_not_make_other_things_wrong(mistakes: Mistakes) -> None:
    """A pool whose backends can't be read is still there for routes; a route whose pool can't be read has one."""
    text = "listeners: [a:1]\npools: {app: 5, b: [b:1]}\nroutes: [{pool: app}, {pool: 7}, {split: {b: 10, app: 90%}}]\n"

    assert ["2:14: pools.app", "3:30: routes[1].pool", "3:46: routes[2].split.b"] == [
        ": ".join(line.split(": ")[:2]) for line in mistakes(text)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "listeners: [a:1]\npools: 5\nroutes: [{pool: app}, {split: {b: 100%}}]\n",
        "listeners: [a:1]\npools: {a: [a:1], b: [b:1]}\nroutes: 5\n",
        "listeners: [a:1]\npools: {app: [a:1]}\ndefaults: {breaker: {open_for: 5, open_for_max: 1s}}\n",
        "listeners: [a:1]\npools: {app: {backends: [a:1], balance: hash, hash_on: 5}}\n",
        "listeners: [a:1]\npools: {app: {backends: [a:1], balance: hsh, hash_on: path}}\n",
        "listeners: [a:1]\npools: {app: [a:1]}\ndefaults: {health: {path: 5, body: ok}}\n",
        "listeners: [a:1]\npools: {app: [a:1]}\nadmin: {address: 0.0.0.0:9900, token: 5}\n",
        "listeners: [a:1]\npools: {app: [a:1]}\nroutes: [{pool: app, match: {path: a/*}, strip_prefix: /b}]\n",
        "listeners: [a:1]\npools: {app: [{adress: a:1}]}\n",
    ],
)
def test_one_mistake_is_reported_once(mistakes: Mistakes, text: str) -> None:
    assert 1 == len(mistakes(text))


def test_a_missing_key_is_reported_at_the_map_that_lacks_it(mistakes: Mistakes) -> None:
    assert ["2:1: 'listeners' is missing"] == mistakes("# none\npools: {app: [a:1]}\n")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n"])
def test_an_empty_file_is_told_what_the_least_is(mistakes: Mistakes, text: str) -> None:
    assert ["1:1: there is nothing in this file; the least it needs is 'listeners' and 'pools'"] == mistakes(text)


@pytest.mark.parametrize(("text", "what"), [("[1]", "a list"), ("hello", "'hello'"), ("5", "5")])
def test_a_file_that_is_no_map_is_refused(mistakes: Mistakes, text: str, what: str) -> None:
    assert [f"1:1: expected a map, not {what}"] == mistakes(text)


def test_the_example_that_shows_the_whole_language_is_refused_only_for_what_is_not_built_yet(
    mistakes: Mistakes,
) -> None:
    text = """\
version: 1
state_dir: ./state
listeners: {web: 127.0.0.1:8080}
pools:
  checkout:
    region: eu-west
    locality: { prefer: region, spill_below: 70% }
    slow_start: 20s
    backends: [{ url: "http://127.0.0.1:9101", region: eu-west }]
  payments:
    mode: active-passive
    failover: { mode: auto, failback: manual }
    idempotency: { header: Idempotency-Key }
    backends: [{ name: primary, url: "http://127.0.0.1:9121", tier: 1 }]
  orders-db:
    mode: leader-follower
    leader: { probe: /leader }
    read: { methods: [GET, HEAD] }
    backends: ["http://127.0.0.1:9131"]
routes:
  - { match: { path: /pay/* }, pool: payments }
  - { pool: checkout, sticky: { cookie: fo_node } }
"""
    assert [
        "16:11: pools.orders-db.mode: 'leader-follower' is not supported yet",
        "17:5: pools.orders-db.leader: not supported yet",
        "18:5: pools.orders-db.read: not supported yet",
    ] == mistakes(text)


# Secrets


def test_a_secret_in_the_file_is_refused_and_not_repeated() -> None:
    for text in ("admin: {token: hunter2}\n", "admin:\n  token:\n    hunter2\n", 'admin: {token: ["hunter2"]}\n'):
        with pytest.raises(ConfigError) as caught:
            loads(MINIMAL + text, "x", {})

        assert "hunter2" not in caught.value.render()
        assert "a secret does not stand in the file itself" in caught.value.render()


@pytest.mark.parametrize("content", [b"two words", b"\xff\xfe", b"line\nline", b"", b"  \n"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        loads(f"{MINIMAL}admin: {{token: {{file: token}}}}\n", str(tmp_path / "x.yaml"), {})

    assert ["admin.token.file"] == [mistake.path for mistake in caught.value.mistakes]
    assert "words" not in caught.value.render()


def test_a_secret_that_is_not_there_is_an_error_with_a_place(mistakes: Mistakes, tmp_path: Path) -> None:
    assert ["3:23: admin.token.file: can't be read: No such file or directory"] == mistakes(
        f"{MINIMAL}admin: {{token: {{file: {tmp_path}/none}}}}"
    )
    assert ["3:22: admin.token.env: the environment variable TOKEN is not set"] == mistakes(
        f"{MINIMAL}admin: {{token: {{env: TOKEN}}}}"
    )


# Files


def test_a_file_that_is_not_there_is_an_error_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.yaml", {})

    assert f"{tmp_path}/none.yaml: error: can't be read: No such file or directory" == caught.value.render()


def test_a_file_that_is_not_utf_8_is_refused_at_the_byte(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"a: 1\nb: \xe9\n")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "x.yaml", {})

    assert [f"{tmp_path}/x.yaml:2:4: error: not UTF-8: byte 0xE9"] == [str(one) for one in caught.value.mistakes]


def test_a_file_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="larger than 16777216 bytes"):
        load(Path("/dev/zero"), {})


# Anything


WORDS = """
version workers listeners admin state_dir defaults pools routes cluster app name address url weight tier backends balance
hash_on health path body status timeouts connect retries on breaker open_for match host headers pool split answer redirect
to token file env limits hold for mode strip_prefix preserve_host
"""
SCALARS = """
1 0 -1 5s 20% 64KiB auto none 127.0.0.1:80 http://a https://a unix:/a /x /x/* *.a app GET true null hash path ( ~ 1.5 '' "7"
active-passive ${A} ${B} "${A}" 200-399 connect 503 &a *a <<
"""
KEYS = st.sampled_from(WORDS.split())
VALUES = st.sampled_from(SCALARS.split())
TREES = st.recursive(
    VALUES,
    lambda children: (
        st.lists(children, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(KEYS, children), max_size=4).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items) + "}"
        )
    ),
    max_leaves=15,
)


@settings(max_examples=300)
@given(
    text=st.text()
    | TREES
    | st.lists(st.tuples(KEYS, TREES), max_size=6).map(lambda s: "\n".join(f"{k}: {v}" for k, v in s))
)
def test_any_text_either_loads_or_is_refused_with_mistakes(text: str) -> None:
    try:
        loads(text, "x", {"A": "1"})
    except ConfigError as error:
        assert error.mistakes
        assert error.render()


@given(st.sampled_from(["defaults", "pools", "routes", "listeners", "admin"]), TREES)
def test_any_value_of_a_known_key_is_accepted_or_refused(key: str, value: str) -> None:
    lines = {"listeners": "[127.0.0.1:8080]", "pools": "{app: [127.0.0.1:9001]}"} | {key: value}
    try:
        loads("\n".join(f"{one}: {text}" for one, text in lines.items()), "x", {"A": "1"})
    except ConfigError as error:
        assert error.mistakes
