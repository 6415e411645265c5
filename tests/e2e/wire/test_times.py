"""How long the proxy waits: slow heads, slow bodies, idle connections, backends that say nothing.

Limits of a fraction of a second, so that each of them is reached. What is compared is what comes, not when.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.wire.case import AT_MOST_A_PART, NOTHING, Act, Await, Case, End, Got, Sent, get, lines, onward, post
from tests.e2e.wire.corpus.lengths import CHUNKED, HELLO, LINE
from tests.e2e.wire.ends import whole
from tests.e2e.wire.rig import config, listen, serving
from tests.e2e.wire.stage import Stage
from tests.e2e.wire.test_corpus import check

SLOW = Got(408, None, End.CLOSED)
SILENT = Got(504, None)
GONE = Got(0, end=End.CLOSED)
UPLOADED = Sent(onward(line=LINE, last=(HELLO,)), b"hello", is_whole=False)
SWITCH = (b"Connection: upgrade", b"Upgrade: a")
TIMEOUTS = {
    "request_head": "200ms",
    "client_idle": "400ms",
    "first_byte": "300ms",
    "stall": "300ms",
    "tunnel_idle": "300ms",
}

CLIENTS = (
    Case("half a head is cut", "RFC 9110 15.5.9", (get()[:-2],), NOTHING, SLOW),
    Case("one byte is cut", "RFC 9110 15.5.9", (b"G",), NOTHING, SLOW),
    Case("a client that says nothing is let go", "RFC 9112 9.5", (b"\r\n",), NOTHING, GONE),
    Case("half a counted body is cut", "RFC 9110 15.5.9", (post(HELLO) + b"he",), AT_MOST_A_PART, SLOW),
    Case("half a chunk is cut", "RFC 9110 15.5.9", (post(CHUNKED) + b"5\r\nhe",), AT_MOST_A_PART, SLOW),
    Case("a body that never begins is cut", "RFC 9110 15.5.9", (post(HELLO),), AT_MOST_A_PART, SLOW),
    Case(
        "a client that is idle after its answer is let go",
        "RFC 9112 9.5",
        (get(), Act.GONE),
        Sent(onward()),
        Got(end=End.CLOSED),
    ),
    Case(
        "a tunnel in which nothing moves is let go",
        "RFC 9110 7.8",
        (get(*SWITCH), Act.GONE),
        Sent(onward(last=SWITCH), b""),
        Got(101, b"hi", End.CLOSED),
        (Await(b"\r\n\r\n"), lines(b"HTTP/1.1 101 Switching Protocols", *SWITCH) + b"hi", Act.GONE),
    ),
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"
BACKENDS = (
    Case("no answer is 504", "RFC 9110 15.6.5", (get(),), Sent(onward()), SILENT, (Act.WHOLE, Act.GONE)),
    Case(
        "half a head of an answer is 504",
        "RFC 9110 15.6.5",
        (get(),),
        Sent(onward()),
        SILENT,
        (Act.WHOLE, b"HTTP/1.1 200", Act.GONE),
    ),
    Case(
        "an interim answer and then nothing is 504",
        "RFC 9110 15.6.5",
        (get(),),
        Sent(onward()),
        Got(504, None, interims=(lines(b"HTTP/1.1 102 Processing"),)),
        (Act.WHOLE, lines(b"HTTP/1.1 102 Processing"), Act.GONE),
    ),
    Case(
        "half an answer is 504 where it was held",
        "RFC 9110 15.6.5",
        (get(),),
        Sent(onward()),
        SILENT,
        (Act.WHOLE, ANSWER, Act.GONE),
    ),
    Case(
        "half an answer shows as broken where it was streamed",
        "RFC 9112 8",
        (post(),),
        Sent(onward(line=LINE)),
        Got(200, b"he", End.BROKEN),
        (Act.WHOLE, ANSWER, Act.GONE),
    ),
    Case(
        "no answer to a write is 504 and says what may have happened",
        "RFC 9110 15.6.5",
        (post(HELLO) + b"hello",),
        Sent(onward(line=LINE, last=(HELLO,)), b"hello"),
        Got(
            504,
            None,
            names=(
                b'Proxy-Status: failover-proxy; error=http_response_timeout; details="request may have been executed"',
            ),
        ),
        (Act.WHOLE, Act.GONE),
    ),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with listen() as backend:
        document = config(pools={"app": [f"127.0.0.1:{backend.getsockname()[1]}"]}, defaults={"timeouts": TIMEOUTS})
        with serving(tmp_path_factory.mktemp("times"), document) as proxy:
            stage = Stage(backend, proxy)
            yield stage
            stage.close()


@pytest.mark.parametrize("between", [False, True], ids=["alone", "behind a good request"])
@pytest.mark.parametrize("case", CLIENTS + BACKENDS, ids=lambda case: case.name)
def test_case(stage: Stage, case: Case, between: bool) -> None:  # noqa: FBT001 - a test's parameter
    check(case, stage.play(case, whole, between=between))
