"""What a backend may answer: heads that can't be read, lengths that don't hold, bodies that break off, 1xx and 101."""

from __future__ import annotations

from tests.e2e.wire.case import (
    OK,
    Act,
    End,
    Got,
    answered,
    get,
    lines,
    post,
)

CHUNKED = b"Transfer-Encoding: chunked"
FRAMED = (b"Transfer-Encoding: chunked",)
TWO = b"Content-Length: 2"
HELLO = b"Content-Length: 5"
FAILED = Got(502, None)
BROKEN = Got(200, None, End.BROKEN)
LINE = b"HTTP/1.1 200 OK"


def answer(*fields: bytes, line: bytes = LINE) -> bytes:
    return lines(line, *fields)


# Heads

UNREADABLE = {
    "no HTTP": b"hello, world\r\n\r\n",
    "nothing but a body": b"<html></html>\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2": answer(TWO, line=b"HTTP/2.0 200 OK") + b"ok",
    "HTTP/0.9": answer(TWO, line=b"HTTP/0.9 200 OK") + b"ok",
    "HTTP/1.2": answer(TWO, line=b"HTTP/1.2 200 OK") + b"ok",
    "a version in lower case": answer(TWO, line=b"http/1.1 200 OK") + b"ok",
    "a status of two digits": answer(TWO, line=b"HTTP/1.1 20 OK") + b"ok",
    "a status of four digits": answer(TWO, line=b"HTTP/1.1 2000 OK") + b"ok",
    "a status that is no number": answer(TWO, line=b"HTTP/1.1 2xx OK") + b"ok",
    "a status of zero": answer(TWO, line=b"HTTP/1.1 000 OK") + b"ok",
    "a status below 100": answer(TWO, line=b"HTTP/1.1 099 OK") + b"ok",
    "no status": answer(TWO, line=b"HTTP/1.1") + b"ok",
    "two spaces before the status": answer(TWO, line=b"HTTP/1.1  200 OK") + b"ok",
    "no space behind the status": answer(TWO, line=b"HTTP/1.1 200OK") + b"ok",
    "NUL in the reason": answer(TWO, line=b"HTTP/1.1 200 O\x00K") + b"ok",
    "a control byte in the reason": answer(TWO, line=b"HTTP/1.1 200 O\x01K") + b"ok",
    "a bare LF behind the reason": b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
    "a bare CR behind the reason": b"HTTP/1.1 200 OK\rContent-Length: 2\r\n\r\nok",
    "bare LFs alone": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "the greeting of another protocol": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "the first bytes of TLS": b"\x15\x03\x03\x00\x02\x02\x46",
    "a bare LF in a field": answer(b"X: a\nY: b", TWO) + b"ok",
    "a bare CR in a field": answer(b"X: a\rY: b", TWO) + b"ok",
    "NUL in a field": answer(b"X: \x00", TWO) + b"ok",
    "a control byte in a field": answer(b"X: \x02", TWO) + b"ok",
    "a fold": answer(b"X: a\r\n b", TWO) + b"ok",
    "a space before a colon": answer(b"X : a", TWO) + b"ok",
    "a field without a name": answer(b": a", TWO) + b"ok",
    "a field without a colon": answer(b"X", TWO) + b"ok",
    "a name that is no token": answer(b"X(: a", TWO) + b"ok",
    "too many fields": answer(*(b"X-%d: 1" % n for n in range(101)), TWO) + b"ok",
    "too large a head": answer(b"X: " + b"a" * 40_000, TWO) + b"ok",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,
    "both lengths": answer(TWO, CHUNKED) + b"2\r\nok\r\n0\r\n\r\n",
    "both lengths the other way round": answer(CHUNKED, TWO) + b"2\r\nok\r\n0\r\n\r\n",
    "two lengths": answer(TWO, b"Content-Length: 3") + b"ok",
    "the same length twice": answer(TWO, TWO) + b"ok",
    "a list of lengths": answer(b"Content-Length: 2, 2") + b"ok",
    "a length with a plus": answer(b"Content-Length: +2") + b"ok",
    "a length below zero": answer(b"Content-Length: -2") + b"ok",
    "a hexadecimal length": answer(b"Content-Length: 0x2") + b"ok",
    "a length of nothing": answer(b"Content-Length:") + b"ok",
    "a length beyond 64 bits": answer(b"Content-Length: 18446744073709551618") + b"ok",
    "the coding gzip": answer(b"Transfer-Encoding: gzip") + b"ok",
    "the coding gzip before chunked": answer(b"Transfer-Encoding: gzip, chunked") + b"2\r\nok\r\n0\r\n\r\n",
    "the coding chunked twice": answer(CHUNKED, CHUNKED) + b"2\r\nok\r\n0\r\n\r\n",
    "the coding identity": answer(b"Transfer-Encoding: identity") + b"ok",
    "a coding of nothing": answer(b"Transfer-Encoding:") + b"ok",
    "chunks in HTTP/1.0": answer(CHUNKED, line=b"HTTP/1.0 200 OK") + b"2\r\nok\r\n0\r\n\r\n",
    "101 that nobody asked for": answer(
        b"Upgrade: a", b"Connection: upgrade", line=b"HTTP/1.1 101 Switching Protocols"
    ),
}
HEADS = tuple(
    answered(f"an answer with {what} is 502", "RFC 9112 4", said, FAILED, Act.GONE, is_upstream_kept=False)
    for what, said in UNREADABLE.items()
)
POSTED_HEADS = tuple(
    answered(
        f"an answer to POST with {what} is 502",
        "RFC 9112 6.3",
        UNREADABLE[what],
        FAILED,
        Act.GONE,
        request=post(),
        is_upstream_kept=False,
    )
    for what in ("no HTTP", "both lengths", "two lengths", "the coding gzip", "a fold", "a head without end")
)

