"""What goes on and what stays: hop-by-hop fields, fields that `Connection` names, Via, X-Forwarded-*, Max-Forwards."""

from __future__ import annotations

from tests.e2e.wire.case import (
    HOST,
    ID,
    NOTHING,
    VIA,
    Case,
    End,
    Got,
    Sent,
    answered,
    back,
    get,
    lines,
    onward,
    ours,
    passed,
    post,
)
from tests.e2e.wire.corpus.answers import LINE, TWO, answer
from tests.e2e.wire.corpus.lengths import SECOND

HOP = "RFC 9110 7.6.1"
CLOSED = Got(end=End.CLOSED)
KEPT = Got()


def without(name: str, *fields: bytes, kept: tuple[bytes, ...] = (), got: Got = KEPT, section: str = HOP) -> Case:
    """Of these fields only `kept` goes on."""
    return passed(name, section, get(*fields), onward(*kept), got)


DROPPED = (
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authorization: Basic YTpi",
    b"Proxy-Authenticate: Basic",
    b"Proxy-Anything: 1",
    b"TE: gzip",
    b"TE:",
    b"Trailer: X-Sum",
    b"Upgrade: websocket",
    b"Connection: keep-alive",
    b"connection: Keep-Alive",
    b"Connection:",
    b"Connection: ,, ,",
    b"X_Forwarded_For: 192.0.2.1",
    b"X-Forwarded_For: 192.0.2.1",
    b"x_request_id: 1",
    # Programs that see fields as variables can't tell these from framing, and would take `Proxy` for their own proxy.
    b"Content_Length: 5",
    b"content_length: 5",
    b"Transfer_Encoding: chunked",
    b"Proxy: http://192.0.2.1/",
)
NO_TUNNEL = {
    "h2c": (b"Upgrade: h2c",),
    "h2c in a list": (b"Upgrade: websocket, h2c",),
    "h2c at the head of a list": (b"Upgrade: H2C, websocket",),
    "h2c with a version": (b"Upgrade: h2c/1",),
    "h2c with a parameter": (b"Upgrade: h2c ;a=b",),
    "h2c and a comma": (b"Upgrade: h2c,",),
    "h2c in a field before another": (b"Upgrade: h2c", b"Upgrade: websocket"),
    "h2c in a field after another": (b"Upgrade: websocket", b"Upgrade: h2c"),
    "HTTP/2.0": (b"Upgrade: HTTP/2.0",),
    "TLS": (b"Upgrade: TLS/1.2",),
    "nothing": (b"Upgrade:",),
}
NAMED = {
    "one field": (b"Connection: X-A",),
    "one field in another case": (b"Connection: x-a",),
    "one field among options": (b"Connection: keep-alive, X-A",),
    "one field with commas and spaces": (b"Connection: , \tx-a \t, ,",),
    "one field in a second Connection": (b"Connection: keep-alive", b"Connection: X-A"),
    "one field twice": (b"Connection: X-A, x-A",),
    "one field that comes twice": (b"X-A: 2", b"Connection: X-A"),
}
SAFE = (
    b"Authorization: Basic YTpi",
    b"Cookie: a=b",
    b"Idempotency-Key: 1",
    b"Cache-Control: no-store",
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
    b"Content-Type: text/plain",
    b"Content-Encoding: gzip",
    b"X-Request-Id: mine",
    b"X-Forwarded-Port: 443",
    b"Via: 1.0 elsewhere",
)
HOP_BY_HOP = (
    *(without(f"{field.decode()} stays here", field) for field in DROPPED),
    *(
        without(f"no upgrade to {what}", b"Connection: upgrade", *fields, section="RFC 9110 7.8")
        for what, fields in NO_TUNNEL.items()
    ),
    *(without(f"Connection strips {what}", b"X-A: 1", *fields) for what, fields in NAMED.items()),
    without(
        "Connection strips nothing that it does not name",
        b"Connection: X-A",
        b"X-Ab: 1",
        b"X: 1",
        kept=(b"X-Ab: 1", b"X: 1"),
    ),
    *(
        passed(
            f"Connection can't strip a client's {field.partition(b':')[0].decode()}",
            HOP,
            get(b"Connection: " + field.partition(b":")[0], field),
            lines(b"GET / HTTP/1.1", b"Host: " + HOST, field, *ours(), *([] if b"Request-Id" in field else [ID])),
        )
        for field in SAFE
    ),
    *(
        without(f"Connection can't strip {name.decode()}", b"Connection: " + name)
        for name in (b"Host", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded", b"Via")
    ),
    *(
        Case(
            f"Connection can't strip {name.decode()}",
            HOP,
            (post(b"Connection: " + name, field) + body,),
            Sent(onward(line=b"POST / HTTP/1.1", last=(field,)), b"ok"),
        )
        for name, field, body in (
            (b"Content-Length", TWO, b"ok"),
            (b"Transfer-Encoding", b"Transfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"),
        )
    ),
    without("Connection: close closes", b"Connection: close", got=CLOSED),
    without("Connection: close closes in any case and place", b"Connection: X-A, CLOSE ,", b"X-A: 1", got=CLOSED),
    Case(
        "what follows a request that closes is no request",
        "RFC 9112 9.6",
        (get(b"Connection: close") + SECOND,),
        Sent(onward()),
        CLOSED,
    ),
    Case(
        "what follows a request of HTTP/1.0 is no request",
        "RFC 9112 9.3",
        (get(line=b"GET / HTTP/1.0") + SECOND,),
        Sent(onward()),
        CLOSED,
    ),
    without("close wins over keep-alive", b"Connection: keep-alive", b"Connection: close", got=CLOSED),
    without("a word that begins with close does not close", b"Connection: closed", b"X-A: 1", kept=(b"X-A: 1",)),
    passed(
        "TE: trailers is asked of the backend anew",
        "RFC 9110 10.1.4",
        get(b"TE: gzip;q=0.5, trailers", b"Connection: TE"),
        onward(last=(b"Connection: te", b"TE: trailers")),
    ),
    passed(
        "an upgrade in HTTP/1.0 is none",
        "RFC 9110 7.8",
        get(b"Connection: upgrade, keep-alive", b"Upgrade: websocket", line=b"GET / HTTP/1.0"),
        onward(),
    ),
)

BACKS = (
    b"Connection: keep-alive",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authenticate: Basic",
    b"Proxy-Authentication-Info: a",
    b"Trailer: X-Sum",
    b"TE: trailers",
    b"Upgrade: h2c",
)
ANSWERS = (
    *(
        answered(f"{field.decode()} of an answer stays here", HOP, answer(field, TWO) + b"ok", Got(head=back(TWO)))
        for field in BACKS
    ),
    answered(
        "Connection strips a field of an answer",
        HOP,
        answer(b"X-A: 1", b"Connection: x-a, x-c", b"X-B: 2", TWO, b"x-c: 3") + b"ok",
        Got(head=back(b"X-B: 2", TWO)),
    ),
    *(
        answered(
            f"Connection can't strip {field.partition(b':')[0].decode()} of an answer",
            HOP,
            answer(b"Connection: " + field.partition(b":")[0], field, TWO) + b"ok",
            Got(head=back(field, TWO)),
        )
        for field in (b"Set-Cookie: a=b", b"Content-Type: text/plain", b"Cache-Control: no-store", b"Location: /")
    ),
    answered(
        "Connection can't strip the length of an answer",
        HOP,
        answer(b"Connection: content-length", TWO) + b"ok",
        Got(head=back(TWO)),
    ),
    answered(
        "fields of an answer keep order, case, repetition and bytes",
        "RFC 9110 5.3",
        answer(
            b"set-cookie: b=2", b"X-B:  1 ", b"Set-Cookie: a=1", TWO, b"x-b:\xff\x80", b"Set-Cookie: b=2", b"X-Empty:"
        )
        + b"ok",
        Got(
            head=back(
                b"set-cookie: b=2",
                b"X-B:  1 ",
                b"Set-Cookie: a=1",
                TWO,
                b"x-b:\xff\x80",
                b"Set-Cookie: b=2",
                b"X-Empty:",
            )
        ),
    ),
    answered(
        "Via of an answer is added to",
        "RFC 9110 7.6.3",
        answer(b"Via: 1.0 elsewhere", TWO) + b"ok",
        Got(head=back(b"Via: 1.0 elsewhere", TWO)),
    ),
    answered(
        "the backend's own X-Request-Id goes on",
        "RFC 9110 5.3",
        answer(b"X-Request-Id: theirs", TWO) + b"ok",
        Got(head=lines(LINE, b"X-Request-Id: theirs", TWO, VIA)),
    ),
)

FORGED = (
    b"X-Forwarded-For: 192.0.2.1",
    b"x-forwarded-for: 192.0.2.1",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: b.example",
    b"Forwarded: for=192.0.2.1;proto=https",
)
FORWARDED = (
    *(
        without(f"a client's own {field.partition(b':')[0].decode()} is not believed", field, section="RFC 7239 8.1")
        for field in FORGED
    ),
    without("none of a client's own forwarding fields is believed", *FORGED, *FORGED, section="RFC 7239 8.1"),
    passed("Via is added to", "RFC 9110 7.6.3", get(b"Via: 1.0 elsewhere"), onward(b"Via: 1.0 elsewhere")),
    passed(
        "a client's X-Request-Id goes on, and back",
        "RFC 9110 5.3",
        get(b"X-Request-Id: mine"),
        lines(b"GET / HTTP/1.1", b"Host: " + HOST, b"X-Request-Id: mine", *ours()),
        Got(names=(b"X-Request-Id: mine",)),
    ),
    without("an empty X-Request-Id is replaced", b"X-Request-Id:", section="RFC 9110 5.5"),
    passed(
        "traceparent goes on", "RFC 9110 5.3", get(b"traceparent: 00-ab-cd-01"), onward(b"traceparent: 00-ab-cd-01")
    ),
)


def hops(name: str, method: bytes, field: bytes, kept: bytes) -> Case:
    line = method + b" / HTTP/1.1"
    head = onward(*([kept] if kept else []), line=line)
    return passed(name, "RFC 9110 7.6.2", get(field, line=line), head)


MAX_FORWARDS = (
    hops("Max-Forwards of a GET goes on", b"GET", b"Max-Forwards: 5", b"Max-Forwards: 5"),
    hops("Max-Forwards of a GET means nothing", b"GET", b"Max-Forwards: 0", b"Max-Forwards: 0"),
    passed(
        "Max-Forwards of OPTIONS is counted down",
        "RFC 9110 7.6.2",
        get(b"Max-Forwards: 5", b"X-A: 1", line=b"OPTIONS / HTTP/1.1"),
        onward(b"X-A: 1", line=b"OPTIONS / HTTP/1.1", last=(b"Max-Forwards: 4",)),
    ),
    Case(
        "OPTIONS that may go no further is answered here",
        "RFC 9110 7.6.2",
        (get(b"Max-Forwards: 0", line=b"OPTIONS * HTTP/1.1"),),
        NOTHING,
        Got(200, b"", names=(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",)),
    ),
)
REWRITTEN = (
    passed(
        "a prefix is taken off",
        "RFC 9112 3.2.1",
        get(line=b"GET /prefix/a%2Fb?c HTTP/1.1"),
        onward(line=b"GET /a%2Fb?c HTTP/1.1"),
    ),
    passed("a prefix alone leaves the root", "RFC 9112 3.2.1", get(line=b"GET /prefix/ HTTP/1.1"), onward()),
    passed(
        "a prefix is taken off an absolute target",
        "RFC 9112 3.2.2",
        get(line=b"GET http://a.example/prefix/a HTTP/1.1"),
        onward(line=b"GET /a HTTP/1.1"),
    ),
)

CASES = (*HOP_BY_HOP, *ANSWERS, *FORWARDED, *MAX_FORWARDS, *REWRITTEN)


# Behind a proxy that is trusted: see `trusted_proxies` in `test_corpus`.

ADDED = (b"X-Forwarded-Proto: http", b"X-Forwarded-Host: a.example")
MARK = b'for=127.0.0.1;proto=http;host="a.example"'


def believed(
    name: str, *fields: bytes, chain: bytes, proto: bytes = b"http", host: bytes = HOST, mark: bytes = MARK
) -> Case:
    """What a trusted proxy says is kept, and added to."""
    head = lines(
        b"GET / HTTP/1.1",
        b"Host: a.example",
        VIA,
        b"X-Forwarded-For: " + chain,
        b"X-Forwarded-Proto: " + proto,
        b"X-Forwarded-Host: " + host,
        b"Forwarded: " + mark,
        ID,
    )
    return passed(name, "RFC 7239 4", get(*fields), head)


TRUSTED = (
    believed("a trusted proxy need not say anything", chain=b"127.0.0.1"),
    believed("a trusted X-Forwarded-For is added to", b"X-Forwarded-For: 192.0.2.1", chain=b"192.0.2.1, 127.0.0.1"),
    believed(
        "several trusted X-Forwarded-For become one",
        b"X-Forwarded-For: 192.0.2.1",
        b"x-forwarded-for: 192.0.2.2,192.0.2.3",
        chain=b"192.0.2.1, 192.0.2.2,192.0.2.3, 127.0.0.1",
    ),
    believed("a trusted X-Forwarded-Proto is kept", b"X-Forwarded-Proto: https", chain=b"127.0.0.1", proto=b"https"),
    believed(
        "a trusted X-Forwarded-Host is kept", b"X-Forwarded-Host: b.example", chain=b"127.0.0.1", host=b"b.example"
    ),
    believed(
        "a trusted Forwarded is added to",
        b"Forwarded: for=192.0.2.1;proto=https",
        chain=b"127.0.0.1",
        mark=b"for=192.0.2.1;proto=https, " + MARK,
    ),
    believed(
        "several trusted Forwarded become one",
        b"Forwarded: for=192.0.2.1",
        b"Forwarded: for=192.0.2.2",
        chain=b"127.0.0.1",
        mark=b"for=192.0.2.1, for=192.0.2.2, " + MARK,
    ),
    believed("nobody is trusted in another spelling", b"X_Forwarded_For: 192.0.2.1", chain=b"127.0.0.1"),
    believed(
        "Connection can't strip what a trusted proxy says",
        b"Connection: X-Forwarded-For, Forwarded",
        b"X-Forwarded-For: 192.0.2.1",
        chain=b"192.0.2.1, 127.0.0.1",
    ),
    believed("an empty trusted X-Forwarded-For adds nothing", b"X-Forwarded-For:", chain=b"127.0.0.1"),
)
