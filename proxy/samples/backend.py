"""A sample backend that can be told to fail: `python -m proxy.samples.backend --port 9001 --control-port 9101`.

It answers any path with JSON that says who it is, `/healthz` with `ok`, `/slow?ms=250` late, and a request with a body
with that body. Started by the quickstart, the demo, `docker-compose.yml` and the end-to-end tests. Its faults are set
on a port of their own, so that they can be lifted again, whatever they are: `PUT /_fault {"mode": "hang"}`.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import json
import os
import signal
import socket
import ssl
from collections import Counter
from pathlib import Path

import uvloop
from aiohttp import web

HEALTH_PATH = "/healthz"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Fault(enum.StrEnum):
    """What is wrong with this backend."""

    NONE = "none"
    HANG = "hang"
    """Takes connections and requests, and answers none of them until the fault is lifted."""
    UNWELL = "503"
    """Answers 503 to everything."""
    SOME = "some"
    """Answers 503 to every fifth request."""
    SLOW = "slow"
    """Answers all but health checks well, ten times as late as usual, and no sooner than after 50 ms."""
    CLOSE = "close"
    """Takes connections and closes them at once, those that are open too."""
    HALF = "half"
    """Ends each connection in the middle of an answer."""
    REFUSE = "refuse"
    """Does not listen, and has closed every connection."""


class _Closed(asyncio.Protocol):
    """A connection that is closed as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Backend:
    """One sample backend: what it has done so far, and what is wrong with it now."""

    def __init__(self, name: str, delay: float = 0.0, record: int | None = None) -> None:
        self.name = name
        self.delay = delay
        self._record = record
        self.fault = Fault.NONE
        self.spares_health = False
        self.requests = 0
        self.executions: Counter[str] = Counter()
        self.executed = asyncio.Event()
        """Set at each execution, for those who wait for one."""
        self._fault_changed = asyncio.Event()
        self._server = web.Server(self._answer)
        self._listener: asyncio.Server | None = None
        self._kept_port: socket.socket | None = None
        self._address = ("", 0)
        self.tls: ssl.SSLContext | None = None

    # Faults

    async def set_fault(self, fault: Fault, *, spares_health: bool) -> None:
        """Fail in this way from now on; with `spares_health` the health path stays well."""
        self.fault, self.spares_health = fault, spares_health
        self._fault_changed.set()
        self._fault_changed = asyncio.Event()
        if fault in {Fault.CLOSE, Fault.REFUSE}:
            self._close_connections()
        if fault is Fault.REFUSE:
            self._stop_listening()
        elif self._kept_port is not None:
            await self._listen(self._kept_port)

    def _close_connections(self) -> None:
        for connection in list(self._server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            # Bound but not listening: connections are refused, and nobody else can take the port.
            self._kept_port = _bind(*self._address)

    # Connections

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; port 0 takes a free one. Returns the address."""
        bound = _bind(host, port)
        self._address = bound.getsockname()[:2]
        await self._listen(bound)
        return self._address

    async def _listen(self, bound: socket.socket) -> None:
        self._kept_port = None
        self._listener = await asyncio.get_running_loop().create_server(
            self._connection, sock=bound, backlog=1024, ssl=self.tls
        )

    def _connection(self) -> asyncio.BaseProtocol:
        return _Closed() if self.fault is Fault.CLOSE else self._server()

    async def stop(self) -> None:
        """Close everything."""
        self.fault = Fault.CLOSE
        self._fault_changed.set()
        for listening in (self._listener, self._kept_port):
            if listening is not None:
                listening.close()
        await self._server.shutdown(1.0)

    # Requests

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        self.requests += 1
        if request.method not in SAFE_METHODS:
            self._execute(body.decode(errors="replace") or request.headers.get("X-Request-Id", ""))
        fault = await self._fault_of(request)
        if fault is Fault.SOME:
            fault = Fault.NONE if self.requests % 5 else Fault.UNWELL
        if fault is Fault.UNWELL:
            return web.Response(status=503, text=f"{self.name} is unwell\n", headers={"X-Backend": self.name})
        if fault not in {Fault.NONE, Fault.SLOW}:
            return self._break_off(request, half=fault is Fault.HALF)
        await asyncio.sleep(self._delay_of(request))
        return self._response(request, body)

    def _execute(self, what: str) -> None:
        self.executions[what] += 1
        self.executed.set()
        if self._record is not None:
            os.write(self._record, (json.dumps(what) + "\n").encode())

    async def _fault_of(self, request: web.BaseRequest) -> Fault:
        if request.path == HEALTH_PATH and self.spares_health:
            return Fault.NONE
        while self.fault is Fault.HANG:
            await self._fault_changed.wait()
        return self.fault

    def _break_off(self, request: web.BaseRequest, *, half: bool) -> web.StreamResponse:
        if request.transport is not None:
            if half:
                request.transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nhalf of"
                )
            request.transport.close()
        return web.Response()

    def _delay_of(self, request: web.BaseRequest) -> float:
        if request.path == HEALTH_PATH:
            return 0.0
        asked_for = request.query.get("ms", "") if request.path == "/slow" else ""
        if asked_for.isdecimal():
            return int(asked_for) / 1000
        return max(10 * self.delay, 0.05) if self.fault is Fault.SLOW else self.delay

    def _response(self, request: web.BaseRequest, body: bytes) -> web.Response:
        headers = {"X-Backend": self.name}
        if request.path == HEALTH_PATH:
            return web.Response(text="ok\n", headers=headers)
        if body:
            return web.Response(body=body, content_type=request.content_type, headers=headers)
        who = {"backend": self.name, "pid": os.getpid(), "requests": self.requests, "path": request.path}
        return web.json_response(text=json.dumps(who) + "\n", headers=headers)


# The control port


def control(backend: Backend) -> web.Application:
    """Build the application on the control port."""

    async def put_fault(request: web.Request) -> web.Response:
        try:
            wanted = await request.json()
            fault, spares_health = Fault(wanted["mode"]), wanted.get("spares_health", False) is True
        except (ValueError, KeyError, TypeError, AttributeError):
            raise web.HTTPBadRequest(text=f'expected {{"mode": {" | ".join(Fault)}}}\n') from None
        await backend.set_fault(fault, spares_health=spares_health)
        return await get_fault(request)

    async def get_fault(_: web.Request) -> web.Response:
        return web.json_response({"mode": backend.fault, "spares_health": backend.spares_health})

    async def get_executions(_: web.Request) -> web.Response:
        return web.json_response(backend.executions)

    application = web.Application()
    application.router.add_put("/_fault", put_fault)
    application.router.add_get("/_fault", get_fault)
    application.router.add_get("/_executions", get_executions)
    return application


async def _start_control(backend: Backend, host: str, port: int) -> tuple[web.AppRunner, tuple[str, int]]:
    runner = web.AppRunner(control(backend), access_log=None)
    await runner.setup()
    bound = _bind(host, port)
    await web.SockSite(runner, bound).start()
    return runner, bound.getsockname()[:2]


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


# The program


def tell(where: str, addresses: str) -> None:
    """Write the whole file at once, so that whoever waits for it never reads half of it."""
    if where == "-":
        print(addresses, flush=True)
        return
    unfinished = Path(f"{where}.{os.getpid()}")
    unfinished.write_text(addresses)
    unfinished.replace(where)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    record = os.open(options.executions, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if options.executions else None
    backend = Backend(options.name, options.delay_ms / 1000, record)
    if options.certificate:
        backend.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        backend.tls.load_cert_chain(options.certificate)
    host, port = await backend.start(options.host, options.port)
    backend.name = options.name or f"{host}:{port}"
    addresses = {"name": backend.name, "pid": os.getpid(), "address": f"{host}:{port}"}
    runner = None
    if options.control_port is not None:
        runner, where = await _start_control(backend, options.host, options.control_port)
        addresses["control"] = "{}:{}".format(*where)
    if options.addresses:
        tell(options.addresses, json.dumps(addresses))
    await stopped.wait()
    if runner is not None:
        await runner.cleanup()
    await backend.stop()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m proxy.samples.backend", description="A backend that can fail.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--control-port", type=int, help="port for /_fault and /_executions (default: none)")
    parser.add_argument("--name", default="", help="what it calls itself (default: its address)")
    parser.add_argument("--delay-ms", type=int, default=0, help="how long it takes for each answer")
    parser.add_argument("--certificate", help="PEM file with a certificate and its key: speak TLS (default: none)")
    parser.add_argument("--executions", help="file to which each executed write is appended: it outlives a kill -9")
    parser.add_argument("--addresses", help="file for its addresses, as JSON, once it listens; - prints them")
    options = parser.parse_args()
    try:
        uvloop.run(serve(options))
    except OSError as error:
        parser.exit(1, f"error: {options.host}:{options.port}: {error.strerror}\n")


if __name__ == "__main__":
    main()
