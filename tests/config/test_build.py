"""What valid files become."""

from __future__ import annotations

import os
from pathlib import Path

from proxy.config import load, loads
from proxy.core.pools.breaker import BreakerPolicy
from proxy.core.pools.health import HealthPolicy
from proxy.core.pools.outlier import EjectionPolicy
from proxy.core.requests.retry import RetryPolicy
from proxy.core.settings import (
    Address,
    AdminSettings,
    BackendSettings,
    HashOn,
    HoldPolicy,
    Limits,
    ListenerSettings,
    Match,
    PoolSettings,
    Redirect,
    RouteSettings,
    Settings,
    StaticAnswer,
    Timeouts,
)

MINIMAL = "listeners: [127.0.0.1:8080]\npools: {app: [127.0.0.1:9001, 127.0.0.1:9002]}\n"


def read(text: str, **environ: str) -> Settings:
    return loads(text, "x.yaml", environ)


def pool(text: str) -> PoolSettings:
    return read(f"listeners: [a:1]\npools: {{app: {text}}}\n").pools[0]


def route(text: str) -> RouteSettings:
    return read(f"{MINIMAL}routes: [{text}]\n").routes[0]


def test_two_lines_are_a_config_with_every_default() -> None:
    """The defaults are those of the value objects, for every block."""
    backends = (
        BackendSettings("127.0.0.1:9001", Address("127.0.0.1", 9001)),
        BackendSettings("127.0.0.1:9002", Address("127.0.0.1", 9002)),
    )

    assert Settings(
        listeners=(ListenerSettings("127.0.0.1:8080", Address("127.0.0.1", 8080)),),
        pools=(PoolSettings("app", backends),),
        routes=(RouteSettings("app", split=(("app", 1.0),)),),
        workers=len(os.sched_getaffinity(0)),
    ) == read(MINIMAL)


def test_every_policy_key_reaches_its_value_object() -> None:
    settings = read("""\
listeners: [a:1]
drain_delay: 1s
drain_timeout: 2s
trusted_proxies: [10.0.0.0/8, "::1"]
state_dir: /var/lib/proxy
workers: 3
defaults:
  timeouts: {connect: 1ms, first_byte: 2ms, stall: 3ms, request_head: 4ms, client_idle: 5ms, backend_idle: 6ms,
             tunnel_idle: 7ms, total: 8ms}
  health: {path: /h, interval: 1s, timeout: 2s, fall: 4, rise: 5, fast_interval: 6s, down_interval: 7s, jitter: 8%,
           initial: last, status: [200, 300-399], body: ok}
  breaker: {consecutive: 1, failure_rate: 2%, window: 3s, min_requests: 4, open_for: 5s, open_for_max: 6s, trials: 7,
            trial_successes: 8}
  retries: {attempts: 1, on: [connect, 500, timeout], budget: 2%, budget_min: 3.5, backoff: 4ms, backoff_max: 5ms,
            hold_answer: 6B, buffer_body: 7B, unsafe_reuse: 8s}
  ejection: {max_ejected: 1%, panic_below: 2%}
  limits: {request_line: 100B, headers: 2, header_bytes: 300B, body: 4B, connections: 5, max_in_flight: 6}
  hold: {for: 1s, max_requests: 2}
pools: {app: [b:1]}
""")
    timeouts = Timeouts(0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008)
    limits = Limits(100, 2, 300, 4, 5, 6)
    only = settings.pools[0]

    assert (1.0, 2.0, ("10.0.0.0/8", "::1/128"), "/var/lib/proxy", 3) == (
        settings.drain_delay,
        settings.drain_timeout,
        settings.trusted_proxies,
        settings.state_dir,
        settings.workers,
    )
    assert (timeouts, limits) == (settings.timeouts, settings.limits)
    assert (
        PoolSettings(
            "app",
            (BackendSettings("b:1", Address("b", 1), max_in_flight=6),),
            timeouts=timeouts,
            health=HealthPolicy("/h", 1.0, 2.0, 4, 5, 6.0, 7.0, 0.08, "last", ((200, 200), (300, 399)), "ok"),
            breaker=BreakerPolicy(1, 0.02, 3.0, 4, 5.0, 6.0, 7, 8),
            retries=RetryPolicy(1, ("connect", "500", "timeout"), 0.02, 3.5, 0.004, 0.005, 6, 7, 8.0),
            ejection=EjectionPolicy(0.01, 0.02),
            limits=limits,
            hold=HoldPolicy(1.0, 2),
        )
        == only
    )