# Bodies

HALF = {
    "nothing at all": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a head and no body": answer(HELLO),
    "half a counted body": answer(HELLO) + b"hel",
    "half a chunk's size": answer(CHUNKED) + b"5",
    "half a chunk": answer(CHUNKED) + b"5\r\nhel",
    "no last chunk": answer(CHUNKED) + b"5\r\nhello\r\n",
    "half a last chunk": answer(CHUNKED) + b"5\r\nhello\r\n0\r\n",
    "half a trailer": answer(CHUNKED) + b"5\r\nhello\r\n0\r\nX-A: ",
}
BAD_CHUNKS = {
    "a chunk's size that is no number": b"x\r\nhello\r\n0\r\n\r\n",
    "no CRLF behind a chunk": b"5\r\nhelloXX0\r\n\r\n",
    "a bare LF behind a chunk's size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a trailer that names a length": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a trailer that sets a cookie": b"5\r\nhello\r\n0\r\nSet-Cookie: a=b\r\n\r\n",
    "a trailer without colon": b"5\r\nhello\r\n0\r\nX\r\n\r\n",
}
ENDS = {"with a close": Act.CLOSE, "with a reset": Act.RESET}
HELD = (
    *(
        answered(f"{what} {how} is 502 where the answer was held", "RFC 9112 8", said, FAILED, act)
        for what, said in HALF.items()
        for how, act in ENDS.items()
        if said or act is Act.CLOSE
    ),
    *(
        answered(f"{what} is 502 where the answer was held", "RFC 9112 7.1", answer(CHUNKED) + said, FAILED, Act.GONE)
        for what, said in BAD_CHUNKS.items()
    ),
)
STREAMED = (
    *(
        answered(
            f"{what} {how} shows as broken where the answer was streamed",
            "RFC 9112 8",
            said,
            BROKEN,
            Act.HEARD,
            act,
            request=post(),
        )
        for what, said in HALF.items()
        for how, act in ENDS.items()
        if b"\r\n\r\n" in said
    ),
    *(
        answered(
            f"{what} shows as broken where the answer was streamed",
            "RFC 9112 7.1",
            answer(CHUNKED) + b"2\r\nok\r\n",
            BROKEN,
            Act.HEARD,
            said,
            Act.GONE,
            request=post(),
        )
        for what, said in BAD_CHUNKS.items()
    ),
)
LARGE = answered(
    "a large answer that breaks off shows as broken",
    "RFC 9112 8",
    answer(b"Content-Length: 300000") + b"x" * 200_000,
    BROKEN,
    Act.HEARD,
    Act.CLOSE,
)

