"""How long a request is: Content-Length and Transfer-Encoding, and what two readers could read in two ways."""

from __future__ import annotations

from tests.e2e.wire.case import AT_MOST_A_PART, Act, Case, End, Got, Sent, get, lines, onward, passed, post, refused

CHUNKED = b"Transfer-Encoding: chunked"
LINE = b"POST / HTTP/1.1"
HELLO = b"Content-Length: 5"
SECOND = b"GET /second HTTP/1.1\r\nHost: a.example\r\n\r\n"
"""What an attacker would like a backend to take for a request."""


def counted(name: str, sent: bytes, body: bytes, section: str = "RFC 9112 6.2") -> Case:
    """A body of known length that arrives as it was sent."""
    received = Sent(onward(line=LINE, last=(b"Content-Length: %d" % len(body),)), body)
    return Case(name, section, (sent,), received)


COUNTED = (
    counted("a counted body arrives", post(HELLO) + b"hello", b"hello"),
    counted("a counted body of nothing keeps its length", post(b"Content-Length: 0"), b""),
    counted(
        "leading zeros of a length are read as decimal", post(b"Content-Length: 0010") + b"helloworld", b"helloworld"
    ),
    counted("white space around a length is no part of it", post(b"Content-Length: \t 5 \t") + b"hello", b"hello"),
    counted("the name of the length has no case", post(b"cOnTeNt-LeNgTh: 5") + b"hello", b"hello"),
    counted("a body may look like a request", post(b"Content-Length: %d" % len(SECOND)) + SECOND, SECOND),
    counted("a body may look like chunks", post(HELLO) + b"0\r\n\r\n", b"0\r\n\r\n"),
    counted("a body may hold every byte", post(b"Content-Length: 256") + bytes(range(256)), bytes(range(256))),
    counted("a body may be large", post(b"Content-Length: 200000") + b"x" * 200_000, b"x" * 200_000),
    Case(
        "a GET may have a body",
        "RFC 9110 9.3.1",
        (get(HELLO) + b"hello",),
        Sent(onward(last=(HELLO,)), b"hello"),
    ),
    passed("a POST without a length has no body", "RFC 9112 6.3", post(), onward(line=LINE)),
    Case(
        "HTTP/1.0 may have a counted body",
        "RFC 9112 6.2",
        (get(HELLO, b"Connection: keep-alive", line=b"POST / HTTP/1.0") + b"hello",),
        Sent(onward(line=LINE, last=(HELLO,)), b"hello"),
    ),
    Case(
        "a body that its client does not finish never becomes a request",
        "RFC 9112 8",
        (post(HELLO) + b"hell", Act.END),
        AT_MOST_A_PART,
        Got(0, end=End.CLOSED),
    ),
)

LENGTHS = {
    "signed plus": b"+5",
    "signed minus": b"-5",
    "minus zero": b"-0",
    "hexadecimal": b"0x5",
    "hexadecimal digits": b"a",
    "with an underscore": b"5_0",
    "with a space inside": b"5 5",
    "with a point": b"5.0",
    "with an exponent": b"5e0",
    "empty": b"",
    "white space": b" \t ",
    "a word": b"five",
    "listed twice the same": b"5, 5",
    "listed without space": b"5,5",
    "listed with another": b"5, 6",
    "with a comma behind": b"5,",
    "with a semicolon": b"5;",
    "in quotes": b'"5"',
    "with a vertical tab": b"\x0b5",
    "with a form feed": b"5\x0c",
    "with NUL": b"5\x00",
    "with a no-break space": b"\xa05",
    "in Arabic digits": "٥".encode(),
    "in full-width digits": "５".encode(),
    "with a superscript": "5²".encode(),
    "one more than 64 bits signed": b"9223372036854775808",
    "one more than 64 bits": b"18446744073709551616",
    "that wraps around to five": b"18446744073709551621",
    "of forty digits": b"1" * 40,
    "of zeros beyond every number": b"0" * 30 + b"5",
}
BAD_LENGTHS = tuple(
    refused(f"a length {what} is refused", "RFC 9110 8.6", post(b"Content-Length: " + value) + b"hello")
    for what, value in LENGTHS.items()
)

