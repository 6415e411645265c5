"""A payment gateway that really counts: `python -m proxy.samples.gateway --name primary --charges primary.db`.

`POST /pay/charge` with an `Idempotency-Key` and `{"order": …, "amount": …}` is charged once for each key, in its own
SQLite file, before it is answered. It dies (`kill -9`) at the stage that is written in the file `--die`, once, when its
next charge gets there. Started by `make demo-payments` and its test.
"""

from __future__ import annotations

import argparse
import asyncio
import enum
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from proxy.samples.backend import HEALTH_PATH, tell


class Stage(enum.StrEnum):
    """How far a charge gets before the gateway dies."""

    HEAD = "head"
    """Its head has been read."""
    BODY = "body"
    """It has been read whole."""
    CHARGED = "charged"
    """It is charged, and not answered."""
    ANSWERING = "answering"
    """Half of the answer has been sent."""


class Charges:
    """The charges of one gateway, on disk. What is committed survives its death."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("CREATE TABLE IF NOT EXISTS charges(key TEXT PRIMARY KEY, placed TEXT, amount INTEGER)")

    def charge(self, key: str, order: str, amount: int) -> bool:
        """Charge, unless this key has been charged before; whether it was charged now."""
        values = (key, order, amount)
        return self._database.execute("INSERT OR IGNORE INTO charges VALUES (?, ?, ?)", values).rowcount == 1


class Gateway:
    """Answers requests, as long as it lives."""

    def __init__(self, name: str, charges: Charges, orders_to_die: Path) -> None:
        self._name = name
        self._charges = charges
        self._orders_to_die = orders_to_die

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path == HEALTH_PATH:
            return web.Response(text="ok\n")
        key = request.headers.get("Idempotency-Key", "")
        if request.method != "POST" or not key:
            return web.Response(status=400, text="POST with an Idempotency-Key\n")
        self._die_at(Stage.HEAD)
        wanted = json.loads(await request.read())
        self._die_at(Stage.BODY)
        is_new = self._charges.charge(key, wanted["order"], wanted["amount"])
        self._die_at(Stage.CHARGED)
        told = {"charged": wanted["order"], "by": self._name, "known_before": not is_new}
        answer = json.dumps(told).encode()
        if self._is_due(Stage.ANSWERING) and request.transport is not None:
            head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            request.transport.write(head + answer[: len(answer) // 2])
            await asyncio.sleep(0.01)
            self._die_at(Stage.ANSWERING)
        return web.Response(status=201, body=answer, content_type="application/json")

    def _is_due(self, stage: Stage) -> bool:
        return self._orders_to_die.exists() and self._orders_to_die.read_text() == stage

    def _die_at(self, stage: Stage) -> None:
        if self._is_due(stage):
            self._orders_to_die.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    gateway = Gateway(options.name, Charges(Path(options.charges)), Path(options.die))
    server = web.Server(gateway.answer)
    listener = await loop.create_server(server, options.host, options.port)
    host, port = listener.sockets[0].getsockname()[:2]
    tell("-", json.dumps({"address": f"{host}:{port}"}))
    await stopped.wait()
    listener.close()
    await server.shutdown(1.0)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m proxy.samples.gateway", description="A gateway that counts.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--name", required=True, help="what it calls itself")
    parser.add_argument("--charges", required=True, help="SQLite file of its charges")
    parser.add_argument("--die", required=True, help="file that names the stage at which to die")
    uvloop.run(serve(parser.parse_args()))
    sys.exit(0)


if __name__ == "__main__":
    main()