OUT_OF_TURN = (
    answered(
        "more than the length says is 502 where it comes at once",
        "RFC 9112 6.3",
        answer(TWO) + b"ok!",
        FAILED,
        Act.GONE,
        answer_whole=True,
        is_upstream_kept=False,
    ),
    answered(
        "more than the length says shows to a POST as well",
        "RFC 9112 6.3",
        answer(TWO) + b"ok!",
        FAILED,
        Act.GONE,
        request=post(),
        answer_whole=True,
    ),
    answered(
        "a second answer behind the first is 502",
        "RFC 9112 9.3.2",
        OK + OK,
        FAILED,
        Act.GONE,
        answer_whole=True,
        is_upstream_kept=False,
    ),
    answered(
        "more behind the last chunk is 502",
        "RFC 9112 7.1",
        answer(CHUNKED) + b"2\r\nok\r\n0\r\n\r\n!",
        FAILED,
        Act.GONE,
        answer_whole=True,
        is_upstream_kept=False,
    ),
    answered(
        "bytes behind an answer to HEAD are 502",
        "RFC 9110 9.3.2",
        answer(TWO) + b"ok",
        Got(502, b""),
        Act.GONE,
        request=get(line=b"HEAD / HTTP/1.1"),
        answer_whole=True,
        is_upstream_kept=False,
    ),
    *(
        answered(
            f"bytes behind a {status.decode()} are 502",
            "RFC 9112 6.3",
            answer(line=b"HTTP/1.1 " + status) + b"ok",
            FAILED,
            Act.GONE,
            answer_whole=True,
            is_upstream_kept=False,
        )
        for status in (b"204 No Content", b"304 Not Modified")
    ),
    *(
        answered(
            f"more than {what} says shows as broken where the answer was streamed",
            "RFC 9112 6.3",
            begun,
            BROKEN,
            Act.HEARD,
            rest,
            Act.GONE,
            request=post(),
            answer_whole=True,
            is_upstream_kept=False,
        )
        for what, begun, rest in (
            ("the length", answer(HELLO) + b"he", b"llo!"),
            ("the last chunk", answer(CHUNKED) + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n!"),
        )
    ),
    *(
        answered(
            f"{what} on an idle connection closes it",
            "RFC 9112 9.3.2",
            OK,
            Got(),
            Act.ANSWERED,
            said,
            Act.GONE,
            is_upstream_kept=False,
        )
        for what, said in {
            "a byte": b"!",
            "an empty line": b"\r\n",
            "a second answer": answer(HELLO) + b"stray",
            "an interim answer": answer(line=b"HTTP/1.1 103 Early Hints"),
            "a 408": answer(b"Content-Length: 0", line=b"HTTP/1.1 408 Request Timeout"),
        }.items()
    ),
)

"""After one of these the proxy uses no connection to that backend twice for a while: `IdleConnections.distrust`."""
LET_GO = (
    answered(
        "an idle connection that its backend closes is let go",
        "RFC 9112 9.5",
        OK,
        Got(),
        Act.ANSWERED,
        Act.END,
        Act.GONE,
    ),
)

CASES = (*HEADS, *POSTED_HEADS, *HELD, *STREAMED, LARGE, *LET_GO)
