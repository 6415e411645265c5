from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.names import (
    BACKEND_ADDRESS,
    BACKEND_NAME,
    CONDITION,
    FILE,
    HASH_ON,
    HOST,
    LISTENING_ADDRESS,
    MATCH_PATH,
    METHOD,
    NAME,
    NETWORK,
    PREFIX,
    PROBE_PATH,
    REDIRECT_STATUS,
    REGEX,
    STATUS_RANGE,
    TARGET,
    VERSION,
)
from proxy.config.quantities import Quantity, WrongValueError
from proxy.core.settings import Address, HashOn


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("[0:0::1]:8080", Address("::1", 8080)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
        ("LocalHost:80", Address("localhost", 80)),
        ("app_1.internal:80", Address("app_1.internal", 80)),
        ("unix:/run/proxy.sock", Address(path="/run/proxy.sock")),
    ],
)
def test_an_address_is_a_host_and_a_port_or_a_socket(written: str, address: Address) -> None:
    assert address == LISTENING_ADDRESS.read(written)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("http://app.internal", Address("app.internal", 80)),
        ("http://app.internal/", Address("app.internal", 80)),
        ("HTTP://app.internal:8080", Address("app.internal", 8080)),
        ("http://[::1]", Address("::1", 80)),
        ("http://[::1]:8080", Address("::1", 8080)),
        ("https://app.internal", Address("app.internal", 443, tls=True)),
        ("HTTPS://[::1]:8443/", Address("::1", 8443, tls=True)),
        ("app.internal:8080", Address("app.internal", 8080)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
    ],
)
def test_a_backend_may_be_given_as_a_url(written: str, address: Address) -> None:
    assert address == BACKEND_ADDRESS.read(written)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (8080, "expected an address such as 127.0.0.1:8080, not 8080"),
        (
            "localhost",
            "expected an address such as 127.0.0.1:8080, not 'localhost'; the port is missing, such as localhost:8080",
        ),
        ("8080", "expected an address such as 127.0.0.1:8080, not '8080'"),
        (
            "::1",
            "expected an address such as 127.0.0.1:8080, not '::1'; IPv6 is written in brackets, such as [::1]:8080",
        ),
        (":8080", "the host is missing; every address of this machine is 0.0.0.0 or [::]"),
        ("*:8080", "the host is missing; every address of this machine is 0.0.0.0 or [::]"),
        ("127.0.0.1:65536", "the port must be from 1 to 65535, not 65536"),
        ("127.0.0.1:0", "the port must be from 1 to 65535, not 0"),
        ("300.0.0.1:80", "not an IPv4 address: '300.0.0.1'"),
        ("[::g]:80", "expected an address such as 127.0.0.1:8080, not '[::g]:80'"),
        ("[1::2::3]:80", "not an IPv6 address: '1::2::3'"),
        ("a..b:80", "not a host name: 'a..b'"),
        ("unix:run/app.sock", "expected an absolute path after 'unix:', not 'run/app.sock'"),
        ("unix:/" + "x" * 107, "a socket's path has at most 107 bytes"),
        ("http://a/path", "a backend's URL has no path, query, fragment or user; requests bring their own"),
        ("http://user@a", "a backend's URL has no path, query, fragment or user; requests bring their own"),
        ("http://a?b", "a backend's URL has no path, query, fragment or user; requests bring their own"),
        ("htp://a", "expected http://, https:// or an address, not 'htp://a'; did you mean 'http'?"),
        ("ftp://a", "expected http://, https:// or an address, not 'ftp://a'"),
        ("http://", "the host is missing; every address of this machine is 0.0.0.0 or [::]"),
    ],
)
def test_a_wrong_address_is_answered_with_what_is_expected(written: object, message: str) -> None:
    with pytest.raises(WrongValueError) as caught:
        BACKEND_ADDRESS.read(written)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("quantity", "written", "value"),
    [
        (NETWORK, "10.0.0.0/8", "10.0.0.0/8"),
        (NETWORK, "192.0.2.1", "192.0.2.1/32"),
        (NETWORK, "2001:db8::/32", "2001:db8::/32"),
        (HOST, "Shop.Example", "shop.example"),
        (HOST, "*.Shop.example", "*.shop.example"),
        (HOST, "[::1]", "[::1]"),
        (MATCH_PATH, "/", "/"),
        (MATCH_PATH, "/*", "/*"),
        (MATCH_PATH, "/a/b/*", "/a/b/*"),
        (METHOD, "M-SEARCH", "M-SEARCH"),
        (PREFIX, "/api/v1", "/api/v1"),
        (PROBE_PATH, "/healthz?full=1", "/healthz?full=1"),
        (TARGET, "https://{host}{path}", "https://{host}{path}"),
        (TARGET, "/new", "/new"),
        (CONDITION, 503, "503"),
        (CONDITION, "503", "503"),
        (CONDITION, "connect", "connect"),
        (STATUS_RANGE, 200, (200, 200)),
        (STATUS_RANGE, "200-399", (200, 399)),
        (REGEX, "^ok$", "^ok$"),
        (HASH_ON, "client", HashOn("client")),
        (HASH_ON, "path", HashOn("path")),
        (HASH_ON, {"header": "X-User"}, HashOn("header", "x-user")),
        (HASH_ON, {"cookie": "Session"}, HashOn("cookie", "Session")),
        (REDIRECT_STATUS, 307, 307),
        (VERSION, 1, 1),
        (NAME, "checkout-2", "checkout-2"),
        (BACKEND_NAME, "[::1]:80", "[::1]:80"),
        (FILE, "./a b", "./a b"),
    ],
)
def test_a_value_is_read(quantity: Quantity, written: object, value: object) -> None:
    assert value == quantity.read(written)


