"""Two readers agree on whatever the proxy sends, in both directions; and the fuzz finds what it is there to find."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

import proxy.core.wire.chunked
import proxy.core.wire.http1
import proxy.core.wire.http1_answers
from proxy.core.wire.grammar import CHUNKED, COUNTED, Body
from proxy.core.wire.http1_answers import ResponseHead
from proxy.dataplane.backends.upstream import Upstream
from proxy.dataplane.clients.downstream import Downstream
from proxy.dataplane.exchanges.upload import Upload
from tests.fuzz.readers import Finding
from tests.fuzz.run import ANSWERS, REQUESTS, SIDES, Side, run

SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
ENOUGH = 100_000
"""Inputs within which a planted mistake must be found."""


REACHED = {
    "requests": {
        "forwarded",
        "not refused",
        *(f"refused with {n}" for n in (400, 408, 413, 417, 431, 501, 505)),
    },
    "answers": {"whole", "broken", "kept", "ours"},
}
"""What must have become of some of the inputs, or the fuzz would prove little."""


@pytest.mark.parametrize("side", SIDES)
def test_whatever_comes_two_readers_see_the_same_in_what_is_sent(side: str) -> None:
    seen = run(SIDES[side], SECONDS, SEED)

    print(side, dict(seen))
    assert set() == REACHED[side] - set(seen)


def lenient_length(value: bytes) -> int:
    return int(value.replace(b",", b"")) if value else 0


def lenient_framing(self: ResponseHead, coding: bytes, *, to_head: bool) -> Body:
    return CHUNKED if coding else COUNTED


def forgetful_feed(self: Upload, data: bytes, feed: Callable[[Upload, bytes], bytes] = Upload.feed) -> bytes:
    feed(self, data)
    return b""


PLANTED = [
    pytest.param(
        REQUESTS, proxy.core.wire.http1, "check_coding", lambda value, minor: None, id="any coding is chunked"
    ),
    pytest.param(REQUESTS, proxy.core.wire.http1, "content_length", lenient_length, id="a length may be signed"),
    pytest.param(REQUESTS, proxy.core.wire.http1, "is_host", lambda value: True, id="any Host will do"),
    pytest.param(
        REQUESTS, proxy.core.wire.http1, "nominated", lambda options: options, id="Connection strips anything"
    ),
    pytest.param(
        REQUESTS,
        proxy.core.wire.chunked,
        "_SIZE_LINE",
        re.compile(rb"\s*([0-9A-Fa-f]{1,16})[^\n]*\Z"),
        id="a chunk's size may be followed by anything",
    ),
    pytest.param(REQUESTS, proxy.core.wire.chunked, "_FORBIDDEN_TRAILERS", frozenset(), id="a trailer may frame"),
    pytest.param(REQUESTS, Upload, "feed", forgetful_feed, id="what follows a body is lost"),
    pytest.param(ANSWERS, ResponseHead, "_framing", lenient_framing, id="an answer may have both lengths"),
    pytest.param(
        ANSWERS, Upstream, "data_received", lambda self, data: self._sink(data), id="idle bytes are an answer"
    ),
    pytest.param(ANSWERS, ResponseHead, "_heed_connection", lambda *_: None, id="a backend's close is ignored"),
    pytest.param(ANSWERS, Downstream, "reset", Downstream.close, id="a break shows as an end"),
    pytest.param(
        ANSWERS, proxy.core.wire.http1_answers, "nominated", lambda options: options, id="Connection strips anything"
    ),
]


@pytest.mark.parametrize(("side", "where", "name", "mistake"), PLANTED)
def test_a_planted_mistake_is_found(
    monkeypatch: pytest.MonkeyPatch, side: Side, where: object, name: str, mistake: object
) -> None:
    monkeypatch.setattr(where, name, mistake)

    with pytest.raises(AssertionError, match="smallest: ") as error:
        run(side, 60, SEED, ENOUGH)
    assert isinstance(error.value.__cause__, Finding)