def test_a_pool_changes_the_keys_that_it_names_and_keeps_the_others() -> None:
    first, second = read("""\
listeners: [a:1]
defaults: {health: {path: /h, fall: 9}, timeouts: {connect: 9s, client_idle: 5s}, retries: {attempts: 9}}
pools:
  first: {backends: [b:1], health: {fall: 1}, timeouts: {connect: 1s}}
  second: {backends: [b:1], health: {path: none}}
routes: [{split: {first: 50%, second: 50%}}]
""").pools

    assert (HealthPolicy("/h", fall=1), 9) == (first.health, first.retries.attempts)
    assert Timeouts(connect=1.0, client_idle=5.0) == first.timeouts
    assert (HealthPolicy(fall=9), Timeouts(connect=9.0, client_idle=5.0)) == (second.health, second.timeouts)


def test_a_key_that_repeats_a_default_overrides_what_defaults_says() -> None:
    text = "listeners: [a:1]\ndefaults: {health: {fall: 9}}\npools: {app: {backends: [b:1], health: {fall: 3}}}\n"

    assert 3 == read(text).pools[0].health.fall


def test_a_backend_is_an_address_a_url_or_a_map() -> None:
    assert (
        BackendSettings("a:1", Address("a", 1)),
        BackendSettings("b:80", Address("b", 80)),
        BackendSettings("[::1]:2", Address("::1", 2)),
        BackendSettings("unix:/s", Address(path="/s")),
        BackendSettings("c", Address("c", 3), weight=5, tier=2, region="eu", max_in_flight=7),
        BackendSettings("d:80", Address("d", 80), weight=0),
    ) == pool(
        "[a:1, 'http://b', '[::1]:2', 'unix:/s', "
        "{name: c, address: c:3, weight: 5, tier: 2, region: eu, max_in_flight: 7}, {url: 'http://d', weight: 0}]"
    ).backends


def test_a_backend_has_its_pools_limit_unless_it_has_its_own() -> None:
    backends = pool("""{backends: [a:1, {address: b:1, max_in_flight: 2}, {address: c:1, max_in_flight: none}],
                        limits: {max_in_flight: 9}}""").backends

    assert [9, 2, None] == [backend.max_in_flight for backend in backends]


def test_a_pool_has_a_balancer_and_a_region() -> None:
    only = pool("{backends: [a:1], balance: hash, hash_on: {cookie: Id}, overprovisioning: 200%, region: eu}")

    assert ("hash", HashOn("cookie", "Id"), 2.0, "eu") == (
        only.balance,
        only.hash_on,
        only.overprovisioning,
        only.region,
    )


def test_a_route_matches_host_path_methods_and_headers() -> None:
    assert RouteSettings(
        "r",
        Match("*.shop.example", "/a/*", ("GET", "HEAD"), (("x-canary", "Always"),)),
        (("app", 1.0),),
        strip_prefix="/a",
        preserve_host=False,
    ) == route(
        "{name: r, match: {host: '*.Shop.Example', path: /a/*, methods: [GET, HEAD], headers: {X-Canary: Always}}, "
        "pool: app, strip_prefix: /a, preserve_host: false}"
    )
    assert ("GET",) == route("{match: {method: GET}, pool: app}").match.methods


def test_a_route_has_its_number_for_a_name() -> None:
    settings = read(f"{MINIMAL}routes: [{{pool: app}}, {{name: x, pool: app}}, {{pool: app}}]\n")

    assert ["route-1", "x", "route-3"] == [one.name for one in settings.routes]


def test_a_split_leaves_out_who_has_no_share() -> None:
    text = "listeners: [a:1]\npools: {a: [a:1], b: [b:1], c: [c:1]}\nroutes: [{split: {a: 33.3%, b: 66.7%, c: 0%}}]\n"

    assert (("a", 0.333), ("b", 0.667)) == read(text).routes[0].split


def test_a_route_may_answer_by_itself() -> None:
    assert StaticAnswer() == route("{answer: {}}").answer
    assert (
        StaticAnswer(404, "no\n", "text/html")
        == route('{answer: {status: 404, body: "no\\n", content_type: text/html}}').answer
    )
    assert Redirect("/new{path}", 301) == route("{redirect: {to: '/new{path}', status: 301}}").answer


