"""Answers without a body, before the answer, in other versions, and how their heads and bodies go on to the client."""

from __future__ import annotations

from tests.e2e.wire.case import Act, Case, End, Got, answered, back, get, lines, post
from tests.e2e.wire.corpus.answers import CHUNKED, FRAMED, HELLO, TWO, answer

HEAD = get(line=b"HEAD / HTTP/1.1")
OLD = get(line=b"GET / HTTP/1.0")
OLD_KEPT = get(b"Connection: keep-alive", line=b"GET / HTTP/1.0")


def whole(name: str, section: str, said: bytes, head: bytes, body: bytes = b"", **changes: object) -> Case:
    """An answer that goes on with this head and body; both connections stay."""
    request = changes.pop("request", get())
    return answered(
        name, section, said, Got(int(head[9:12]), body, head=head), request=request, is_upstream_kept=True, **changes
    )


NO_BODY = (
    whole("an answer to HEAD keeps its length", "RFC 9110 9.3.2", answer(HELLO), back(HELLO), request=HEAD),
    whole("an answer to HEAD may have no length", "RFC 9110 9.3.2", answer(b"X-A: 1"), back(b"X-A: 1"), request=HEAD),
    whole("an answer to HEAD may announce chunks", "RFC 9110 9.3.2", answer(CHUNKED), back(), request=HEAD),
    whole(
        "a 204 has no length",
        "RFC 9110 8.6",
        answer(b"Content-Length: 0", line=b"HTTP/1.1 204 No Content"),
        back(line=b"HTTP/1.1 204 No Content"),
    ),
    whole(
        "a 304 keeps the length of what it stands for",
        "RFC 9110 8.6",
        answer(HELLO, b'ETag: "a"', line=b"HTTP/1.1 304 Not Modified"),
        back(HELLO, b'ETag: "a"', line=b"HTTP/1.1 304 Not Modified"),
    ),
    whole(
        "a 304 needs no length",
        "RFC 9112 6.3",
        answer(line=b"HTTP/1.1 304 Not Modified"),
        back(line=b"HTTP/1.1 304 Not Modified"),
    ),
    whole("an answer may be empty", "RFC 9112 6.3", answer(b"Content-Length: 0"), back(b"Content-Length: 0")),
)
WITH_BODY = (
    whole("a counted answer goes on", "RFC 9112 6.3", answer(HELLO) + b"hello", back(HELLO), b"hello"),
    whole(
        "a chunked answer goes on in chunks",
        "RFC 9112 7.1",
        answer(CHUNKED) + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        back(last=FRAMED),
        b"hello",
    ),
    whole("an empty chunked answer goes on", "RFC 9112 7.1", answer(CHUNKED) + b"0\r\n\r\n", back(last=FRAMED)),
    whole(
        "a large answer goes on",
        "RFC 9112 6.3",
        answer(b"Content-Length: 300000") + b"x" * 300_000,
        back(b"Content-Length: 300000"),
        b"x" * 300_000,
    ),
    whole(
        "a large chunked answer goes on",
        "RFC 9112 7.1",
        answer(CHUNKED) + b"493e0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n",
        back(last=FRAMED),
        b"x" * 300_000,
    ),
    whole("an answer to POST goes on", "RFC 9112 6.3", answer(HELLO) + b"hello", back(HELLO), b"hello", request=post()),
    whole(
        "a chunked answer to POST goes on",
        "RFC 9112 7.1",
        answer(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n",
        back(last=FRAMED),
        b"hello",
        request=post(),
    ),
    answered(
        "trailers of an answer go on",
        "RFC 9110 6.5",
        answer(CHUNKED) + b"2\r\nok\r\n0\r\nX-Sum: 1\r\nx-b: \xff\r\n\r\n",
        Got(trailer=((b"X-Sum", b"1"), (b"x-b", b"\xff"))),
    ),
    answered(
        "trailers of an answer to POST go on",
        "RFC 9110 6.5",
        answer(CHUNKED) + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        Got(trailer=((b"X-Sum", b"1"),)),
        request=post(),
    ),
    whole(
        "a length keeps its zeros",
        "RFC 9112 6.3",
        answer(b"Content-Length: 005") + b"hello",
        back(b"Content-Length: 005"),
        b"hello",
    ),
    whole(
        "an error of the backend goes on",
        "RFC 9110 15.6",
        answer(TWO, line=b"HTTP/1.1 500 Oh") + b"ok",
        back(TWO, line=b"HTTP/1.1 500 Oh"),
        b"ok",
    ),
    whole(
        "an unknown status goes on",
        "RFC 9110 15",
        answer(TWO, line=b"HTTP/1.1 599 Odd") + b"ok",
        back(TWO, line=b"HTTP/1.1 599 Odd"),
        b"ok",
    ),
    whole(
        "a reason may be empty",
        "RFC 9112 4",
        answer(TWO, line=b"HTTP/1.1 200 ") + b"ok",
        back(TWO, line=b"HTTP/1.1 200 "),
        b"ok",
    ),
    whole(
        "a reason may be missing",
        "RFC 9112 4",
        answer(TWO, line=b"HTTP/1.1 200") + b"ok",
        back(TWO, line=b"HTTP/1.1 200"),
        b"ok",
    ),
    whole(
        "a reason may hold bytes beyond ASCII",
        "RFC 9112 4",
        answer(TWO, line=b"HTTP/1.1 200 \xff") + b"ok",
        back(TWO, line=b"HTTP/1.1 200 \xff"),
        b"ok",
    ),
)
UNTIL_CLOSE = (
    answered(
        "an answer until the close goes on in chunks",
        "RFC 9112 6.3",
        answer(b"X-A: 1") + b"hello",
        Got(body=b"hello", head=back(b"X-A: 1", last=FRAMED)),
        Act.CLOSE,
        is_upstream_kept=False,
    ),
    answered(
        "an answer until the close may be empty",
        "RFC 9112 6.3",
        answer(),
        Got(body=b"", head=back(last=FRAMED)),
        Act.CLOSE,
    ),
    answered(
        "an answer until the close goes to HTTP/1.0 until the close",
        "RFC 9112 6.3",
        answer() + b"hello",
        Got(body=b"hello", end=End.CLOSED, head=back(last=(b"Connection: close",))),
        Act.CLOSE,
        request=OLD,
    ),
    answered(
        "an answer until a reset is broken where it was held",
        "RFC 9112 8",
        answer() + b"hello",
        Got(502, None),
        Act.RESET,
    ),
    answered(
        "an answer until a reset shows as broken where it was streamed",
        "RFC 9112 8",
        answer() + b"hello",
        Got(200, None, End.BROKEN),
        Act.HEARD,
        Act.RESET,
        request=post(),
    ),
    answered(
        "an answer until a reset shows as broken to HTTP/1.0",
        "RFC 9112 8",
        answer() + b"hello",
        Got(200, None, End.BROKEN),
        Act.HEARD,
        Act.RESET,
        request=get(line=b"POST / HTTP/1.0"),
    ),
)
VERSIONS = (
    answered(
        "an HTTP/1.0 backend's answer becomes HTTP/1.1",
        "RFC 9110 2.5",
        answer(TWO, line=b"HTTP/1.0 200 OK") + b"ok",
        Got(head=back(TWO)),
        is_upstream_kept=False,
    ),
    answered(
        "an HTTP/1.0 backend that keeps its connection is used again",
        "RFC 9112 9.3",
        answer(TWO, b"Connection: keep-alive", line=b"HTTP/1.0 200 OK") + b"ok",
        Got(head=back(TWO)),
        is_upstream_kept=True,
    ),
    answered(
        "an HTTP/1.0 backend's body ends with its connection",
        "RFC 9112 6.3",
        answer(line=b"HTTP/1.0 200 OK") + b"ok",
        Got(head=back(last=FRAMED)),
        Act.CLOSE,
    ),
    answered(
        "a backend that closes is not used again",
        "RFC 9112 9.6",
        answer(TWO, b"Connection: close") + b"ok",
        Got(head=back(TWO)),
        Act.GONE,
        is_upstream_kept=False,
    ),
    answered(
        "a backend that closes by one of several options is not used again",
        "RFC 9112 9.6",
        answer(TWO, b"Connection: x, Close") + b"ok",
        Got(head=back(TWO)),
        Act.GONE,
        is_upstream_kept=False,
    ),
    answered(
        "HTTP/1.0 gets no chunks",
        "RFC 9112 7.1",
        answer(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n",
        Got(body=b"hello", end=End.CLOSED, head=back(last=(b"Connection: close",))),
        request=OLD,
    ),
    answered(
        "HTTP/1.0 that wants to go on gets no chunks and a close",
        "RFC 9112 9.3",
        answer(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n",
        Got(body=b"hello", end=End.CLOSED, head=back(last=(b"Connection: close",))),
        request=OLD_KEPT,
    ),
    answered(
        "HTTP/1.0 that wants to go on may with a length",
        "RFC 9112 9.3",
        answer(TWO) + b"ok",
        Got(head=back(TWO, last=(b"Connection: keep-alive",))),
        request=OLD_KEPT,
    ),
    answered(
        "a client that closes is told so",
        "RFC 9112 9.6",
        answer(TWO) + b"ok",
        Got(end=End.CLOSED, head=back(TWO, last=(b"Connection: close",))),
        request=get(b"Connection: close"),
        is_upstream_kept=True,
    ),
)
EARLY = (
    answered(
        "interim answers go on before the answer",
        "RFC 9110 15.2",
        answer(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints")
        + answer(line=b"HTTP/1.1 102 Processing")
        + answer(TWO)
        + b"ok",
        Got(interims=(lines(b"HTTP/1.1 103 Early Hints", b"Link: </a>"), lines(b"HTTP/1.1 102 Processing"))),
        is_upstream_kept=True,
    ),
    answered(
        "interim answers do not go to HTTP/1.0",
        "RFC 9110 15.2",
        answer(line=b"HTTP/1.1 103 Early Hints") + answer(TWO) + b"ok",
        Got(end=End.CLOSED),
        request=OLD,
    ),
    answered(
        "an interim answer has no length",
        "RFC 9110 8.6",
        answer(HELLO, line=b"HTTP/1.1 103 Early Hints") + answer(TWO) + b"ok",
        Got(interims=(lines(b"HTTP/1.1 103 Early Hints"),)),
    ),
    answered(
        "hop-by-hop fields of an interim answer stay here",
        "RFC 9110 7.6.1",
        answer(b"Connection: x-a", b"X-A: 1", b"Keep-Alive: 5", b"X-B: 1", line=b"HTTP/1.1 103 Early Hints")
        + answer(TWO)
        + b"ok",
        Got(interims=(lines(b"HTTP/1.1 103 Early Hints", b"X-B: 1"),)),
    ),
    answered(
        "interim answers without end are 502",
        "RFC 9110 15.2",
        answer(line=b"HTTP/1.1 102 Processing") * 200,
        Got(502, None, interims=None),
        Act.GONE,
        answer_whole=True,
    ),
    answered(
        "an interim answer and then nothing is 502",
        "RFC 9110 15.2",
        answer(line=b"HTTP/1.1 103 Early Hints"),
        Got(502, None, interims=(lines(b"HTTP/1.1 103 Early Hints"),)),
        Act.CLOSE,
    ),
)

CASES = (*NO_BODY, *WITH_BODY, *UNTIL_CLOSE, *VERSIONS, *EARLY)
