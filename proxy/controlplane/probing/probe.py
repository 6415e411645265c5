"""One probe: open a connection, or GET a path, and say what was seen. When and how often is `checker`'s matter."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Mapping
from functools import lru_cache
from time import monotonic
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy import __version__
from proxy.contexts import client_context
from proxy.controlplane.own_code import OwnCode
from proxy.controlplane.probing.faults import certificate_fault, tls_fault
from proxy.core.extending import Target
from proxy.core.health import HealthPolicy, Probe
from proxy.core.proxy_protocol import own_header
from proxy.core.settings import Address
from proxy.core.tls import BackendTls
from proxy.core.word import STATE, WEIGHT, BackendWord, read_word
from proxy.dialling import dial

BODY_READ = 65536
"""Bytes of an answer in which `body` is looked for."""
DETAIL_MAX = 200
"""Characters of what a Backend said that are kept."""
USER_AGENT = f"failover-proxy/{__version__} (probe)"
SYSTEM_TLS = BackendTls()
GOODBYE = 1.0
"""Seconds that a Backend has to answer the end of a TLS connection."""
MOST_CONTEXTS = 64
"""Kept at a time: reloads bring new ones."""
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
"""The deadline is `Prober.probe`'s: aiohttp would round up whatever is above five seconds."""


Seen = tuple[bool, str, BackendWord | None]
"""Whether it was good, what was seen, and what the Backend said of itself."""


