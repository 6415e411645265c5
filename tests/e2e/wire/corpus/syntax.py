"""How a request's head is written: the request line, the field lines, and every byte in them."""

from __future__ import annotations

from tests.e2e.wire.case import ID, Case, End, Got, get, lines, onward, ours, passed, refused

HOSTED = b"Host: a.example"


def head(line: bytes, *fields: bytes) -> bytes:
    return lines(line, HOSTED, *fields)


LINES = {
    "two spaces before the target": b"GET  / HTTP/1.1",
    "two spaces behind the target": b"GET /  HTTP/1.1",
    "a space at the end": b"GET / HTTP/1.1 ",
    "a space at the start": b" GET / HTTP/1.1",
    "tabs for spaces": b"GET\t/\tHTTP/1.1",
    "a vertical tab for a space": b"GET\x0b/ HTTP/1.1",
    "NUL at its start": b"\x00GET / HTTP/1.1",
    "NUL at its end": b"GET / HTTP/1.1\x00",
    "a bare CR at its start": b"\rGET / HTTP/1.1",
    "a bare LF at its start": b"\nGET / HTTP/1.1",
    "a bare CR at its end": b"GET / HTTP/1.1\r",
    "no version": b"GET /",
    "no target": b"GET HTTP/1.1",
    "nothing but a method": b"GET",
    "a version in lower case": b"GET / http/1.1",
    "a version of two digits": b"GET / HTTP/1.10",
    "a version with a zero before": b"GET / HTTP/01.1",
    "half a version": b"GET / HTTP/1",
    "a version with a comma": b"GET / HTTP/1,1",
    "the version of another protocol": b"GET / RTSP/1.0",
    "a further word": b"GET / x HTTP/1.1",
}
TARGETS = {
    "with a space": b"/a b",
    "with a tab": b"/a\tb",
    "with NUL": b"/a\x00b",
    "with a control byte": b"/a\x01b",
    "with DEL": b"/a\x7fb",
    "with a bare CR": b"/a\rb",
    "with a bare LF": b"/a\nb",
    "that looks like a request of HTTP/0.9 and a field": b"/h\nttp://a/",
    "that hides a Host behind a bare LF": b"/\nHost:b.example",
    "that hides a field behind a bare CR": b"/\rX:b",
    "with a byte beyond ASCII": b"/\xc3\xa4",
    "with a byte beyond ASCII in its query": b"/?\xff",
    "with a fragment": b"/a#b",
    "without a slash": b"a",
    "that is a dot": b".",
    "that is a question mark": b"?a",
    "in authority form": b"a.example:80",
    "in asterisk form for a GET": b"*",
    "in asterisk form with more": b"*/a",
}
VERSIONS = (b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9")
FIELDS = {
    "with a space before the colon": b"X : a",
    "with a tab before the colon": b"X\t: a",
    "without a name": b": a",
    "without a colon": b"X",
    "with a name of spaces": b" : a",
    "with a space in its name": b"X y: a",
    "with NUL in its name": b"X\x00: a",
    "with a control byte in its name": b"X\x01: a",
    "with DEL in its name": b"X\x7f: a",
    "with a byte beyond ASCII in its name": b"X\xff: a",
    "with a parenthesis in its name": b"X(: a",
    "with a quotation mark in its name": b'"X": a',
    "with a slash in its name": b"X/Y: a",
    "with a bracket in its name": b"[X]: a",
    "with a comma in its name": b"X,Y: a",
    "with a semicolon in its name": b"X;Y: a",
    "with an equals sign in its name": b"X=Y: a",
    "with an at sign in its name": b"X@Y: a",
    "with a brace in its name": b"X{: a",
    "with a backslash in its name": b"X\\: a",
    "with a bare CR in its name": b"X\rY: a",
    "with a bare LF in its name": b"X\nY",
    "folded by a space": b"X: a\r\n b",
    "folded by a tab": b"X: a\r\n\tb",
    "folded to nothing": b"X: a\r\n ",
    "with NUL in its value": b"X: a\x00b",
    "with NUL as its value": b"X: \x00",
    "with a control byte in its value": b"X: a\x01b",
    "with a backspace in its value": b"X: a\x08b",
    "with a vertical tab in its value": b"X: a\x0bb",
    "with a form feed in its value": b"X: a\x0cb",
    "with an escape in its value": b"X: a\x1bb",
    "with DEL in its value": b"X: a\x7fb",
    "with a bare CR in its value": b"X: a\rb",
    "with a bare LF in its value": b"X: a\nb",
    "with a bare CR at its end": b"X: a\r",
    "that hides another behind a bare LF": b"X: a\nY: b",
    "that hides another behind a bare CR": b"X: a\rY: b",
}

WRONG = (
    *(refused(f"a request line with {what} is refused", "RFC 9112 3", head(line)) for what, line in LINES.items()),
    *(
        refused(f"a target {what} is refused", "RFC 9112 3.2", head(b"GET " + target + b" HTTP/1.1"))
        for what, target in TARGETS.items()
    ),
    *(
        refused(f"{version.decode()} is refused as a version", "RFC 9110 15.6.6", head(b"GET / " + version), 505)
        for version in VERSIONS
    ),
    refused("the preface of HTTP/2 is refused as a version", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    *(refused(f"a field {what} is refused", "RFC 9112 5", get(field)) for what, field in FIELDS.items()),
    refused("a fold in the first field is refused", "RFC 9112 2.2", lines(b"GET / HTTP/1.1", b" X: a", HOSTED)),
    refused("a tab before the first field is refused", "RFC 9112 2.2", lines(b"GET / HTTP/1.1", b"\tX: a", HOSTED)),
    refused("a head of bare LFs is refused", "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a.example\n\n"),
    refused("a bare LF as the empty line is refused", "RFC 9112 2.2", b"GET / HTTP/1.1\r\nHost: a.example\r\n\n"),
    refused("a bare LF after the request line is refused", "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a.example\r\n\r\n"),
    refused("a bare CR after the request line is refused", "RFC 9112 2.2", b"GET / HTTP/1.1\rHost: a.example\r\n\r\n"),
    refused("what is no HTTP at all is refused", "RFC 9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    refused("a status line is no request", "RFC 9112 3", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
)

KEPT = (
    b"/",
    b"//",
    b"//a//b/",
    b"/a/../b/./c",
    b"/%2e%2e/%2F%00",
    b"/%zz%",
    b"/a;b=c?d=e&f=%20+g",
    b"/?",
    b"/??a?",
    b"/a?b=http://c/d",
    b"/:@!$&'()*+,;=-._~",
    b'/"<>[]\\^`{|}',
    b"/http://a/",
    b"/" + b"a" * 4000,
)
PASSED_LINES = (
    *(
        passed(
            f"the target {target[:30].decode()} is untouched",
            "RFC 9112 3.2.1",
            head(b"GET " + target + b" HTTP/1.1"),
            onward(line=b"GET " + target + b" HTTP/1.1"),
        )
        for target in KEPT
    ),
    passed("an empty line before a request is skipped", "RFC 9112 2.2", b"\r\n" + get(), onward()),
    passed("empty lines before a request are skipped", "RFC 9112 2.2", b"\r\n" * 5 + get(), onward()),
    passed(
        "OPTIONS may ask for everything",
        "RFC 9112 3.2.4",
        head(b"OPTIONS * HTTP/1.1"),
        onward(line=b"OPTIONS * HTTP/1.1"),
    ),
    passed(
        "HTTP/1.0 becomes HTTP/1.1",
        "RFC 9110 2.5",
        head(b"GET / HTTP/1.0"),
        onward(),
        Got(end=End.CLOSED, names=(b"Connection: close",)),
    ),
    passed(
        "HTTP/1.0 may ask to go on",
        "RFC 9112 9.3",
        head(b"GET / HTTP/1.0", b"Connection: keep-alive"),
        onward(),
        Got(names=(b"Connection: keep-alive",)),
    ),
)


def kept(name: str, *fields: bytes, section: str = "RFC 9110 5.3") -> Case:
    """Fields that go on as they came."""
    return passed(name, section, get(*fields), onward(*fields))


PASSED_FIELDS = (
    kept("fields keep their order", b"X-C: 3", b"X-A: 1", b"X-B: 2"),
    kept("fields keep their case", b"x-lower: a", b"X-UPPER: A", b"x-MiXeD: aA"),
    kept("fields keep their repetition", b"X-A: 1", b"X-B: 2", b"X-A: 1", b"x-a: 3"),
    kept("fields keep white space in their values", b"X-A:  a  b\t c"),
    kept("fields keep white space at the end", b"X-A: a \t "),
    kept("fields need no space", b"X-A:a"),
    kept("fields may be empty", b"X-A:", b"X-B: "),
    kept("fields may hold bytes beyond ASCII", b"X-A: \x80\xff\xc3\xa4", section="RFC 9110 5.5"),
    kept("fields may hold every visible byte", b"X-A: " + bytes(range(0x21, 0x7F)), section="RFC 9110 5.5"),
    kept("names may be any token", b"!#$%&'*+-.^`|~09azAZ: a", section="RFC 9110 5.1"),
    kept("values may look like folds, lists and comments", b'X-A: (a, "b;c", d)', section="RFC 9110 5.6"),
    kept("values may hold colons", b"X-A: b: c: d"),
    kept("cookies stay apart", b"Cookie: a=1", b"Cookie: b=2", section="RFC 6265 5.4"),
    kept("a hundred fields pass", *(b"X-%d: %d" % (n, n) for n in range(99)), section="RFC 9110 5.4"),
    kept("a long field passes", b"X-A: " + b"a" * 30_000, section="RFC 9110 5.4"),
    passed(
        "Host keeps its place",
        "RFC 9110 7.2",
        lines(b"GET / HTTP/1.1", b"X-A: 1", HOSTED, b"X-B: 2"),
        lines(b"GET / HTTP/1.1", b"X-A: 1", HOSTED, b"X-B: 2", *ours(), ID),
    ),
)

CASES = (*WRONG, *PASSED_LINES, *PASSED_FIELDS)
