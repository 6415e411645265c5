"""Other people's servers beside ours: nginx as a backend, HAProxy as another proxy. Each on a port that stays its own."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxy.samples.children import Children
from tests.e2e.client import PATIENCE

EXEC = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
"""Turns a child of `Children`, which ends with us whatever happens, into another program."""

NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    # It gives connections up often, as those in front of it have to expect.
    keepalive_requests 20;
    keepalive_timeout 1s;
    server {{
        listen 127.0.0.1:{port};
        location / {{ add_header X-Backend {name}; return 200 "$request_uri"; }}
    }}
}}
"""

HAPROXY = """\
global
    nbthread 2
    stats socket {folder}/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 250ms
    timeout client 10s
    timeout server 300ms
    timeout check 250ms
    option redispatch 1
    retries 2
    retry-on conn-failure empty-response response-timeout 502 503 504
    http-reuse always
frontend web
    bind 127.0.0.1:{port}
    default_backend app
backend app
    balance leastconn
    option httpchk GET /healthz
    default-server check inter 500ms fastinter 100ms downinter 500ms fall 2 rise 2
    default-server observe layer7 error-limit 3 on-error mark-down
{servers}
"""


def reserve_port() -> socket.socket:
    """A free port that nobody else can take as long as this is open; whoever knows it may listen there."""
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


class Peer:
    """One server of another kind."""

    def __init__(self, children: Children, folder: Path, command: Callable[[Path, int], list[str]]) -> None:
        self._children = children
        self._reserved = reserve_port()
        self._folder = folder
        folder.mkdir()
        self.port = self._reserved.getsockname()[1]
        self._command = command(folder, self.port)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, or start it again, and wait until it listens."""
        with (self._folder / "peer.log").open("a") as log:
            self._process = await self._children.start(
                "-c", EXEC, *self._command, orphaned=signal.SIGTERM, stdout=log, stderr=log
            )
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    return

    async def kill(self) -> None:
        """Kill it and its own children with it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    def close(self) -> None:
        """Give the port up."""
        self._reserved.close()


def nginx(program: str, name: str) -> Callable[[Path, int], list[str]]:
    """Write the config of an nginx that answers with what it was asked for; the command."""

    def command(folder: Path, port: int) -> list[str]:
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, name=name))
        return [program, "-p", str(folder), "-e", "stderr", "-c", str(config)]

    return command


def haproxy(program: str, backends: list[dict[str, Any]]) -> Callable[[Path, int], list[str]]:
    """Write the config of a HAProxy with its best settings before these backends; the command."""

    def command(folder: Path, port: int) -> list[str]:
        servers = "\n".join(f"    server {one['name']} {one['address']}" for one in backends)
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(folder=folder, port=port, servers=servers))
        return [program, "-db", "-f", str(config)]

    return command


async def haproxy_says(folder: Path, name: str) -> str:
    """What HAProxy thinks of a server: `UP`, `DOWN`, or on the way from one to the other."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "haproxy.sock"))
    writer.write(b"show stat\n")
    rows = csv.DictReader(io.StringIO((await reader.read()).decode().removeprefix("# ")))
    writer.close()
    return next(row["status"] for row in rows if row["svname"] == name)