class Prober:
    """Carries out probes. Every one opens its own connection: a probe must notice that nobody accepts any more."""

    def __init__(self, own: OwnCode | None = None) -> None:
        self._own = own
        self._sessions: dict[tuple[str, bytes], aiohttp.ClientSession] = {}
        """By the path of the Unix socket, empty for TCP; where something is said first, by address and words."""
        self._contexts: dict[BackendTls, ssl.SSLContext] = {}

    async def probe(
        self, address: Address, policy: HealthPolicy, proxy_protocol: str = "", tls: BackendTls = SYSTEM_TLS
    ) -> Probe:
        """One result, within `policy.timeout` seconds.

        `proxy_protocol`: the version of the header that the Backend awaits first; empty for none.
        """
        words = own_header(proxy_protocol) if proxy_protocol else b""
        began = monotonic()
        word: BackendWord | None = None
        try:
            async with asyncio.timeout(policy.timeout):
                try:
                    ok, detail, word = await self._ask(address, policy, words, tls)
                except (ssl.SSLCertVerificationError, aiohttp.ClientConnectorCertificateError) as error:
                    ok, detail = False, await certificate_fault(error, address, words, tls)
        except TimeoutError:
            ok, detail = False, f"no {'connection' if policy.path is None else 'answer'} within {policy.timeout:g}s"
        except (OSError, aiohttp.ClientError, ValueError) as error:
            ok, detail = False, _describe(error)
        ended = monotonic()
        return Probe(ended, ok, ended - began, _clean(detail), word)

    async def _ask(self, address: Address, policy: HealthPolicy, words: bytes, tls: BackendTls) -> Seen:
        seen = None if policy.check is None else await self._ask_own_code(address, policy.check, policy.timeout)
        if seen is not None:
            return seen
        secured: dict[str, Any] = {}
        if address.tls:
            secured = {"ssl": self._context(tls), "server_hostname": tls.server_name or address.host}
        if policy.path is None:
            return *await _connect(address, words, secured), None
        return await self._get(address, policy.path, policy, words, secured)

    async def _ask_own_code(self, address: Address, path: str, timeout: float) -> Seen | None:
        """What a user's own probe sees; None where it goes wrong, and the built-in one has to look."""
        check = None if self._own is None else self._own.probe(path)
        if check is None or self._own is None:
            return None
        try:
            ok, detail = await check(Target(address.host, address.port, address.path, address.tls, timeout))
        except (OSError, EOFError, aiohttp.ClientError) as error:
            return False, str(error) or type(error).__name__, None
        except Exception as error:  # noqa: BLE001 - it is not ours
            self._own.complain(path, error)
            return None
        return bool(ok), str(detail), None

    def _context(self, tls: BackendTls) -> ssl.SSLContext:
        """As workers have it, but for sessions: each probe sees the whole certificate."""
        context = self._contexts.get(tls)
        if context is None:
            if len(self._contexts) >= MOST_CONTEXTS:
                self._contexts.clear()
            context = self._contexts[tls] = client_context(tls)
        return context

    async def _get(
        self, address: Address, path: str, policy: HealthPolicy, words: bytes, secured: dict[str, Any]
    ) -> Seen:
        url = URL(f"{'https' if secured else 'http'}://{_authority(address)}{path}", encoded=True)
        headers = {
            "Host": _authority(address),
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        session = self._session(address, words)
        async with session.get(url, headers=headers, allow_redirects=False, **secured) as answer:
            word, wrong = read_word(answer.headers.get(STATE), answer.headers.get(WEIGHT))
            seen = "; ".join(filter(None, (f"{answer.status} {answer.reason or ''}".rstrip(), wrong)))
            if not policy.expects(answer.status):
                return False, seen, word
            if policy.body is not None and not _pattern(policy.body).search(await _read(answer.content)):
                return False, f"{seen}, but its body does not match {policy.body!r}", word
            return True, seen, word

    def _session(self, address: Address, words: bytes) -> aiohttp.ClientSession:
        key = (str(address) if words else address.path, words)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _open_session(address, words)
        return session

    async def close(self) -> None:
        """Close what is open."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


class DiallingConnector(aiohttp.BaseConnector):
    """Says something on each connection before HTTP begins."""

    def __init__(self, address: Address, words: bytes) -> None:
        super().__init__(force_close=True, limit=0)
        self._address = address
        self._words = words

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        sock = await dial(self._address, self._words)
        secured = {"ssl": req.ssl, "server_hostname": req.server_hostname} if req.is_ssl() else {}
        _, protocol = await self._loop.create_connection(self._factory, sock=sock, **secured)
        return protocol


def _open_session(address: Address, words: bytes) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if words:
        connector = DiallingConnector(address, words)
    elif address.path:
        connector = aiohttp.UnixConnector(address.path, force_close=True, limit=0)
    else:
        connector = aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False)
    session = aiohttp.ClientSession(
        connector=connector, timeout=NO_TIMEOUT, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    )
    # A GET that is closed without an answer would silently be sent again, and a Backend that fails every second
    # probe would look well. There is no public switch (aiohttp issue 10790); a test counts what a server sees.
    session._retry_connection = False  # noqa: SLF001
    return session


async def _connect(address: Address, words: bytes, secured: dict[str, Any]) -> tuple[bool, str]:
    loop = asyncio.get_running_loop()
    if words or secured:
        sock = await dial(address, words)
        if not secured:
            sock.close()
            return True, "connected"
        transport, _ = await loop.create_connection(
            asyncio.Protocol, sock=sock, ssl_shutdown_timeout=GOODBYE, **secured
        )
    elif address.path:
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, address.path)
    else:
        transport, _ = await loop.create_connection(asyncio.Protocol, address.host, address.port)
    transport.close()
    return True, "connected"


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) >= BODY_READ:
            break
    return bytes(body[:BODY_READ])


def _authority(address: Address) -> str:
    return "localhost" if address.path else str(address)


@lru_cache(maxsize=256)
def _pattern(body: str) -> re.Pattern[bytes]:
    return re.compile(body.encode())


_PLAIN: Mapping[type[Exception], str] = {
    aiohttp.ClientConnectionResetError: "the connection was closed",
    aiohttp.ServerDisconnectedError: "closed the connection without an answer",
    aiohttp.ClientPayloadError: "the answer's body broke off",
}


def _describe(error: Exception) -> str:
    """What went wrong, in the words of the system where it has some."""
    fault = tls_fault(error)
    if fault:
        return fault
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, aiohttp.ClientResponseError):
        return f"not valid HTTP: {error.message}"
    return _PLAIN.get(type(error)) or str(error) or type(error).__name__


def _clean(text: str) -> str:
    """Text of a Backend, made safe for logs and terminals."""
    return "".join(c if c.isprintable() else "?" for c in text[:DETAIL_MAX])
