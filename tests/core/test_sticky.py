from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.requests.sticky import Bond, Seal, Stickiness, take_cookies
from proxy.core.settings import StickyPolicy
from proxy.core.wire.headers import Forwarding, upstream_head
from proxy.core.wire.http1 import RequestHead
from tests.core.pools import LIMITS, request

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
RED, GREEN = ("app", "red"), ("app", "green")
NOW = 1_800_000_000.25
TTL = 3600
NO_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"

names = st.sampled_from([b"where", b"wher", b"where2", b"a", b"Where", b"x-where"])
values = st.text("abcXYZ019-_=\"' ", max_size=12).map(lambda text: text.strip().encode())
pairs = st.lists(st.tuples(names, values), min_size=1, max_size=6)


def sticky(*keys: bytes, cookie: str = "where", owners: tuple[tuple[str, str], ...] = (RED, GREEN)) -> Stickiness:
    return Stickiness(StickyPolicy(cookie, ttl=TTL, keys=keys or (KEY,)), owners)


def given_out(stickiness: Stickiness, owner: tuple[str, str] = RED, *, seed: int = 7, now: float = NOW) -> bytes:
    """The value of a cookie that a client gets."""
    field = stickiness.fields(owner, seed, now, NO_HEAD, is_secure=False)
    match = re.match(rb"Set-Cookie: [^=]+=([^;]*)", field)
    assert match is not None
    return match[1]


def forwarded(head: RequestHead) -> bytes:
    """What a Backend gets."""
    return upstream_head(head, Forwarding("192.0.2.9", b"http"), None, lambda: b"id")


# What a cookie says


def test_a_cookie_says_where_its_client_belongs_until_its_time_is_over() -> None:
    stickiness = sticky()
    value = given_out(stickiness)

    assert Bond(1_800_003_601, 7, RED, is_current=True) == stickiness.read(value, NOW)
    assert stickiness.read(value, NOW + TTL) is not None
    assert None is stickiness.read(value, NOW + TTL + 1)


def test_a_cookie_tells_nobody_who_its_owner_is() -> None:
    raw = urlsafe_b64decode(given_out(sticky()))
    same = urlsafe_b64decode(given_out(sticky(OTHER_KEY)))

    assert b"red" not in raw
    assert raw[9:20] != same[9:20]


def test_owners_of_equal_letters_are_told_apart() -> None:
    seal = Seal(KEY, b"where")

    assert seal.identity(("ab", "c")) != seal.identity(("a", "bc"))


def test_an_owner_that_is_gone_leaves_the_seed() -> None:
    value = given_out(sticky())

    assert Bond(1_800_003_601, 7, None, is_current=True) == sticky(owners=(GREEN,)).read(value, NOW)


@pytest.mark.parametrize("flipped", range(36))
def test_a_cookie_in_which_any_byte_is_another_is_none(flipped: int) -> None:
    stickiness = sticky()
    raw = bytearray(urlsafe_b64decode(given_out(stickiness)))
    raw[flipped] ^= 1

    assert None is stickiness.read(urlsafe_b64encode(raw), NOW)


@pytest.mark.parametrize(
    "value", [b"", b"red", b"A" * 47, b"A" * 48, b"A" * 49, b"=" * 48, b"\xff" * 48, b"A" * 30_000]
)
def test_garbage_is_no_cookie(value: bytes) -> None:
    assert None is sticky().read(value, NOW)


@given(st.binary(max_size=60))
@example(b"\n" * 48)
def test_whatever_comes_in_a_cookie_harms_nobody(value: bytes) -> None:
    assert None is sticky().read(value, NOW)


def test_a_cookie_of_another_name_or_key_is_none() -> None:
    value = given_out(sticky())

    assert None is sticky(cookie="other").read(value, NOW)
    assert None is sticky(OTHER_KEY).read(value, NOW)


def test_a_former_key_is_good_and_is_replaced() -> None:
    value = given_out(sticky(OTHER_KEY))
    rotated = sticky(KEY, OTHER_KEY)
    bond = rotated.read(value, NOW)

    assert Bond(1_800_003_601, 7, RED, is_current=False) == bond
    assert rotated.is_due(bond, RED, NOW)
    assert rotated.read(given_out(rotated), NOW) == sticky().read(given_out(rotated), NOW)


