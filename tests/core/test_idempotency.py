"""Promises of `proxy.core.writes.idempotency`."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.requests.decisions import Refuse
from proxy.core.settings import IdempotencyPolicy
from proxy.core.writes import idempotency
from proxy.core.writes.idempotency import (
    Entry,
    KeyState,
    Verdict,
    concerns,
    fingerprint,
    is_final,
    judge,
    key_id,
    read_key,
)
from proxy.errors import ErrorKind

POLICY = IdempotencyPolicy()
DISHONOURED = IdempotencyPolicy(honoured=False)
SHARED = IdempotencyPolicy(shares_keys=True)
SAME, OTHER = b"same", b"other"
parts = st.binary(max_size=12)


def entry(state: KeyState) -> Entry:
    return Entry(1, SAME, state, "b0", 7)


# Which requests are keyed


def test_a_key_is_heeded_where_a_repeat_would_do_more() -> None:
    methods = (b"POST", b"PATCH", b"BREW", b"PUT", b"GET")

    assert [b"POST", b"PATCH", b"BREW"] == [method for method in methods if concerns(POLICY, method)]


def test_a_key_may_be_asked_of_an_idempotent_method_too() -> None:
    assert concerns(IdempotencyPolicy(require_for=("PUT",)), b"PUT")


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([b"8e03978e-40d5-43dd-bc93-6894a57f9324"], b"8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ([b'"8e03978e"'], b"8e03978e"),
        ([rb'"a\"b\\c"'], rb'a"b\c'),
        ([b'"two words"'], b"two words"),
        ([b"k" * 255], b"k" * 255),
        ([], None),
        ([b""], None),
        ([b'""'], None),
        ([b"k" * 256], None),
        ([b"one, two"], None),
        ([b"one,two"], None),
        ([b'"open'], None),
        ([b'"a";b=1'], None),
        ([b"\xc3\xa4"], None),
        ([b"a\x00b"], None),
        ([b"one", b"one"], None),
    ],
)
def test_a_key_is_one_value_bare_or_in_quotation_marks(values: list[bytes], key: bytes | None) -> None:
    assert key == read_key(values)


# By what a repeat is known


@given(parts, parts, parts, parts)
def test_keys_of_two_clients_never_meet(one: bytes, two: bytes, key: bytes, other: bytes) -> None:
    equal = (one, key) == (two, other)

    assert equal is (key_id("app", [one], key) == key_id("app", [two], other))


def test_keys_of_two_pools_never_meet() -> None:
    assert key_id("a", [], b"bc") != key_id("ab", [], b"c")


def test_what_a_key_is_stored_as_tells_neither_key_nor_credential() -> None:
    stored = key_id("app", [b"Bearer secret"], b"order-1")

    assert 32 == len(stored)
    assert b"secret" not in stored
    assert b"order-1" not in stored


@given(st.tuples(parts, parts, parts), st.tuples(parts, parts, parts))
def test_a_fingerprint_is_of_method_target_and_body(
    one: tuple[bytes, bytes, bytes], two: tuple[bytes, bytes, bytes]
) -> None:
    assert (one == two) is (fingerprint(*one) == fingerprint(*two))


# What a repeat gets


@pytest.mark.parametrize("state", KeyState)
def test_another_request_with_the_same_key_is_told_so_whatever_became_of_the_first(state: KeyState) -> None:
    assert Verdict.MISMATCH is judge(entry(state), OTHER, POLICY)


@pytest.mark.parametrize(
    ("state", "policy", "verdict"),
    [
        (KeyState.RUNNING, POLICY, Verdict.CONFLICT),
        (KeyState.RUNNING, SHARED, Verdict.CONFLICT),
        (KeyState.DONE, POLICY, Verdict.REPLAY),
        (KeyState.DONE, DISHONOURED, Verdict.REPLAY),
        (KeyState.QUEUED, POLICY, Verdict.QUEUED),
        (KeyState.UNKNOWN, POLICY, Verdict.ONLY_TO),
        (KeyState.UNKNOWN, SHARED, Verdict.RUN),
        (KeyState.UNKNOWN, DISHONOURED, Verdict.UNKNOWN),
    ],
)
def test_a_repeat_gets_what_is_known_of_the_first(state: KeyState, policy: IdempotencyPolicy, verdict: Verdict) -> None:
    assert verdict is judge(entry(state), SAME, policy)


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 402, 404, 410, 422])
def test_an_answer_about_the_write_settles_it(status: int) -> None:
    assert is_final(status, POLICY)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_an_answer_about_the_moment_settles_nothing_where_the_backend_may_be_asked_again(status: int) -> None:
    assert (False, True) == (is_final(status, POLICY), is_final(status, DISHONOURED))


# What a client is told


def test_a_denial_becomes_a_refusal_in_its_own_words() -> None:
    expected = Refuse(
        ErrorKind.HTTP_REQUEST_DENIED,
        409,
        "soon",
        None,
        1,
        "idempotency_key_busy",
        "A request with this idempotency key is being processed",
    )

    assert expected == idempotency.BUSY.refuse("soon")


def test_what_was_not_sent_for_a_store_that_fails_is_said_not_to_be_executed() -> None:
    denials = (idempotency.STORE_FAILED, idempotency.STORE_FULL)

    assert [(503, "no", 1)] * 2 == [(one.status, one.executed, one.retry_after) for one in denials]


def test_entries_are_values() -> None:
    assert entry(KeyState.DONE) == replace(entry(KeyState.RUNNING), state=KeyState.DONE)
