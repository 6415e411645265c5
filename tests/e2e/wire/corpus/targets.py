"""For whom a request is: Host, absolute targets, methods."""

from __future__ import annotations

from tests.e2e.wire.case import ID, NOTHING, Act, Case, End, Got, Sent, get, lines, onward, ours, passed, refused

HEADED = (Act.WHOLE, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")

HOSTS = {
    "that is empty": b"",
    "of white space": b" \t",
    "with a space": b"a b",
    "with a tab": b"a\tb",
    "with NUL": b"a\x00",
    "with a control byte": b"a\x01",
    "with DEL": b"a\x7f",
    "with a byte beyond ASCII": b"\xc3\xa4.example",
    "with userinfo": b"user@a.example",
    "with a password": b"user:pw@a.example",
    "with a path": b"a.example/",
    "with a query": b"a.example?b",
    "with a fragment": b"a.example#b",
    "with a scheme": b"http://a.example",
    "with a backslash": b"a\\b",
    "in quotes": b'"a.example"',
    "with angle brackets": b"<a>",
    "with a brace": b"a{",
    "with a caret": b"a^",
    "with a port that is no number": b"a.example:b",
    "with a signed port": b"a.example:+80",
    "with two ports": b"a.example:80:80",
    "with a port of six digits": b"a.example:999999",
    "that is just a port": b":80",
    "with half an escape": b"a%4",
    "with an escape that is none": b"a%zz",
    "of IPv6 without brackets": b"::1",
    "of IPv6 without its end": b"[::1",
    "of IPv6 with more behind": b"[::1]a",
    "of IPv6 that is none": b"[g::1]",
    "of IPv6 with a zone": b"[fe80::1%25eth0]",
    "of two hosts with a space": b"a.example, b.example",
}
WRONG_HOSTS = (
    *(refused(f"a Host {what} is refused", "RFC 9112 3.2", get(host=host)) for what, host in HOSTS.items()),
    refused("a request without Host is refused", "RFC 9112 3.2", lines(b"GET / HTTP/1.1", b"X-A: 1")),
    refused("a request without any field is refused", "RFC 9112 3.2", lines(b"GET / HTTP/1.1")),
    refused("two Hosts are refused", "RFC 9112 3.2", get(b"Host: b.example")),
    refused("the same Host twice is refused", "RFC 9112 3.2", get(b"Host: a.example")),
    refused("two Hosts of different case are refused", "RFC 9112 3.2", get(b"X-A: 1", b"hOST: a.example")),
    refused("an empty Host behind a good one is refused", "RFC 9112 3.2", get(b"Host:")),
    refused("two Hosts in HTTP/1.0 are refused", "RFC 9112 3.2", get(b"Host: b", line=b"GET / HTTP/1.0")),
    refused("an empty Host in HTTP/1.0 is refused", "RFC 9112 3.2", get(line=b"GET / HTTP/1.0", host=b"")),
    refused("a bad Host in HTTP/1.0 is refused", "RFC 9112 3.2", get(line=b"GET / HTTP/1.0", host=b"a b")),
    refused(
        "a space before the colon of Host is refused", "RFC 9112 5.1", lines(b"GET / HTTP/1.1", b"Host : a.example")
    ),
    refused("a Host with a fold is refused", "RFC 9112 5.2", lines(b"GET / HTTP/1.1", b"Host:\r\n a.example")),
    refused(
        "a Host without a path but absolute target of another",
        "RFC 9112 3.2.2",
        get(line=b"GET http://b.example/ HTTP/1.1"),
    ),
    Case(
        "HTTP/1.0 needs no Host; the backend gets one all the same",
        "RFC 9112 3.2",
        (lines(b"GET / HTTP/1.0"),),
        Sent(lines(b"GET / HTTP/1.1", *ours(b""), b"Host: localhost", ID)),
        Got(end=End.CLOSED),
    ),
)


def hosted(host: bytes) -> Case:
    """A Host that goes on as it came."""
    received = lines(b"GET / HTTP/1.1", b"Host: " + host, *ours(host.lower()), ID)
    return passed(f"the Host {host.decode()} goes on", "RFC 9110 7.2", get(host=host), received)


GOOD_HOSTS = (
    b"a",
    b"a.example.",
    b"a.example:8080",
    b"A.Example",
    b"192.0.2.1",
    b"192.0.2.1:80",
    b"[2001:db8::1]",
    b"[::1]:8080",
    b"[::ffff:192.0.2.1]",
    b"xn--bcher-kva.example",
    b"a_b.example",
    b"a%20b",
)

ABSOLUTE = {
    b"http://a.example/": b"/",
    b"http://a.example/b?c=d": b"/b?c=d",
    b"http://a.example": b"/",
    b"http://a.example?b": b"/?b",
    b"HTTP://A.EXAMPLE/b": b"/b",
    b"https://a.example/b": b"/b",
    b"http://a.example//b": b"//b",
}
WRONG_ABSOLUTE = {
    "of another host": b"http://b.example/",
    "of a longer host": b"http://a.example.b/",
    "of another port": b"http://a.example:8080/",
    "with userinfo": b"http://user@a.example/",
    "with userinfo that looks like the host": b"http://a.example@b.example/",
    "with an empty host": b"http:///b",
    "with an empty userinfo": b"http://@a.example/",
    "of another scheme": b"ftp://a.example/",
    "without slashes": b"http:a.example/",
    "with one slash": b"http:/a.example/",
    "with a fragment": b"http://a.example/#b",
    "with a backslash": b"http://a.example\\@b.example/",
    "with a file scheme": b"file:///etc/passwd",
    "with a script": b"javascript://a.example/%0aalert(1)",
}
TARGETS = (
    *(
        passed(
            f"the absolute target {target.decode()} becomes {path.decode()}",
            "RFC 9112 3.2.2",
            get(line=b"GET " + target + b" HTTP/1.1"),
            onward(line=b"GET " + path + b" HTTP/1.1"),
        )
        for target, path in ABSOLUTE.items()
    ),
    *(
        refused(f"an absolute target {what} is refused", "RFC 9112 3.2.2", get(line=b"GET " + target + b" HTTP/1.1"))
        for what, target in WRONG_ABSOLUTE.items()
    ),
    passed(
        "OPTIONS for a whole host asks for everything",
        "RFC 9112 3.2.4",
        get(line=b"OPTIONS http://a.example HTTP/1.1"),
        onward(line=b"OPTIONS * HTTP/1.1"),
    ),
    refused("an absolute target without Host is refused", "RFC 9112 3.2", lines(b"GET http://a.example/ HTTP/1.1")),
)

METHODS = (
    b"HEAD GET POST PUT DELETE OPTIONS PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH BIND REBIND UNBIND ACL "
    b"REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE MKCALENDAR LINK UNLINK PURGE SOURCE QUERY "
    b"BASELINE-CONTROL VERSION-CONTROL UPDATE LABEL UPDATEREDIRECTREF MKREDIRECTREF ORDERPATCH MKWORKSPACE UNCHECKOUT "
    b"CHECKIN FOO BREW GETT GE G X-A DESCRIBE SETUP PLAY !#$%&'*+-.^_`|~ 0 TRACES XCONNECT"
).split()
"""Any token in capitals."""
UNKNOWN = b"get Get post trace Trace connect cONNECT PRI".split()
"""Tokens that somebody might take for another method."""
NO_TOKENS = (
    b"G@T",
    b"G(T)",
    b"G/T",
    b"G:T",
    b'"GET"',
    b"G\x00T",
    b"G\x01T",
    b"G\x7fT",
    b"G\xffT",
    b"[GET]",
    b"G,T",
    b"{",
)
VERBS = (
    *(
        passed(
            f"the method {method.decode()} goes on",
            "RFC 9110 9",
            get(line=method + b" / HTTP/1.1"),
            onward(line=method + b" / HTTP/1.1"),
            Got(body=b"" if method == b"HEAD" else b"ok"),
            **({"backend": HEADED} if method == b"HEAD" else {}),
        )
        for method in METHODS
    ),
    *(
        refused(f"the method {method.decode()} is not known", "RFC 9110 9.1", get(line=method + b" / HTTP/1.1"), 501)
        for method in UNKNOWN
    ),
    *(
        refused(f"the method {method!r} is no token", "RFC 9110 9.1", get(line=method + b" / HTTP/1.1"))
        for method in NO_TOKENS
    ),
    Case(
        "TRACE is not allowed",
        "RFC 9110 9.3.8",
        (get(line=b"TRACE / HTTP/1.1"),),
        NOTHING,
        Got(405, None, End.CLOSED, names=(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",)),
    ),
    refused("CONNECT is not implemented", "RFC 9110 9.3.6", get(line=b"CONNECT a.example:80 HTTP/1.1"), 501),
    refused("CONNECT to a path is not implemented", "RFC 9110 9.3.6", get(line=b"CONNECT / HTTP/1.1"), 501),
)

CASES = (*WRONG_HOSTS, *(hosted(host) for host in GOOD_HOSTS), *TARGETS, *VERBS)
