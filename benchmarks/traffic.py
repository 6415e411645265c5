"""The bytes that go over the wire: requests as browsers send them, answers as applications give them.

Used by the load client and by the backends, so that both agree on what a whole answer is. It sends nothing itself.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

HOST = "shop.example"
HEALTH_PATH = b"/healthz"
VARIANTS = 4096
"""Different heads in the traffic that never repeats itself for long."""
ROUTE_SAMPLES = 128
"""Routes that are asked for where there are many: enough to miss a cache of one, few enough to be prepared."""

_REQUEST_HEADERS: tuple[tuple[str, str], ...] = (
    ("Host", HOST),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.8,de;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://shop.example/catalogue/shoes?page=3"),
    ("Connection", "keep-alive"),
    ("Cookie", "session=5f1d7c0ab2e94c6f8a3b; consent=all; cart=17; theme=dark"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Cache-Control", "max-age=0"),
)
_ANSWER_HEADERS: tuple[tuple[str, str], ...] = (
    ("Date", "Tue, 15 Oct 2024 08:12:31 GMT"),
    ("Server", "application/2.4"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("Cache-Control", "private, no-cache, must-revalidate"),
    ("ETag", '"5f1d7c0ab2e94c6f"'),
    ("Vary", "Accept-Encoding, Cookie"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Strict-Transport-Security", "max-age=31536000"),
    ("Set-Cookie", "session=5f1d7c0ab2e94c6f8a3b; Path=/; HttpOnly; Secure"),
)
_CHUNK_BYTES = 16384


def request(method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """A whole request; `headers` replace those of the same name or come after them."""
    fields = dict(_REQUEST_HEADERS) | (headers or {})
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def varied_requests() -> list[bytes]:
    """Requests of which no two have the same head: what a cache of parsed heads can't live on."""
    rng = random.Random(7)
    requests = []
    for number in range(VARIANTS):
        token = f"{rng.getrandbits(80):020x}"
        headers = {
            "User-Agent": f"Mozilla/5.0 (X11; Linux x86_64; rv:{number}.0) Gecko/20100101 Firefox/{number}.0",
            "Referer": f"https://shop.example/catalogue/{token}",
            "Cookie": f"session={token}; consent=all; cart={number}; theme=dark",
            "Cache-Control": f"max-age={number}",
        }
        requests.append(request("GET", f"/checkout/cart?item={token}", headers))
    return requests


def routed_requests(routes: int) -> list[bytes]:
    """Requests that ask for paths under routes spread evenly over all of them."""
    step = max(1, routes // ROUTE_SAMPLES)
    return [request("GET", f"/r{number}/cart?item=42") for number in range(0, routes, step)]


def answer(body_bytes: int, *, chunked: bool = False, status: str = "200 OK") -> bytes:
    """A whole answer: eleven headers and a body of `x`, so that no body looks like the end of a chunk."""
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {body_bytes}"
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in _ANSWER_HEADERS), framing]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + (_chunks(body_bytes) if chunked else b"x" * body_bytes)


def _chunks(body_bytes: int) -> bytes:
    sizes = [_CHUNK_BYTES] * (body_bytes // _CHUNK_BYTES)
    if body_bytes % _CHUNK_BYTES:
        sizes.append(body_bytes % _CHUNK_BYTES)
    return b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in sizes) + b"0\r\n\r\n"


SMALL_ANSWER = answer(100)
UNWELL_ANSWER = answer(100, status="503 Service Unavailable")
ANSWERS: dict[bytes, bytes] = {
    HEALTH_PATH: SMALL_ANSWER,
    b"/64k": answer(65536),
    b"/64k-chunked": answer(65536, chunked=True),
    b"/1m": answer(1 << 20),
    b"/1m-chunked": answer(1 << 20, chunked=True),
}
"""Answers by path; every other path gets the small one."""


def requests_of(kind: str) -> Iterator[bytes]:
    """The requests of a case, without end. `routes-N` asks for paths under N routes."""
    if kind.startswith("routes-"):
        return itertools.cycle(routed_requests(int(kind.removeprefix("routes-"))))
    return ENDLESS[kind]() if kind in ENDLESS else itertools.cycle(REQUESTS[kind])


def mixed_requests() -> Iterator[bytes]:
    """GETs, and each third a POST with an id of its own: a backend's ledger then tells whether it was done twice."""
    read = REQUESTS["small"][0]
    for number in itertools.count():
        if number % 3:
            yield read
        else:
            yield request("POST", "/checkout/orders", {"X-Order-Id": str(number)}, b"p" * 200)


def keyed_requests() -> Iterator[bytes]:
    """Writes, each with a key that was never there before."""
    template = request("POST", "/checkout/orders", {"Idempotency-Key": "%032d"}, b"p" * 200)
    before, after = template.split(b"%032d")
    run = random.Random().getrandbits(64)
    for number in itertools.count(run):
        yield b"%b%032d%b" % (before, number, after)


ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "varied": lambda: itertools.cycle(varied_requests()),
    "mixed": mixed_requests,
    "keyed": keyed_requests,
}
REQUESTS: dict[str, list[bytes]] = {
    "small": [request("GET", "/checkout/cart?item=42")],
    "close": [request("GET", "/checkout/cart?item=42", {"Connection": "close"})],
    "post-2k": [request("POST", "/checkout/orders", body=b"p" * 2048)],
    "post-64k": [request("POST", "/checkout/orders", body=b"p" * 65536)],
    "get-64k": [request("GET", "/64k")],
    "get-64k-chunked": [request("GET", "/64k-chunked")],
    "get-1m": [request("GET", "/1m")],
    "get-1m-chunked": [request("GET", "/1m-chunked")],
}
