"""Requests and answers that overlap: `Expect`, answers during an upload, early answers, upgrades, half-closed clients."""

from __future__ import annotations

from tests.e2e.wire.case import (
    ID,
    OK,
    VIA,
    Act,
    Await,
    Case,
    End,
    Got,
    Sent,
    get,
    lines,
    onward,
    passed,
    post,
)
from tests.e2e.wire.corpus.lengths import CHUNKED, HELLO
from tests.e2e.wire.corpus.lengths import LINE as POST_LINE

EXPECT = b"Expect: 100-continue"
CONTINUE = lines(b"HTTP/1.1 100 Continue")
PROCESSING = lines(b"HTTP/1.1 102 Processing")
EMPTY_LINE = Await(b"\r\n\r\n")
"""The end of a head."""
DENIED = lines(b"HTTP/1.1 413 Content Too Large", b"Content-Length: 2") + b"no"
UPLOADED = onward(line=POST_LINE, last=(HELLO,))
EXPECTING = onward(EXPECT, line=POST_LINE, last=(HELLO,))

EXPECTATIONS = (
    Case(
        "100-continue is asked of the backend, whose answer goes on",
        "RFC 9110 10.1.1",
        (post(EXPECT, HELLO), Await(CONTINUE), b"hello"),
        Sent(EXPECTING, b"hello"),
        Got(interims=(CONTINUE,)),
        (EMPTY_LINE, CONTINUE, Act.WHOLE, OK),
        is_upstream_kept=True,
    ),
    Case(
        "a chunked body may be waited for as well",
        "RFC 9110 10.1.1",
        (post(EXPECT, CHUNKED), Await(CONTINUE), b"5\r\nhello\r\n0\r\n\r\n"),
        Sent(onward(EXPECT, line=POST_LINE, last=(CHUNKED,)), b"hello"),
        Got(interims=(CONTINUE,)),
        (EMPTY_LINE, CONTINUE, Act.WHOLE, OK),
    ),
    Case(
        "a client need not wait for 100",
        "RFC 9110 10.1.1",
        (post(EXPECT, HELLO) + b"hello",),
        Sent(EXPECTING, b"hello"),
        Got(interims=(CONTINUE,)),
        (EMPTY_LINE, CONTINUE, Act.WHOLE, OK),
    ),
    Case(
        "a backend need not say 100",
        "RFC 9110 10.1.1",
        (post(EXPECT, HELLO) + b"hello",),
        Sent(EXPECTING, b"hello"),
    ),
    Case(
        "an expectation has no case",
        "RFC 9110 10.1.1",
        (post(b"Expect: 100-Continue", HELLO) + b"hello",),
        Sent(onward(b"Expect: 100-Continue", line=POST_LINE, last=(HELLO,)), b"hello"),
    ),
    Case(
        "a final answer instead of 100 ends both connections",
        "RFC 9110 10.1.1",
        (post(EXPECT, HELLO),),
        Sent(EXPECTING, is_whole=False),
        Got(413, b"no", End.CLOSED, names=(b"Connection: close",)),
        (EMPTY_LINE, DENIED, Act.GONE),
        is_upstream_kept=False,
    ),
    Case(
        "a body behind a final answer instead of 100 is never a request",
        "RFC 9110 10.1.1",
        (post(EXPECT, b"Content-Length: 43"), Await(b"no"), b"GET /second HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        Sent(onward(EXPECT, line=POST_LINE, last=(b"Content-Length: 43",)), is_whole=False),
        Got(413, b"no", End.CLOSED),
        (EMPTY_LINE, DENIED, Act.GONE),
        is_upstream_kept=False,
    ),
    passed("an expectation without a body goes on", "RFC 9110 10.1.1", get(EXPECT), onward(EXPECT)),
    passed(
        "an expectation of HTTP/1.0 is ignored",
        "RFC 9110 10.1.1",
        get(EXPECT, b"Connection: keep-alive", line=b"GET / HTTP/1.0"),
        onward(),
    ),
)
UPLOADS = (
    Case(
        "interim answers go on during an upload",
        "RFC 9110 15.2",
        (post(HELLO) + b"he", Await(PROCESSING), b"llo"),
        Sent(UPLOADED, b"hello"),
        Got(interims=(PROCESSING, PROCESSING)),
        (Await(b"he"), PROCESSING, Act.WHOLE, PROCESSING, OK),
        is_upstream_kept=True,
    ),
    Case(
        "an early answer to an upload closes both connections",
        "RFC 9112 9.3",
        (post(HELLO) + b"he",),
        Sent(UPLOADED, b"hello", is_whole=False),
        Got(413, b"no", End.CLOSED, names=(b"Connection: close",)),
        (Await(b"he"), DENIED, Act.GONE),
        is_upstream_kept=False,
    ),
    Case(
        "an early answer to a chunked upload closes both connections",
        "RFC 9112 9.3",
        (post(CHUNKED) + b"2\r\n!!\r\n",),
        Sent(onward(line=POST_LINE, last=(CHUNKED,)), b"!!", is_whole=False),
        Got(413, b"no", End.CLOSED, names=(b"Connection: close",)),
        (Await(b"!"), DENIED, Act.GONE),
        is_upstream_kept=False,
    ),
    Case(
        "what is uploaded after an early answer is never a request",
        "RFC 9112 9.3",
        (post(b"Content-Length: 100") + b"he", Await(b"no"), get() * 3),
        Sent(onward(line=POST_LINE, last=(b"Content-Length: 100",)), b"he" + get() * 3, is_whole=False),
        Got(413, b"no", End.CLOSED),
        (Await(b"he"), DENIED, Act.GONE),
        is_upstream_kept=False,
    ),
    Case(
        "a backend that closes during an upload is 502",
        "RFC 9112 9.5",
        (post(HELLO) + b"he",),
        Sent(UPLOADED, b"hello", is_whole=False),
        Got(502, None, End.CLOSED),
        (Await(b"he"), Act.CLOSE),
    ),
    Case(
        "a client that leaves during an upload ends the request",
        "RFC 9112 9.5",
        (post(HELLO) + b"he", Act.HEARD, Act.CLOSE),
        Sent(UPLOADED, b"hello", is_whole=False),
        Got(0, end=End.CLOSED),
        (Act.GONE,),
    ),
    Case(
        "an answer that comes while the body still comes goes on",
        "RFC 9112 9.3",
        (post(HELLO) + b"he", Await(b"early"), b"llo"),
        Sent(UPLOADED, b"hello"),
        Got(body=b"early and late", end=End.CLOSED),
        (Await(b"he"), lines(b"HTTP/1.1 200 OK", b"Content-Length: 14") + b"early", Act.WHOLE, b" and late"),
    ),
)
SOUNDED = None
"""Whoever has ended its side may be asked by an interim answer whether it is still there: see `Downstream.sound`."""
HALF_CLOSED = (
    Case(
        "a client that says it has no more requests is answered",
        "RFC 9112 9.6",
        (get(), Act.END),
        Sent(onward()),
        Got(end=End.CLOSED, interims=SOUNDED),
    ),
    Case(
        "a client that says so behind a body is answered",
        "RFC 9112 9.6",
        (post(HELLO) + b"hello", Act.END),
        Sent(UPLOADED, b"hello"),
        Got(end=End.CLOSED, interims=SOUNDED),
    ),
    Case(
        "a client that leaves before its answer gets none, and nobody else gets it",
        "RFC 9112 9.5",
        (get(), Act.HEARD, Act.RESET),
        Sent(onward()),
        Got(0, end=End.CLOSED),
        (Act.GONE,),
        is_upstream_kept=False,
    ),
)

SWITCH = (b"Connection: Upgrade", b"Upgrade: websocket")
ASKED = (b"Connection: upgrade", b"Upgrade: websocket")
SWITCHED = lines(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", b"X-A: 1")
TO_SWITCH = onward(last=ASKED)
SWITCHED_BACK = lines(b"HTTP/1.1 101 Switching Protocols", b"X-A: 1", VIA, ID, *ASKED)


def tunnel(name: str, client: tuple[object, ...], body: bytes, backend: tuple[object, ...], got: bytes) -> Case:
    """A connection that becomes a tunnel: `body` must come to the backend, `got` to the client."""
    return Case(
        name,
        "RFC 9110 7.8",
        (get(*SWITCH), *client),
        Sent(TO_SWITCH, body),
        Got(101, got, End.CLOSED, head=SWITCHED_BACK),
        (EMPTY_LINE, SWITCHED, *backend),
    )


UPGRADES = (
    tunnel(
        "bytes pass both ways",
        (Await(b"ping"), b"pong", Act.GONE),
        b"pong",
        (b"ping", Await(b"pong"), Act.CLOSE),
        b"ping",
    ),
    tunnel(
        "a client may end first and still hear",
        (EMPTY_LINE, b"bye", Act.END, Act.GONE),
        b"bye",
        (Await(b"bye"), Act.GONE, b"farewell", Act.CLOSE),
        b"farewell",
    ),
    tunnel(
        "a backend may end first and still hear",
        (Await(b"farewell"), b"bye", Act.END, Act.GONE),
        b"bye",
        (b"farewell", Act.END, Await(b"bye"), Act.GONE),
        b"farewell",
    ),
    tunnel(
        "what looks like HTTP in a tunnel is not",
        (EMPTY_LINE, get() * 2, Act.END, Act.GONE),
        get() * 2,
        (Await(get() * 2), OK, Act.CLOSE),
        OK,
    ),
    tunnel(
        "large bytes pass a tunnel",
        (EMPTY_LINE, b"x" * 300_000, Await(b"yend"), Act.END, Act.GONE),
        b"x" * 300_000,
        (Await(b"x" * 300_000), b"y" * 300_000, b"end", Act.GONE, Act.CLOSE),
        b"y" * 300_000 + b"end",
    ),
    Case(
        "bytes behind an upgrade wait for the 101",
        "RFC 9110 7.8",
        (get(*SWITCH) + b"eager", Act.GONE),
        Sent(TO_SWITCH, b"eager"),
        Got(101, b"late", End.CLOSED),
        (EMPTY_LINE, SWITCHED, Await(b"eager"), b"late", Act.CLOSE),
    ),
    Case(
        "a backend need not switch",
        "RFC 9110 7.8",
        (get(*SWITCH),),
        Sent(TO_SWITCH),
        Got(),
        (EMPTY_LINE, OK),
    ),
    Case(
        "any protocol may be switched to",
        "RFC 9110 7.8",
        (get(b"Upgrade: a/1, b", b"Connection: x, upgrade", b"X: 1"), Act.GONE),
        Sent(onward(last=(b"Connection: upgrade", b"Upgrade: a/1, b"))),
        Got(101, b"", End.CLOSED),
        (EMPTY_LINE, lines(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: b", b"Connection: upgrade"), Act.CLOSE),
    ),
    *(
        Case(
            f"a backend may not switch to {what}",
            "RFC 9110 7.8",
            (get(*SWITCH),),
            Sent(TO_SWITCH),
            Got(502, None, End.KEPT),
            (EMPTY_LINE, lines(b"HTTP/1.1 101 Switching Protocols", b"Connection: upgrade", *chosen), Act.GONE),
        )
        for what, chosen in {
            "what the client did not ask for": (b"Upgrade: h2c",),
            "what the client did not ask for among what it did": (b"Upgrade: websocket", b"Upgrade: h2c"),
            "it does not say what": (),
        }.items()
    ),
    Case(
        "nothing behind an upgrade that was refused is lost",
        "RFC 9110 7.8",
        (get(*SWITCH),),
        Sent(TO_SWITCH),
        Got(426, b"no"),
        (EMPTY_LINE, lines(b"HTTP/1.1 426 Upgrade Required", b"Content-Length: 2") + b"no"),
    ),
)

CASES = (*EXPECTATIONS, *UPLOADS, *HALF_CLOSED, *UPGRADES)
