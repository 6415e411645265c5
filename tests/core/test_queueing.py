"""Promises of `proxy.core.writes.queueing`."""

from __future__ import annotations

import json

import pytest

from proxy.core.wire.http1_answers import ResponseHead
from proxy.core.writes.idempotency import Kept
from proxy.core.writes.queueing import (
    CHECKED,
    LONGEST_WAIT,
    Queued,
    QueuedState,
    acceptance,
    report,
    unknown,
    wait_after,
)

HEAD = b"HTTP/1.1 201 Created\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX: \xe4\r\nContent-Length: 2\r\n\r\n"


def told(queued: Queued | None) -> tuple[ResponseHead, dict[str, object]]:
    head, body = report(queued)
    document: dict[str, object] = json.loads(body)
    return ResponseHead(head, CHECKED), document


def test_an_accepted_write_is_answered_with_the_place_to_ask() -> None:
    head, body = acceptance("abc")

    read = ResponseHead(head, CHECKED)
    assert (202, len(body)) == (read.status, read.length)
    assert b"\r\nLocation: /.failover/writes/abc\r\n" in head
    assert {"state": "pending", "status_url": "/.failover/writes/abc"} == json.loads(body)


@pytest.mark.parametrize(("may_be_executed", "executed"), [(False, "no"), (True, "unknown")])
def test_one_that_waits_says_since_when_and_what_is_known(may_be_executed: bool, executed: str) -> None:  # noqa: FBT001
    head, document = told(Queued(QueuedState.PENDING, 1.5, 3, may_be_executed))

    assert {
        "state": "pending",
        "accepted": "1970-01-01T00:00:01.500Z",
        "tries": 3,
        "executed": executed,
    } == document
    assert b"\r\nRetry-After: 1\r\n" in head.head


def test_one_that_was_delivered_shows_the_answer() -> None:
    head, document = told(Queued(QueuedState.DELIVERED, 0.0, 1, may_be_executed=False, answer=Kept(HEAD, b"ok")))

    assert (200, "delivered") == (head.status, document["state"])
    assert {
        "status": 201,
        "fields": [["Set-Cookie", "a=1"], ["set-cookie", "b=2"], ["X", "ä"], ["Content-Length", "2"]],
        "body": "ok",
    } == document["answer"]
    assert "executed" not in document


def test_a_body_that_is_no_text_is_shown_in_base64() -> None:
    _, document = told(Queued(QueuedState.DELIVERED, 0.0, 1, may_be_executed=False, answer=Kept(HEAD, b"\xff\x00")))

    answer = document["answer"]
    assert isinstance(answer, dict)
    assert ("/wA=", False) == (answer["body_base64"], "body" in answer)


def test_an_answer_that_was_not_kept_is_null() -> None:
    _, document = told(Queued(QueuedState.DELIVERED, 0.0, 1, may_be_executed=False))

    assert None is document["answer"]


def test_one_that_failed_says_whether_it_may_have_been_executed() -> None:
    head, document = told(Queued(QueuedState.FAILED, 0.0, 9, may_be_executed=True))

    assert ("failed", "unknown") == (document["state"], document["executed"])
    assert b"Retry-After" not in head.head


def test_of_one_that_nobody_knows_there_is_nothing_to_tell() -> None:
    head, document = told(None)

    assert (404, 404) == (head.status, document["status"])


def test_while_the_ledger_fails_nothing_is_said_of_any() -> None:
    head, _ = unknown()

    assert 503 == ResponseHead(head, CHECKED).status


def test_what_tells_of_a_write_is_kept_by_nobody() -> None:
    assert all(b"\r\nCache-Control: no-store\r\n" in head for head, _ in (acceptance("a"), report(None), unknown()))


def test_the_waits_between_two_tries_grow_up_to_a_bound() -> None:
    waits = [wait_after(tries) for tries in range(20)]

    assert (0.5, 1.0, 2.0) == tuple(waits[:3])
    assert (sorted(waits), LONGEST_WAIT) == (waits, waits[-1])
