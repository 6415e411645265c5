"""Chunked request bodies: sizes, extensions, line ends, trailers. A bad one never becomes a whole request."""

from __future__ import annotations

from tests.e2e.wire.case import AT_MOST_A_PART, Act, Case, End, Got, Sent, get, onward, post, refused
from tests.e2e.wire.corpus.lengths import CHUNKED, LINE, SECOND

Trailer = tuple[tuple[bytes, bytes], ...]


def chunked(name: str, sent: bytes, body: bytes, section: str = "RFC 9112 7.1", trailer: Trailer = ()) -> Case:
    """A chunked body that arrives with the same bytes in it."""
    return Case(name, section, (post(CHUNKED) + sent,), Sent(onward(line=LINE, last=(CHUNKED,)), body, trailer))


GOOD = (
    chunked("one chunk arrives", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    chunked("chunks arrive in order", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    chunked("a body of no chunks arrives", b"0\r\n\r\n", b""),
    chunked("upper case sizes are read", b"A\r\nhelloworld\r\n0\r\n\r\n", b"helloworld"),
    chunked("lower case sizes are read", b"a\r\nhelloworld\r\n0\r\n\r\n", b"helloworld"),
    chunked("leading zeros of a size are read", b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    chunked("a chunk may look like the end", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    chunked("a chunk may look like a request", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SECOND), SECOND), SECOND),
    chunked("a chunk may hold every byte", b"100\r\n%b\r\n0\r\n\r\n" % bytes(range(256)), bytes(range(256))),
    chunked("many chunks arrive", b"1\r\nx\r\n" * 500 + b"0\r\n\r\n", b"x" * 500),
    chunked("a large chunk arrives", b"30d40\r\n%b\r\n0\r\n\r\n" % (b"x" * 200_000), b"x" * 200_000),
    chunked("an extension is dropped", b"5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello", "RFC 9112 7.1.1"),
    chunked("a quoted extension is dropped", b'5;a="b;c"\r\nhello\r\n0\r\n\r\n', b"hello", "RFC 9112 7.1.1"),
    chunked("a trailer goes on", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", b"hello", "RFC 9110 6.5", ((b"X-Sum", b"1"),)),
    chunked(
        "trailers keep order, case and repetition",
        b"0\r\nX-B: 1\r\nx-a: 2\r\nX-B: \xff\r\n\r\n",
        b"",
        "RFC 9110 6.5",
        ((b"X-B", b"1"), (b"x-a", b"2"), (b"X-B", b"\xff")),
    ),
    Case(
        "the coding's name has no case",
        "RFC 9112 7",
        (post(b"TRANSFER-ENCODING: \tChunked ") + b"5\r\nhello\r\n0\r\n\r\n",),
        Sent(onward(line=LINE, last=(CHUNKED,)), b"hello"),
    ),
    Case(
        "a GET may have chunks",
        "RFC 9110 9.3.1",
        (get(CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n",),
        Sent(onward(last=(CHUNKED,)), b"hello"),
    ),
    Case(
        "chunks that their client does not finish never become a request",
        "RFC 9112 8",
        (post(CHUNKED) + b"5\r\nhello\r\n", Act.END),
        AT_MOST_A_PART,
        Got(0, end=End.CLOSED),
    ),
    Case(
        "a last chunk without its empty line is not the end",
        "RFC 9112 7.1",
        (post(CHUNKED) + b"0\r\n", Act.END),
        AT_MOST_A_PART,
        Got(0, end=End.CLOSED),
    ),
)

BAD = {
    "a size that is no number": b"g\r\nhello\r\n0\r\n\r\n",
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
    "a size with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with a minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a size with a space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "a size with a space behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "a size with a tab behind": b"5\t\r\nhello\r\n0\r\n\r\n",
    "a size with a vertical tab": b"\x0b5\r\nhello\r\n0\r\n\r\n",
    "a size with NUL": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "a size in Arabic digits": "٥".encode() + b"\r\nhello\r\n0\r\n\r\n",
    "a size of 17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "a size that wraps around to five": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a size followed by a bare LF": b"5\nhello\r\n0\r\n\r\n",
    "a size followed by a bare CR": b"5\rhello\r\n0\r\n\r\n",
    "a size followed by CR CR LF": b"5\r\r\nhello\r\n0\r\n\r\n",
    "an extension without semicolon": b"5 a=b\r\nhello\r\n0\r\n\r\n",
    "an extension with a bare LF": b"5;a\nhello\r\n0\r\n\r\n",
    "an extension that hides a chunk behind a bare LF": b"2;\nxx\r\n4c\r\n0\r\n\r\n" + SECOND,
    "an extension with a bare CR": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "an extension with NUL": b"5;a\x00\r\nhello\r\n0\r\n\r\n",
    "an extension with DEL": b"5;a\x7f\r\nhello\r\n0\r\n\r\n",
    "an extension without end": b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk that is shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "no CRLF after a chunk": b"5\r\nhello0\r\n\r\n",
    "a bare LF after a chunk": b"5\r\nhello\n0\r\n\r\n",
    "a bare CR after a chunk": b"5\r\nhello\r0\r\n\r\n",
    "two bytes that are not CRLF after a chunk": b"5\r\nhelloXX0\r\n\r\n",
    "LF CR after a chunk": b"5\r\nhello\n\r0\r\n\r\n",
    "a bare LF after the last chunk": b"0\n\r\n",
    "a bare LF as the last line": b"0\r\n\n",
    "a bare CR as the last line": b"0\r\n\rX\r\n\r\n",
    "a trailer without colon": b"0\r\nX\r\n\r\n",
    "a trailer without name": b"0\r\n: 1\r\n\r\n",
    "a trailer with space before the colon": b"0\r\nX : 1\r\n\r\n",
    "a folded trailer": b"0\r\nX: 1\r\n 2\r\n\r\n",
    "a trailer with a bare LF": b"0\r\nX: 1\nY: 2\r\n\r\n",
    "a trailer with a bare CR": b"0\r\nX: 1\rY: 2\r\n\r\n",
    "a trailer with NUL": b"0\r\nX: \x00\r\n\r\n",
    "a trailer whose name is no token": b"0\r\nX(: 1\r\n\r\n",
    "a request in the place of a trailer": b"0\r\n" + SECOND,
    "a trailer without end": b"0\r\nX: " + b"x" * 10_000,
    "trailers without end": b"0\r\n" + b"X: 1234567\r\n" * 1000,
}
LATE = (
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked",
    b"Host: b.example",
    b"Connection: close",
    b"Upgrade: websocket",
    b"TE: trailers",
    b"Trailer: X",
    b"Expect: 100-continue",
    b"Authorization: Basic YTpi",
    b"Proxy-Authorization: Basic YTpi",
    b"Cookie: a=b",
    b"Content-Type: text/plain",
    b"Content-Encoding: gzip",
    b"Content-Range: bytes 0-1/2",
    b"X-Forwarded-For: 192.0.2.1",
    b"x-forwarded-host: b.example",
    b"X-Forwarded-Proto: https",
    b"Forwarded: for=192.0.2.1",
    b"Via: 1.1 a",
    b"Max-Forwards: 1",
    b"X-Forwarded-Port: 1",
    b"X_Forwarded_For: 192.0.2.1",
    b"content_length: 5",
    b"Transfer_Encoding: chunked",
    b"Proxy: http://192.0.2.1/",
    b"X-Request-Id: 1",
)
BAD_ONES = tuple(
    refused(f"{what} is refused", "RFC 9112 7.1", post(CHUNKED) + sent, received=AT_MOST_A_PART)
    for what, sent in BAD.items()
)
LATE_ONES = tuple(
    refused(
        f"{field.partition(b':')[0].decode()} in a trailer is refused",
        "RFC 9110 6.5.1",
        post(CHUNKED) + b"5\r\nhello\r\n0\r\n%b\r\n\r\n" % field,
        received=AT_MOST_A_PART,
    )
    for field in LATE
)

CASES = (*GOOD, *BAD_ONES, *LATE_ONES)