def test_listeners_are_named_by_their_keys_or_addresses() -> None:
    mapped = read("listeners: {web: a:1, tls: {address: 'unix:/s'}}\npools: {app: [b:1]}\n").listeners
    listed = read("listeners: [a:1, {name: web, address: a:2}, {address: a:0}, a:0]\npools: {app: [b:1]}\n").listeners

    assert (ListenerSettings("web", Address("a", 1)), ListenerSettings("tls", Address(path="/s"))) == mapped
    assert ["a:1", "web", "a:0", "a:0"] == [listener.name for listener in listed]


def test_a_listener_has_the_limits_of_the_defaults_but_for_those_of_its_own() -> None:
    text = """
listeners:
  web: {address: a:1, limits: {connections_per_client: none}, proxy_protocol: true}
  api: {address: a:2, limits: {connections: 5}}
  bare: a:3
trusted_proxies: [10.0.0.0/8]
defaults: {limits: {connections: 7, connections_per_client: 3}}
pools: {app: [b:1]}
"""
    listeners = read(text).listeners

    assert [(7, None), (5, 3), (7, 3)] == [(one.connections, one.connections_per_client) for one in listeners]
    assert [True, False, False] == [one.proxy_protocol for one in listeners]


def test_a_pool_sends_the_version_of_the_proxy_protocol_that_it_names() -> None:
    versions = {"true": "v1", "false": "", "v1": "v1", "v2": "v2"}

    assert versions == {
        text: pool(f"{{backends: [b:1], send_proxy_protocol: {text}}}").send_proxy_protocol for text in versions
    }


def test_who_may_open_a_unix_socket_may_say_whose_connection_it_is() -> None:
    [listener] = read("listeners: {a: {address: 'unix:/s', proxy_protocol: true}}\npools: {app: [b:1]}\n").listeners

    assert listener.proxy_protocol


def test_a_variable_is_a_number_where_one_is_wanted_and_text_where_text_is() -> None:
    settings = read(
        """\
listeners: ["127.0.0.1:${PORT}"]
workers: ${N}
pools: {app: [{address: a:1, weight: "${N}", region: "${N}"}]}
routes: [{pool: app, preserve_host: "${KEEP}"}]
""",
        PORT="8080",
        N="2",
        KEEP="false",
    )
    backend = settings.pools[0].backends[0]

    assert (Address("127.0.0.1", 8080), 2, 2, "2", False) == (
        settings.listeners[0].address,
        settings.workers,
        backend.weight,
        backend.region,
        settings.routes[0].preserve_host,
    )


def test_a_token_comes_from_a_file_beside_the_config_or_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    (tmp_path / "x.yaml").write_text(f"{MINIMAL}admin: {{address: 0.0.0.0:9900, token: {{file: ./token}}}}\n")

    assert AdminSettings(Address("0.0.0.0", 9900), "from-file") == load(tmp_path / "x.yaml", {}).admin
    assert "from-env" == read(f"{MINIMAL}admin: {{token: {{env: TOKEN}}}}", TOKEN="from-env").admin.token


def test_a_token_is_in_no_representation(tmp_path: Path) -> None:
    assert "hunter2" not in repr(read(f"{MINIMAL}admin: {{token: {{env: TOKEN}}}}", TOKEN="hunter2"))


def test_loopback_and_sockets_need_no_token() -> None:
    for address in ("127.0.0.2:9900", "'[::1]:9900'", "localhost:9900", "'unix:/run/admin.sock'"):
        assert "" == read(f"{MINIMAL}admin: {address}\n").admin.token


def test_the_state_folder_starts_at_the_config_file() -> None:
    assert "/etc/proxy/state" == loads(f"{MINIMAL}state_dir: ./state\n", "/etc/proxy/x.yaml", {}).state_dir
    assert "" == read(MINIMAL).state_dir


def test_json_and_yaml_are_the_same_config() -> None:
    text = '{"listeners": ["127.0.0.1:8080"], "pools": {"app": ["127.0.0.1:9001", "127.0.0.1:9002"]}}'

    assert read(MINIMAL) == read(text)


def test_anchors_and_aliases_work() -> None:
    settings = read("""\
listeners: [a:1]
pools:
  one: {backends: [a:1], health: &slow {interval: 9s}}
  two: {backends: [b:1], health: *slow}
routes: [{split: {one: 50%, two: 50%}}]
""")

    assert [9.0, 9.0] == [one.health.interval for one in settings.pools]