BOTH = (
    (HELLO, CHUNKED),
    (CHUNKED, HELLO),
    (b"Content-Length: 0", CHUNKED),
    (CHUNKED, b"Content-Length: 0"),
    (HELLO, HELLO),
    (HELLO, b"Content-Length: 6"),
    (b"Content-Length: 6", b"X-Between: 1", HELLO),
    (HELLO, b"content-length: 5"),
    (CHUNKED, CHUNKED),
    (CHUNKED, b"Transfer-Encoding: identity"),
    (b"Transfer-Encoding: identity", CHUNKED),
    (b"Transfer-Encoding: gzip", CHUNKED),
    (HELLO, b"Transfer-Encoding: identity"),
    (b"Transfer-Encoding:", HELLO),
    (HELLO, b"Transfer-Encoding: xchunked"),
)
SEVERAL = tuple(
    refused(
        f"framed by {' and '.join(one.decode() for one in fields)} is refused",
        "RFC 9112 6.3",
        post(*fields) + b"0\r\n\r\n" + SECOND,
    )
    for fields in BOTH
)

CODINGS = {
    "gzip": b"gzip",
    "gzip before chunked": b"gzip, chunked",
    "chunked before gzip": b"chunked, gzip",
    "chunked twice": b"chunked, chunked",
    "identity": b"identity",
    "a word that ends so": b"xchunked",
    "a word that begins so": b"chunkedx",
    "with a parameter": b"chunked;q=1",
    "in quotes": b'"chunked"',
    "with a comma before": b", chunked",
    "with a comma behind": b"chunked,",
    "empty": b"",
    "with a vertical tab": b"\x0bchunked",
    "with a form feed": b"chunked\x0c",
    "with NUL": b"chunked\x00",
    "with a no-break space": b"chunked\xa0",
    "cut in two": b"chun ked",
    "trailers": b"trailers",
}
BAD_CODINGS = tuple(
    refused(
        f"the coding {what} is refused",
        "RFC 9112 6.1",
        post(b"Transfer-Encoding: " + value) + b"0\r\n\r\n" + SECOND,
    )
    for what, value in CODINGS.items()
)

OLD = (
    refused(
        "chunks in HTTP/1.0 are refused",
        "RFC 9112 6.1",
        lines(b"POST / HTTP/1.0", b"Host: a.example", CHUNKED) + b"0\r\n\r\n",
    ),
    refused(
        "both lengths in HTTP/1.0 are refused",
        "RFC 9112 6.1",
        lines(b"POST / HTTP/1.0", b"Host: a.example", HELLO, CHUNKED) + b"0\r\n\r\n",
    ),
    refused(
        "both lengths in HTTP/1.0 that wants to go on are refused",
        "RFC 9112 6.1",
        lines(b"POST / HTTP/1.0", b"Host: a.example", b"Connection: keep-alive", CHUNKED, HELLO) + b"0\r\n\r\n",
    ),
    refused("space before the colon hides no length", "RFC 9112 5.1", post(b"Content-Length : 5") + b"hello"),
    refused(
        "space before the colon hides no coding", "RFC 9112 5.1", post(b"Transfer-Encoding : chunked") + b"0\r\n\r\n"
    ),
    refused("a fold hides no coding", "RFC 9112 5.2", post(b"Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n"),
    refused(
        "a fold hides no second coding",
        "RFC 9112 5.2",
        post(b"X-A: 1\r\n Transfer-Encoding: chunked", HELLO) + b"hello",
    ),
    refused("a bare LF hides no coding", "RFC 9112 2.2", post(b"X-A: 1\nTransfer-Encoding: chunked", HELLO) + b"hello"),
    refused("a bare CR hides no coding", "RFC 9112 2.2", post(b"X-A: 1\rTransfer-Encoding: chunked", HELLO) + b"hello"),
    refused(
        "NUL in its name hides no coding", "RFC 9110 5.1", post(b"Transfer-\x00Encoding: chunked", HELLO) + b"hello"
    ),
    refused(
        "what follows a refused request is not read", "RFC 9112 6.3", post(HELLO, CHUNKED) + b"0\r\n\r\n" + SECOND * 3
    ),
)

CASES = (*COUNTED, *BAD_LENGTHS, *SEVERAL, *BAD_CODINGS, *OLD)
