"""A handler of aiohttp.web that calls an aiohttp.ClientSession: what one would write by hand in an afternoon.

With a probe of each backend, the next backend after a failed GET, and the fewest requests in flight; it holds bodies
in memory and has no tunnels.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import sys
from importlib.metadata import version as version_of_package

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict

from benchmarks.peers.contract import Setup, UnsupportedError

TITLE = "aiohttp server + client"
INSTALL = "pip install aiohttp"

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length")
)
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_TRIES = 3


def version() -> str | None:
    """What is installed."""
    return version_of_package("aiohttp")


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    if setup.workers > 1:
        raise UnsupportedError("this pair is one process")
    if setup.routes > 1:
        raise UnsupportedError("this pair has no routes")
    if setup.websockets:
        raise UnsupportedError("this pair has no tunnels")
    certificate = setup.certificate
    spec = {
        "port": setup.port,
        "backends": setup.backends,
        "interval": setup.probe_interval,
        "answer": setup.answer_timeout,
        "tls": [str(certificate.chain), str(certificate.key)] if certificate else [],
    }
    return [sys.executable, "-m", "benchmarks.peers.aiohttp_pair", json.dumps(spec)]


class Forwarding:
    """The handler and what it knows of the backends."""

    def __init__(self, session: aiohttp.ClientSession, backends: list[int]) -> None:
        self._session = session
        self._in_flight = {f"http://127.0.0.1:{port}": 0 for port in backends}
        self._unwell: set[str] = set()

    async def probe(self, interval: float) -> None:
        while True:
            for backend in self._in_flight:
                try:
                    async with self._session.get(backend + "/healthz", timeout=aiohttp.ClientTimeout(1)) as answer:
                        is_well = answer.status < 400
                except (aiohttp.ClientError, TimeoutError):
                    is_well = False
                (self._unwell.discard if is_well else self._unwell.add)(backend)
            await asyncio.sleep(interval)

    def _choose(self, tried: set[str]) -> str:
        candidates = [each for each in self._in_flight if each not in self._unwell and each not in tried]
        return min(candidates or self._in_flight, key=self._in_flight.__getitem__)

    async def __call__(self, request: web.Request) -> web.Response:
        headers = _end_to_end(request.headers)
        headers["X-Forwarded-For"] = request.remote or ""
        headers["X-Forwarded-Proto"] = request.scheme
        headers["X-Forwarded-Host"] = request.host
        body = await request.read() if request.body_exists else None
        tried: set[str] = set()
        while True:
            backend = self._choose(tried)
            tried.add(backend)
            last = request.method not in _SAFE or len(tried) >= _TRIES
            try:
                answer = await self._forward(request, backend, headers, body)
            except (aiohttp.ClientError, TimeoutError) as error:
                if last:
                    raise web.HTTPBadGateway from error
                continue
            if last or answer.status not in {502, 503, 504}:
                return answer

    async def _forward(
        self, request: web.Request, backend: str, headers: CIMultiDict[str], body: bytes | None
    ) -> web.Response:
        self._in_flight[backend] += 1
        try:
            async with self._session.request(
                request.method, backend + request.raw_path, headers=headers, data=body, allow_redirects=False
            ) as answer:
                return web.Response(status=answer.status, headers=_end_to_end(answer.headers), body=await answer.read())
        finally:
            self._in_flight[backend] -= 1


def _end_to_end(headers: aiohttp.typedefs.LooseHeaders) -> CIMultiDict[str]:
    kept: CIMultiDict[str] = CIMultiDict()
    for name, value in CIMultiDict(headers).items():
        if name.lower() not in _HOP_BY_HOP:
            kept.add(name, value)
    return kept


async def _serve(port: int, backends: list[int], interval: float, answer: float, tls: list[str]) -> None:
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=60, sock_connect=1, sock_read=answer),
        auto_decompress=False,
    ) as session:
        forwarding = Forwarding(session, backends)
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", forwarding)
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=60)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, backlog=4096).start()
        gc.freeze()
        await forwarding.probe(interval)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve(**json.loads(sys.argv[1])))