@pytest.mark.parametrize(
    ("quantity", "written", "message"),
    [
        (NETWORK, "10.0.0.1/8", "'10.0.0.1/8' has bits set beyond its prefix; did you mean '10.0.0.0/8'?"),
        (NETWORK, "lan", "expected a network such as 10.0.0.0/8 or an address, not 'lan'"),
        (NETWORK, 10, "expected a network such as 10.0.0.0/8, not 10"),
        (HOST, "*", "'*' is no host; leave 'host' out to match every one"),
        (HOST, "a.*.b", "'*' may only stand for the first part of a host, such as *.shop.example, not 'a.*.b'"),
        (HOST, "shop.example:80", "a host is matched without its port, not 'shop.example:80'"),
        (HOST, "shop example", "expected a host such as shop.example or *.shop.example, not 'shop example'"),
        (HOST, "*.*.a", "'*' may only stand for the first part of a host, such as *.shop.example, not '*.*.a'"),
        (MATCH_PATH, "cart", "expected a path such as /cart or /cart/*, not 'cart'"),
        (
            MATCH_PATH,
            "/cart*",
            "'*' may only stand at the end of a path, after a '/', not as in '/cart*'; did you mean '/cart/*'?",
        ),
        (MATCH_PATH, "/*/a", "'*' may only stand at the end of a path, after a '/', not as in '/*/a'"),
        (
            MATCH_PATH,
            "/a b",
            "a path is matched as it is sent: without '?', '#', spaces or letters beyond ASCII, not '/a b'",
        ),
        (
            MATCH_PATH,
            "/a?b",
            "a path is matched as it is sent: without '?', '#', spaces or letters beyond ASCII, not '/a?b'",
        ),
        (METHOD, "get", "methods are written in capitals; did you mean 'GET'?"),
        (METHOD, "GET POST", "expected a method such as GET, not 'GET POST'"),
        (PREFIX, "/", "expected a path that begins with '/' and does not end with one such as /api, not '/'"),
        (PREFIX, "/api/", "expected a path that begins with '/' and does not end with one such as /api, not '/api/'"),
        (PROBE_PATH, "healthz", "expected a path that begins with '/' such as /healthz, not 'healthz'"),
        (TARGET, "new", "expected a path or URL such as https://new.example{path}, not 'new'"),
        (TARGET, "/{uri}", "the placeholders are {path} or {host}, not '{uri}'"),
        (
            TARGET,
            "/a\r\nSet-Cookie: b",
            "expected a path or URL such as https://new.example{path}, not '/a\ufffd\ufffdSet-Cookie: b'",
        ),
        (
            CONDITION,
            "conect",
            "expected connect, reset, timeout, 408, 425, 429, 500, 502, 503 or 504, not 'conect'; did you mean 'connect'?",
        ),
        (CONDITION, 404, "expected connect, reset, timeout, 408, 425, 429, 500, 502, 503 or 504, not 404"),
        (STATUS_RANGE, 99, "expected a status such as 200 or a range such as 200-399, not 99"),
        (STATUS_RANGE, "300-200", "expected a status such as 200 or a range such as 200-399, not '300-200'"),
        (REGEX, "(", "not a regular expression: missing ), unterminated subpattern at position 0"),
        (REGEX, "[[a]", "not a regular expression: Possible nested set at position 1"),
        (
            HASH_ON,
            "Client",
            "expected client, path, {header: NAME} or {cookie: NAME}, not 'Client'; did you mean 'client'?",
        ),
        (HASH_ON, {"header": "a b"}, "expected a header's name such as X-Canary, not 'a b'"),
        (HASH_ON, {"header": "a", "cookie": "b"}, "expected client, path, {header: NAME} or {cookie: NAME}, not a map"),
        (HASH_ON, {"query": "a"}, "expected client, path, {header: NAME} or {cookie: NAME}, not a map"),
        (REDIRECT_STATUS, 304, "expected 301, 302, 303, 307 or 308, not 304"),
        (VERSION, 2, "the only version of this language is 1, not 2"),
        (VERSION, True, "the only version of this language is 1, not true"),
        (NAME, "a/b", "expected a name of letters, digits and . _ - such as 'checkout', not 'a/b'"),
        (BACKEND_NAME, 'a"b', "expected a name without spaces, quotes and commas such as 'eu-1', not 'a\"b'"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_expected(quantity: Quantity, written: object, message: str) -> None:
    with pytest.raises(WrongValueError) as caught:
        quantity.read(written)

    assert message == str(caught.value)


ALL = [
    BACKEND_ADDRESS, BACKEND_NAME, CONDITION, FILE, HASH_ON, HOST, LISTENING_ADDRESS, MATCH_PATH, METHOD, NAME, NETWORK,
    PREFIX, PROBE_PATH, REDIRECT_STATUS, REGEX, STATUS_RANGE, TARGET, VERSION,
]  # fmt: skip


@given(
    quantity=st.sampled_from(ALL),
    value=st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.text(alphabet="ab:/.*[]{}()0123-%"),
        st.dictionaries(st.sampled_from(["header", "cookie"]), st.text()),
    ),
)
def test_any_value_is_read_or_refused(quantity: Quantity, value: Any) -> None:
    try:
        quantity.read(value)
    except WrongValueError as error:
        assert str(error)


@given(st.text(alphabet="ab:/.[]0123%unix", max_size=20))
def test_an_address_that_was_written_reads_the_same(written: str) -> None:
    try:
        address = BACKEND_ADDRESS.read(written)
    except WrongValueError:
        return

    assert address == BACKEND_ADDRESS.read(BACKEND_ADDRESS.write(address))
