from __future__ import annotations

from proxy.core.requests.decisions import RELAY, Attempt, Refuse, Relay, Wait
from proxy.errors import ErrorKind
from tests.core.pools import make_pool


def test_decisions_are_values() -> None:
    assert Wait(0.1) == Wait(0.1)
    assert Relay() == RELAY
    assert Refuse(ErrorKind.DNS_ERROR, 502, "x") == Refuse(ErrorKind.DNS_ERROR, 502, "x")


def test_an_attempt_says_on_whom_it_is() -> None:
    backend = make_pool(1).backends[0]

    assert "<Attempt 2 on b0>" == repr(Attempt(backend, backend.breaker.admit(0.0), 2, 0.0))
