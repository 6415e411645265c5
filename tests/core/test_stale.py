"""Promises of `proxy.core.requests.stale`: whose answers are kept, for how long, in how much memory, and who gets them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.requests.fallback import StalePolicy
from proxy.core.requests.stale import MOST_VARIANTS, OVERHEAD, LastGood, as_kept
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from tests.core.pools import LIMITS, request

HTTP = b"http"


def answer(*fields: str, status: int = 200, length: int | None = 2) -> ResponseHead:
    framing = [] if length is None else [f"Content-Length: {length}"]
    return ResponseHead("\r\n".join([f"HTTP/1.1 {status} X", *framing, *fields, "", ""]).encode(), LIMITS)


def memory(duration: float = 600.0, max_bytes: int = 1_000_000) -> LastGood:
    return LastGood(StalePolicy(duration, max_bytes))


KEY_BYTES = len("http" + "shop.example" + "/")


def found(kept: LastGood, *fields: str, target: str = "/", method: str = "GET", now: float = 1.0) -> object:
    """The body and age that such a request would get."""
    hit = kept.find(request(method, target, *fields), HTTP, now)
    return None if hit is None else (hit[0].body, hit[1])


def test_the_last_good_answer_is_found_with_its_age() -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer(), b"ol", 0.0)
    kept.keep(request(), HTTP, answer(), b"ok", 10.0)

    assert (b"ok", 5) == found(kept, now=15.9)
    assert (b"ok", 5) == found(kept, now=15.9, method="HEAD")


def test_age_counts_what_the_answer_had_when_it_came() -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer("Age: 30"), b"ok", 0.0)

    assert (b"ok", 42) == found(kept, now=12.0)


def test_another_url_host_or_scheme_is_another_answer() -> None:
    kept = memory()
    kept.keep(request(target="/a"), HTTP, answer(), b"ok", 0.0)

    assert found(kept, target="/b") is None
    assert found(kept, target="/a?x") is None
    assert kept.find(request(target="/a"), b"https", 1.0) is None
    assert (b"ok", 1) == found(kept, target="/a")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (request("GET", "/", "Authorization: Bearer x"), answer()),
        (request("GET", "/", "Proxy-Authorization: Basic x"), answer()),
        (request("GET", "/", "Cache-Control: No-Store"), answer()),
        (request("GET", "/", "Range: bytes=0-1"), answer()),
        (request("GET", "/", "Cookie: a=b"), answer()),
        (request("HEAD"), answer()),
        (request("OPTIONS"), answer()),
        (request(), answer(status=206)),
        (request(), answer(status=500)),
        (request(), answer("Set-Cookie: a=b")),
        (request(), answer("Cache-Control: no-store")),
        (request(), answer("Cache-Control: max-age=60, Private")),
        (request(), answer("Cache-Control: max-age=60", "Cache-Control: must-revalidate")),
        (request(), answer('Cache-Control: no-cache="set-cookie, x"')),
        (request(), answer("Cache-Control: proxy-revalidate")),
        (request(), answer("Vary: *")),
        (request(), answer("Vary: Accept, *")),
        (request(), answer("Vary: X-Forwarded-For")),
        (request(), answer("Vary: Accept, Forwarded")),
        (request(), answer("Vary: x-request-id")),
        (request(), answer("Vary: Traceparent")),
        (request(), answer(length=None)),
    ],
)
def test_what_could_be_meant_for_one_client_alone_or_is_not_whole_is_not_kept(asked: object, told: object) -> None:
    kept = memory()
    kept.keep(asked, HTTP, told, b"ok", 0.0)  # type: ignore[arg-type]

    assert "<LastGood 0 resources 0 bytes>" == repr(kept)


def test_who_says_who_he_is_gets_nothing_that_was_kept() -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer(), b"ok", 0.0)

    assert found(kept, "Authorization: Bearer x") is None
    assert found(kept, "Cookie: a=b") is None
    assert found(kept, "Cache-Control: no-store") is None
    assert (b"ok", 1) == found(kept, "Cache-Control: no-cache")


def test_a_public_answer_is_kept_and_given_whatever_cookies_a_client_has() -> None:
    kept = memory()
    kept.keep(request("GET", "/", "Cookie: a=b"), HTTP, answer("Cache-Control: public"), b"ok", 0.0)

    assert (b"ok", 1) == found(kept, "Cookie: c=d")
    assert (b"ok", 1) == found(kept)


def test_an_answer_that_varies_goes_to_those_who_ask_alike() -> None:
    kept = memory()
    for language in ("de", "fr"):
        told = answer("Vary: Accept-Language")
        kept.keep(request("GET", "/", f"Accept-Language: {language}"), HTTP, told, language.encode(), 0.0)

    assert (b"de", 1) == found(kept, "Accept-Language: de")
    assert (b"fr", 1) == found(kept, "accept-language: fr")
    assert found(kept, "Accept-Language: it") is None
    assert found(kept) is None


def test_memory_counts_what_answers_are_found_by() -> None:
    kept, target, accept = memory(), "/" + "x" * 5000, "y" * 20000
    kept.keep(request("GET", target, f"Accept: {accept}"), HTTP, answer("Vary: Accept"), b"ok", 0.0)

    assert kept.size_bytes >= len(target) + len(accept) + OVERHEAD


def test_what_varies_otherwise_than_before_takes_its_place() -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer("Vary: Accept"), b"ol", 0.0)
    kept.keep(request(), HTTP, answer(), b"ok", 0.0)

    assert (b"ok", 1) == found(kept, "Accept: text/html")
    assert len(answer().head) + 2 + KEY_BYTES + OVERHEAD == kept.size_bytes


@pytest.mark.parametrize(
    ("control", "usable"),
    [
        ("max-age=5", 600),
        ("s-maxage=50", 50),
        ("s-maxage=50, s-maxage=5", 5),
        ("max-age=10, stale-if-error=20", 30),
        ("s-maxage=5, max-age=10, stale-if-error=20", 25),
        ("stale-if-error=20", 20),
        ("stale-if-error=99999", 600),
        ('stale-if-error="20"', 20),
        ("s-maxage=x", 600),
        ("public,,", 600),
    ],
)
def test_an_answer_is_given_for_as_long_as_both_it_and_the_policy_allow(control: str, usable: int) -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer(f"Cache-Control: {control}"), b"ok", 0.0)

    assert (b"ok", usable) == found(kept, now=float(usable))
    assert found(kept, now=usable + 0.1) is None
    assert "<LastGood 0 resources 0 bytes>" == repr(kept)


def test_one_that_is_too_old_already_is_not_kept() -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer("Cache-Control: s-maxage=5", "Age: 5"), b"ok", 0.0)

    assert 0 == kept.size_bytes


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (request(), answer(status=404)),
        (request(), answer(status=403)),
        (request("POST"), answer(status=201)),
        (request("DELETE"), answer(status=204)),
        (request("PUT", "/", "Authorization: Bearer x"), answer()),
    ],
)
def test_what_is_gone_or_was_written_to_is_not_shown_as_it_was(asked: object, told: object) -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer(), b"ok", 0.0)
    kept.keep(asked, HTTP, told, b"", 0.5)  # type: ignore[arg-type]

    assert found(kept) is None
    assert 0 == kept.size_bytes


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (request(), answer(status=503)),
        (request(), answer("Set-Cookie: a=b")),
        (request("GET", "/", "Authorization: Bearer x"), answer(status=403)),
        (request("POST"), answer(status=409)),
        (request("POST", "/other"), answer(status=201)),
        (request("HEAD"), answer()),
    ],
)
def test_what_says_nothing_of_the_answer_that_is_kept_leaves_it(asked: object, told: object) -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer(), b"ok", 0.0)
    kept.keep(asked, HTTP, told, b"", 0.5)  # type: ignore[arg-type]

    assert (b"ok", 1) == found(kept)


@pytest.mark.parametrize(("asked", "told"), [(request(), answer(status=410)), (request("POST"), answer(status=201))])
def test_what_ends_it_need_not_be_whole(asked: RequestHead, told: ResponseHead) -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer(), b"ok", 0.0)
    kept.keep(asked, HTTP, told, None, 0.5)

    assert found(kept) is None


def test_an_answer_that_is_not_whole_leaves_the_one_before() -> None:
    kept = memory()
    kept.keep(request(), HTTP, answer(), b"ok", 0.0)
    kept.keep(request(), HTTP, answer(), None, 0.5)

    assert (b"ok", 1) == found(kept)


def test_who_was_not_asked_for_the_longest_goes_first() -> None:
    size = len(answer().head) + 2 + KEY_BYTES + len("a") + OVERHEAD
    kept = memory(max_bytes=2 * size)
    kept.keep(request(target="/a"), HTTP, answer(), b"ok", 0.0)
    kept.keep(request(target="/b"), HTTP, answer(), b"ok", 0.0)
    found(kept, target="/a")
    kept.keep(request(target="/c"), HTTP, answer(), b"ok", 0.0)

    assert [True, False, True] == [found(kept, target=target) is not None for target in ("/a", "/b", "/c")]


def test_an_answer_that_is_larger_than_all_the_memory_is_not_kept() -> None:
    kept = memory(max_bytes=2000)
    kept.keep(request(), HTTP, answer(length=1000), b"x" * 1000, 0.0)

    assert 0 == kept.size_bytes


def test_one_url_has_a_bounded_number_of_variants() -> None:
    kept = memory()
    for number in range(MOST_VARIANTS + 1):
        kept.keep(request("GET", "/", f"Accept: {number}"), HTTP, answer("Vary: Accept"), b"ok", 0.0)

    assert found(kept, "Accept: 0") is None
    assert (b"ok", 1) == found(kept, f"Accept: {MOST_VARIANTS}")
    numbers = sum(len(str(number)) for number in range(1, MOST_VARIANTS + 1))
    each = len(answer("Vary: Accept").head) + 2 + KEY_BYTES + len("accept") + OVERHEAD
    assert MOST_VARIANTS * each + numbers == kept.size_bytes


def test_the_head_of_a_kept_answer_has_neither_its_age_nor_the_id_of_another_request() -> None:
    kept = as_kept(answer("Age: 3", "X: y", "X-Request-Id: theirs"))

    left = [kept.head[begin:end] for begin, end in kept.cuts]
    assert {b"\nAge: 3\r", b"\nX-Request-Id: theirs\r"} <= set(left)
    assert not kept.has_request_id


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(0, 3), st.integers(0, 3000), st.sampled_from(["keep", "find", "post"])
        ),
        max_size=60,
    )
)
def test_memory_stays_within_its_bound_and_is_counted_right(steps: list[tuple[int, int, int, str]]) -> None:
    kept = memory(duration=5.0, max_bytes=8000)
    for now, (url, accept, length, what) in enumerate(steps):
        head = request("POST" if what == "post" else "GET", f"/{url}", f"Accept: {accept}")
        if what == "find":
            kept.find(head, HTTP, float(now))
        else:
            kept.keep(head, HTTP, answer("Vary: Accept", length=length), b"x" * length, float(now))
        real = sum(one.size_bytes for held in kept._resources.values() for one in held.variants.values())

        assert real == kept.size_bytes
        assert all(held.variants for held in kept._resources.values())
        assert kept.size_bytes <= 8000


def test_of_several_variants_only_the_one_that_is_too_old_goes() -> None:
    kept = memory()
    for accept, control in (("a", "s-maxage=5"), ("b", "s-maxage=50")):
        told = answer("Vary: Accept", f"Cache-Control: {control}")
        kept.keep(request("GET", "/", f"Accept: {accept}"), HTTP, told, b"ok", 0.0)

    assert found(kept, "Accept: a", now=10.0) is None
    assert (b"ok", 10) == found(kept, "Accept: b", now=10.0)
