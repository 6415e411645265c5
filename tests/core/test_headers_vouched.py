"""Fields that only we may set: what we have verified of a client, and what clients claim."""

from __future__ import annotations

import pytest

from proxy.core.settings import Address, ListenerSettings
from proxy.core.tls import ClientAuth, ListenerTls
from proxy.core.wire.headers import Forwarding, forgeable, remove_forged, upstream_head
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import LIMITS


def listener(header: str | None) -> ListenerSettings:
    auth = None if header is None else ClientAuth("", header=header)
    return ListenerSettings("web", Address(), tls=ListenerTls((), client_auth=auth))


FORGED = forgeable([listener("X-Subject_DN"), listener("X-A"), listener(None), ListenerSettings("plain", Address())])


def sent(*lines: str, vouched: bytes = b"") -> list[bytes]:
    """The lines that a Backend gets of a request with these fields."""
    head = "\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")
    request = RequestHead(head, LIMITS)
    forwarding = Forwarding("10.0.0.1", b"https")
    if vouched:
        forwarding.vouch("X-Subject-DN", vouched)
    assert FORGED is not None
    remove_forged(request, FORGED)
    return upstream_head(request, forwarding, None, lambda: b"id").split(b"\r\n")


def test_where_nobody_is_vouched_for_nothing_is_removed() -> None:
    assert forgeable([listener(None), ListenerSettings("plain", Address())]) is None


@pytest.mark.parametrize("name", ["X-Subject-DN", "x-subject-dn", "X_SUBJECT_DN", "X-A", "x_a"])
@pytest.mark.parametrize("around", [[], ["B: 1"], ["Connection: keep-alive"], ["Content-Length: 0", "B: 1"]])
def test_what_a_client_claims_is_removed_however_it_is_written(name: str, around: list[str]) -> None:
    lines = sent(*around, f"{name}: CN=root", *around[:1] if "B" in around[:1] else [], f"{name}:", f"{name}:\t")

    assert not [line for line in lines if line.lower().replace(b"_", b"-").startswith((b"x-subject-dn", b"x-a:"))]
    assert [b"GET / HTTP/1.1", b"Host: a"] == lines[:2]
    assert [b"X-Request-Id: id"] == [line for line in lines if line.startswith(b"X-Request-Id")]


def test_what_a_client_claims_can_not_be_matched_by_a_route() -> None:
    """Else whoever says so would get what only the named may have."""
    request = RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: CN=root\r\nB: 1\r\nx_a: CN=root\r\n\r\n", LIMITS)
    assert FORGED is not None
    remove_forged(request, FORGED)

    assert [None, None, b"1"] == [request.field(name) for name in (b"x-a", b"x_a", b"b")]


def test_what_only_looks_alike_goes_on() -> None:
    lines = sent("X-Subject-DN-2: b", "A: X-A: c", "X-AB: d")

    assert {b"X-Subject-DN-2: b", b"A: X-A: c", b"X-AB: d"} <= set(lines)


def test_a_request_that_claims_nothing_stays_plain() -> None:
    request = RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS)
    assert FORGED is not None
    remove_forged(request, FORGED)

    assert request.is_plain


def test_what_we_vouch_for_is_told_once_whatever_the_client_claims() -> None:
    lines = sent("X-Subject-DN: CN=root", "Connection: close, x-subject-dn", vouched=b"CN=alice")

    assert [b"X-Subject-DN: CN=alice"] == [line for line in lines if b"CN=" in line]


def test_it_is_told_from_the_moment_it_is_known() -> None:
    forwarding = Forwarding("10.0.0.1", b"https")
    request = RequestHead(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS)
    before = forwarding.fields(request)
    forwarding.vouch("X-A", b"CN=b")

    assert before + b"X-A: CN=b\r\n" == forwarding.fields(request)
