"""One probe: open a connection, or GET a path, and say what was seen. When and how often is `checker`'s matter."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from time import monotonic
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from proxy import __version__
from proxy.core.health import HealthPolicy, Probe
from proxy.core.proxy_protocol import own_header
from proxy.core.settings import Address
from proxy.dialling import dial

BODY_READ = 65536
"""Bytes of an answer in which `body` is looked for."""
DETAIL_MAX = 200
"""Characters of what a Backend said that are kept."""
USER_AGENT = f"failover-proxy/{__version__} (probe)"
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
"""The deadline is `Prober.probe`'s: aiohttp would round up whatever is above five seconds."""


class Prober:
    """Carries out probes. Every one opens its own connection: a probe must notice that nobody accepts any more."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, bytes], aiohttp.ClientSession] = {}
        """By the path of the Unix socket, empty for TCP; where something is said first, by address and words."""

    async def probe(self, address: Address, policy: HealthPolicy, proxy_protocol: str = "") -> Probe:
        """One result, within `policy.timeout` seconds.

        `proxy_protocol`: the version of the header that the Backend awaits first; empty for none.
        """
        words = own_header(proxy_protocol) if proxy_protocol else b""
        began = monotonic()
        try:
            async with asyncio.timeout(policy.timeout):
                if policy.path is None:
                    ok, detail = await _connect(address, words)
                else:
                    ok, detail = await self._get(address, policy.path, policy, words)
        except TimeoutError:
            ok, detail = False, f"no {'connection' if policy.path is None else 'answer'} within {policy.timeout:g}s"
        except (OSError, aiohttp.ClientError, ValueError) as error:
            ok, detail = False, _describe(error)
        ended = monotonic()
        return Probe(ended, ok, ended - began, _clean(detail))

    async def _get(self, address: Address, path: str, policy: HealthPolicy, words: bytes) -> tuple[bool, str]:
        url = URL(f"http://{_authority(address)}{path}", encoded=True)
        headers = {
            "Host": _authority(address),
            "User-Agent": USER_AGENT,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        async with self._session(address, words).get(url, headers=headers, allow_redirects=False) as answer:
            seen = f"{answer.status} {answer.reason or ''}".rstrip()
            if not policy.expects(answer.status):
                return False, seen
            if policy.body is not None and not _pattern(policy.body).search(await _read(answer.content)):
                return False, f"{seen}, but its body does not match {policy.body!r}"
            return True, seen

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
        _, protocol = await self._loop.create_connection(self._factory, sock=sock)
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


async def _connect(address: Address, words: bytes) -> tuple[bool, str]:
    loop = asyncio.get_running_loop()
    if words:
        (await dial(address, words)).close()
        return True, "connected"
    if address.path:
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
