"""A worker and an explanation find the same Route, or refuse for the same reason."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from proxy.core.requests.explanation import find_route
from proxy.core.requests.routing import Route, Router
from proxy.core.settings import Address, ListenerSettings, Match, PoolSettings, RouteSettings, Settings
from proxy.core.tls import ClientAuth, ListenerTls
from proxy.core.wire.headers import forgeable
from proxy.core.wire.http1 import RequestHead
from proxy.dataplane.worker import Worker
from proxy.errors import RequestError
from tests.dataplane.plane import Turns

AUTH = ListenerTls((), client_auth=ClientAuth("", header="X-Subject"))
TO_APP = (("app", 1.0),)
SETTINGS = Settings(
    listeners=(ListenerSettings("web", Address("127.0.0.1", 0), tls=AUTH),),
    pools=(PoolSettings("app", ()),),
    routes=(
        RouteSettings("named", Match(headers=(("X-Subject", "CN=root"),)), TO_APP),
        RouteSettings("pay", Match("shop.example", "/pay/*", ("POST",)), TO_APP),
        RouteSettings("shop", Match("*.example"), TO_APP),
    ),
)


def found(route: Route) -> tuple[str, object]:
    return route.name, route.settings.answer


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, listeners=())], ids=["vouching", "not"])
@pytest.mark.parametrize(
    "lines",
    [
        ("POST /pay/1 HTTP/1.1", "Host: shop.example"),
        ("GET /pay/1 HTTP/1.1", "Host: shop.example:80"),
        ("GET / HTTP/1.1", "Host: other"),
        ("GET / HTTP/1.1", "Host: a.example", "X-Subject: CN=root"),
        ("GET / HTTP/1.1", "Host: a.example", "x_subject: CN=root"),
        ("OPTIONS / HTTP/1.1", "Host: a.example", "Max-Forwards: 0"),
        ("OPTIONS / HTTP/1.1", "Host: a.example", "Max-Forwards: 3"),
        ("GET / HTTP/1.1", "Host: a.example", *["Via: 1.1 failover-proxy"] * 30),
        ("GET / HTTP/1.1", "Host: other", *["Via: 1.1 failover-proxy"] * 30),
    ],
)
def test_a_worker_and_an_explanation_agree(settings: Settings, lines: tuple[str, ...]) -> None:
    head = "\r\n".join([*lines, "", ""]).encode()
    worker = Worker(0, Turns(), random.Random(1))
    worker.router = Router(settings.routes)
    worker._forged = forgeable(settings.listeners)

    told: list[object] = []
    for ask in (worker.route, lambda request: find_route(settings, worker.router, request)):
        try:
            told.append(found(ask(RequestHead(head, settings.limits))))
        except RequestError as refusal:
            told.append((refusal.status, refusal.detail))

    assert told[0] == told[1]