@pytest.mark.parametrize("keys", [(), (b"",)])
def test_without_a_key_nothing_is_signed(keys: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="without a key"):
        Stickiness(StickyPolicy("where", keys=keys), [RED])


def test_no_secret_shows() -> None:
    policy = StickyPolicy("where", keys=(KEY,))

    assert "kkk" not in f"{policy} {Stickiness(policy, [RED])} {Seal(KEY, b'where')}"
    assert "<Stickiness where 1 owners>" == repr(Stickiness(policy, [RED]))


# When a client needs a new one


@pytest.mark.parametrize(
    ("bond", "later", "due"),
    [
        (None, 0, True),
        (Bond(int(NOW) + TTL, 7, RED, is_current=True), 0, False),
        (Bond(int(NOW) + TTL, 7, RED, is_current=True), TTL / 2 - 1, False),
        (Bond(int(NOW) + TTL, 7, RED, is_current=True), TTL / 2 + 1, True),
        (Bond(int(NOW) + TTL, 7, GREEN, is_current=True), 0, True),
        (Bond(int(NOW) + TTL, 7, None, is_current=True), 0, True),
        (Bond(int(NOW) + TTL, 7, RED, is_current=False), 0, True),
        # Of a time when cookies lasted longer.
        (Bond(int(NOW) + 10 * TTL, 7, RED, is_current=True), 0, True),
    ],
)
def test_a_client_gets_a_cookie_only_when_it_needs_one(bond: Bond | None, later: float, *, due: bool) -> None:
    assert due is sticky().is_due(bond, RED, NOW + later)


def test_a_backend_of_a_pool_that_stood_in_has_no_clients_here() -> None:
    assert not sticky().is_due(None, ("spare", "red"), NOW)


def test_one_just_given_out_is_not_due() -> None:
    stickiness = sticky()

    assert not stickiness.is_due(stickiness.read(given_out(stickiness), NOW), RED, NOW)


# What is added to an answer


