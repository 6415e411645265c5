"""One probe: open a connection, or GET a path, and say what was seen. When and how often is `checker`'s matter."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from functools import lru_cache
from time import monotonic
from typing import Any

from aiohttp import ClientError

from proxy import __version__
from proxy.contexts import client_context
from proxy.controlplane.own_code import OwnCode
from proxy.controlplane.probing.faults import certificate_fault, tls_fault
from proxy.controlplane.probing.question import Question
from proxy.core.extending import WRONG, Target
from proxy.core.pools.health import HealthPolicy, Probe
from proxy.core.pools.word import STATE, WEIGHT, BackendWord, read_word
from proxy.core.settings import Address
from proxy.core.tls import BackendTls
from proxy.core.wire.proxy_protocol import own_header
from proxy.dialling import dial
from proxy.errors import ResponseError

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
Seen = tuple[bool, str, BackendWord | None]
"""Whether it was good, what was seen, and what the Backend said of itself."""


class Prober:
    """Carries out probes. Every one opens its own connection: a probe must notice that nobody accepts any more."""

    def __init__(self, own: OwnCode | None = None) -> None:
        self._own = own
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
                except ssl.SSLCertVerificationError as error:
                    ok, detail = False, await certificate_fault(error, address, words, tls)
        except TimeoutError:
            ok, detail = False, f"no {'connection' if policy.path is None else 'answer'} within {policy.timeout:g}s"
        except (OSError, ResponseError, ValueError) as error:
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
            transport = await _connect(asyncio.Protocol(), address, words, secured)
            transport.close()
            return True, "connected", None
        return await _get(address, policy.path, policy, words, secured)

    async def _ask_own_code(self, address: Address, path: str, timeout: float) -> Seen | None:
        """What a user's own probe sees; None where it goes wrong, and the built-in one has to look."""
        check = None if self._own is None else self._own.probe(path)
        if check is None or self._own is None:
            return None
        try:
            ok, detail = await check(Target(address.host, address.port, address.path, address.tls, timeout))
            return bool(ok), str(detail), None
        except (OSError, EOFError, ClientError) as error:
            return False, str(error) or type(error).__name__, None
        except (*WRONG, asyncio.CancelledError) as error:
            # Its own CancelledError, of a task that it has given up, would end the probes of this Backend for good.
            if isinstance(error, asyncio.CancelledError) and _is_ended():
                raise
            self._own.complain(path, error)
            return None

    def _context(self, tls: BackendTls) -> ssl.SSLContext:
        """As workers have it, but for sessions: each probe sees the whole certificate."""
        context = self._contexts.get(tls)
        if context is None:
            if len(self._contexts) >= MOST_CONTEXTS:
                self._contexts.clear()
            context = self._contexts[tls] = client_context(tls)
        return context


def _is_ended() -> bool:
    """Whether nobody wants this probe's result any more, or its time is over."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _get(address: Address, path: str, policy: HealthPolicy, words: bytes, secured: dict[str, Any]) -> Seen:
    question = Question(_request(_authority(address), path), 0 if policy.body is None else BODY_READ)
    transport = await _connect(question, address, words, secured)
    try:
        answer = await question.answer
    finally:
        transport.close()
    if isinstance(answer, Exception):
        raise answer
    word, wrong = read_word(answer.field(STATE), answer.field(WEIGHT))
    seen = "; ".join(filter(None, (answer.said, wrong)))
    if not policy.expects(answer.head.status):
        return False, seen, word
    if policy.body is not None and not _pattern(policy.body).search(answer.body):
        return False, f"{seen}, but its body does not match {policy.body!r}", word
    return True, seen, word


async def _connect(
    protocol: asyncio.Protocol, address: Address, words: bytes, secured: dict[str, Any]
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    if secured:
        secured = {**secured, "ssl_shutdown_timeout": GOODBYE}
    if words or secured or address.path:
        sock = await dial(address, words)
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock, **secured)
    else:
        transport, _ = await loop.create_connection(lambda: protocol, address.host, address.port)
    return transport


@lru_cache(maxsize=1024)
def _request(authority: str, path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n"
        "Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    ).encode()


def _authority(address: Address) -> str:
    return "localhost" if address.path else str(address)


@lru_cache(maxsize=256)
def _pattern(body: str) -> re.Pattern[bytes]:
    return re.compile(body.encode())


def _describe(error: Exception) -> str:
    """What went wrong, in the words of the system where it has some."""
    fault = tls_fault(error)
    if fault:
        return fault
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, ResponseError):
        return f"not valid HTTP: {error}"
    return str(error) or type(error).__name__


def _clean(text: str) -> str:
    """Text of a Backend, made safe for logs and terminals."""
    return "".join(c if c.isprintable() else "?" for c in text[:DETAIL_MAX])
