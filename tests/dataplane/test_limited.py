"""Promises of `proxy.dataplane.clients.limited`: whose requests count together."""

from __future__ import annotations

import json

import pytest

from proxy.core.messages import Snapshot
from proxy.core.settings import HashOn, RatePolicy, RouteSettings, Settings, StaticAnswer
from proxy.dataplane.clients.limited import last_untrusted
from tests.dataplane.plane import CLIENT, Plane, Wire

NONE = StaticAnswer(204)


def asks(client: Wire, *fields: str, target: str = "/") -> int:
    """The status of the answer to a request with these fields."""
    before = len(client.written)
    lines = [f"GET {target} HTTP/1.1", "Host: a.example", *fields, "", ""]
    client.hear("\r\n".join(lines).encode())
    return int(client.written[before + 9 : before + 12])


def limited(key: HashOn | None = None, *, trusted: tuple[str, ...] = ()) -> Wire:
    """A client of a Route that takes one request an hour of each."""
    plane = Plane()
    policy = RatePolicy(1 / 3600, 1, key or HashOn())
    route = RouteSettings("all", answer=NONE, rate_limit=policy)
    pools = (plane.pool.settings,)
    plane.worker.heed(Snapshot(2, 2, Settings((), pools, (route,), trusted_proxies=trusted), {}))
    return plane.client()


def test_one_too_many_is_429_and_the_connection_stays() -> None:
    client = limited()

    assert [204, 429, 429] == [asks(client) for _ in range(3)]
    head, _, body = bytes(client.written).rpartition(b"\r\n\r\n")
    assert b"Retry-After: 3600" in head
    assert b'Proxy-Status: failover-proxy; error=http_request_denied; details="rate limited"' in head
    assert ("urn:failover-proxy:rate_limited", "no") == (json.loads(body)["type"], json.loads(body)["executed"])
    assert not client.is_closing()


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        (HashOn("header", "x-key"), "X-Key: a", "X-Key: b"),
        (HashOn("cookie", "s"), "Cookie: t=1; s=a", "Cookie: t=1; s=b"),
    ],
)
def test_clients_are_told_apart_by_what_the_key_names(key: HashOn, one: str, other: str) -> None:
    client = limited(key)

    assert [204, 204, 429, 429] == [asks(client, field) for field in (one, other, one, other)]


def test_without_the_header_a_client_is_its_address_and_nobody_can_pretend_to_be_one() -> None:
    client = limited(HashOn("header", "x-key"))

    assert [204, 429, 204, 204] == [
        asks(client),
        asks(client),
        asks(client, f"X-Key: {CLIENT[0]}"),
        asks(client, "X-Key: "),
    ]


def test_paths_may_be_told_apart() -> None:
    client = limited(HashOn("path"))

    assert [204, 204, 429] == [asks(client, target=target) for target in ("/a", "/b?x", "/b?y")]


def test_who_is_not_trusted_is_who_it_is_whatever_it_says() -> None:
    client = limited()

    assert [204, 429] == [asks(client, f"X-Forwarded-For: 198.51.100.{n}") for n in range(2)]


def test_behind_a_trusted_proxy_the_client_is_who_that_one_has_seen() -> None:
    client = limited(trusted=(f"{CLIENT[0]}/32", "10.0.0.0/8"))
    seen = [
        "X-Forwarded-For: 198.51.100.1",
        "X-Forwarded-For: 203.0.113.9, 198.51.100.1, 10.1.1.1",
        "X-Forwarded-For: 198.51.100.2",
        "X-Forwarded-For: 2001:db8::1",
        'Forwarded: for=203.0.113.9;proto=http, for="[2001:db8::2]:8080"',
        "X-Forwarded-For: 2001:db8:0:1::1",
        "Forwarded: for=198.51.100.3",
        'Forwarded: For="198.51.100.3:99"',
        "X-Forwarded-For: unknown",
        "X-Forwarded-For: 10.9.9.9, nonsense",
    ]  # fmt: skip

    assert [204, 429, 204, 204, 429, 204, 204, 429, 204, 429] == [asks(client, field) for field in seen]


def test_where_all_are_trusted_it_is_the_first_of_them() -> None:
    assert "10.0.0.1" == last_untrusted(["10.0.0.1", "10.0.0.2"], "10.0.0.3", lambda _: True)