@pytest.mark.parametrize(
    ("policy", "secure", "attributes"),
    [
        (StickyPolicy("where"), False, b"Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"),
        (StickyPolicy("where"), True, b"Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (StickyPolicy("where", secure=False), True, b"Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"),
        (StickyPolicy("where", secure=True), False, b"Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure"),
        (
            StickyPolicy("where", ttl=60, path="/cart", domain="shop.example", http_only=False, same_site="none"),
            True,
            b"Max-Age=60; Path=/cart; Domain=shop.example; SameSite=None; Secure",
        ),
    ],
)
def test_a_cookie_has_the_attributes_that_are_set(policy: StickyPolicy, attributes: bytes, *, secure: bool) -> None:
    stickiness = Stickiness(replace(policy, keys=(KEY,)), [RED])
    lines = stickiness.fields(RED, 7, NOW, NO_HEAD, is_secure=secure).split(b"\r\n")

    assert attributes == lines[0].partition(b"; ")[2]
    assert [b"Cache-Control: private", b""] == lines[1:]


@pytest.mark.parametrize(
    ("field", "is_private"),
    [
        (b"Cache-Control: private", True),
        (b"cache-control: max-age=5, No-Store", True),
        (b"Cache-Control: max-age=60", False),
        (b"Cache-Control: public", False),
        # Only that field is private, the answer is not.
        (b'Cache-Control: private="X-User"', False),
        (b"X-Note: private", False),
    ],
)
def test_no_cache_gives_the_cookie_to_another_client(field: bytes, *, is_private: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n"
    added = sticky().fields(RED, 7, NOW, head, is_secure=False)

    assert is_private is (b"Cache-Control" not in added)


# In a request


@pytest.mark.parametrize(
    ("line", "values", "left"),
    [
        ("Cookie: where=1", [b"1"], []),
        ("Cookie: a=0; where=1; b=2", [b"1"], [b"Cookie: a=0; b=2"]),
        ("Cookie: where=1; b=2", [b"1"], [b"Cookie: b=2"]),
        ("Cookie: a=0; where=1", [b"1"], [b"Cookie: a=0"]),
        ("cookie:where=1;where=2", [b"1", b"2"], []),
        ("Cookie: where=1; ;", [b"1"], []),
        ("Cookie: where=a=b", [b"a=b"], []),
        ("Cookie: where", [], [b"Cookie: where"]),
        ("Cookie: somewhere=1", [], [b"Cookie: somewhere=1"]),
        ("Cookie: Where=1", [], [b"Cookie: Where=1"]),
        ('Cookie: where="1"', [b'"1"'], []),
        ("X-Cookie: where=1", [], [b"X-Cookie: where=1"]),
    ],
)
def test_our_cookie_is_taken_out_and_no_other(line: str, values: list[bytes], left: list[bytes]) -> None:
    head = request("GET", "/", "A: 1", line, "B: 2")

    assert values == take_cookies(head, b"where")
    assert [b"A: 1", *left, b"B: 2"] == head.head.split(b"\r\n")[2:-2]


def test_all_lines_are_looked_at() -> None:
    head = request("GET", "/", "Cookie: where=1", "Cookie: a=0; where=2", "Cookie: where=3")

    assert [b"1", b"2", b"3"] == take_cookies(head, b"where")
    assert [b"Cookie: a=0"] == head.head.split(b"\r\n")[2:-2]


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: keep-alive", "Cookie: where=1; a=0"),
        ("Cookie: where=1; a=0", "Connection: keep-alive"),
        (
            "Cookie: where=1; a=0",
            "Connection: keep-alive",
            "Keep-Alive: 5",
            "X-Forwarded-For: 1.2.3.4",
            "Cookie: where=2",
        ),
        ("Cookie: a=0; where=1", "Connection: x-thing", "X-Thing: 1"),
    ],
)
def test_what_is_not_for_backends_is_left_out_all_the_same(fields: tuple[str, ...]) -> None:
    """The places of what is cut out of a head move with what is taken out before them."""
    head = request("GET", "/", *fields)
    take_cookies(head, b"where")
    without = [
        field.replace("where=1; ", "").replace("; where=1", "") for field in fields if field != "Cookie: where=2"
    ]

    assert forwarded(request("GET", "/", *without)) == forwarded(head)


@given(st.lists(pairs, min_size=1, max_size=3), st.sampled_from(["", "Connection: keep-alive", "Keep-Alive: 1"]))
def test_whatever_the_cookies_the_backend_gets_all_but_ours(lines: list[list[tuple[bytes, bytes]]], other: str) -> None:
    written = [b"; ".join(b"%b=%b" % pair for pair in line) for line in lines]
    fields = [f"Cookie: {line.decode()}" for line in written] + ([other] if other else [])
    head = request("GET", "/x", *fields)

    values = take_cookies(head, b"where")
    again = RequestHead(head.head, LIMITS)

    assert [value for line in lines for name, value in line if name == b"where"] == values
    kept = [b"; ".join(b"%b=%b" % pair for pair in line if pair[0] != b"where") for line in lines]
    assert [line.strip() for line in kept if line] == again.fields(b"cookie")
    assert sorted(head.cuts) == sorted(again.cuts)


def test_a_request_is_asked_for_one_good_cookie() -> None:
    stickiness = sticky()
    value = given_out(stickiness).decode()
    head = request("GET", "/", f"Cookie: where=junk; where={value}; where=more")

    bond = stickiness.take(head, NOW)

    assert bond is not None
    assert RED == bond.owner


def test_a_request_with_very_many_cookies_of_our_name_is_not_looked_through() -> None:
    stickiness = sticky()
    value = given_out(stickiness).decode()
    head = request("GET", "/", f"Cookie: where=1; where=2; where=3; where={value}")

    assert None is stickiness.take(head, NOW)
    assert b"where" not in head.head


def test_a_request_without_our_cookie_stays_as_it_is() -> None:
    head = request("GET", "/?where=1", "Cookie: a=1")
    before = head.head

    assert None is sticky().take(head, NOW)
    assert before is head.head
