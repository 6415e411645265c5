"""`make demo-payments`: kills a payment gateway at every stage of a charge, and counts orders and charges.

Real processes on free ports: the proxy with `conf/payments.yaml`, two gateways with ledgers of their own, clients that
repeat. Exits with 1 if an order was charged twice or not at all, or if a client never came to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import uvloop

from proxy.samples.children import Children, StartError
from proxy.samples.gateway import Stage
from proxy.samples.shopper import Order, Shopper

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "payments.yaml"
CLIENTS = 8
PAUSE = 0.05
"""Seconds between two orders of a client."""
BEFORE, WHILE_OUT = 0.5, 2.5
"""Seconds of shopping before a gateway dies, and until it comes back."""
PATIENCE = 30.0
"""Seconds in which every order has to come to its end."""
AWAY = "away"
"""Killed between two charges, so that nothing is left open."""


@dataclass(slots=True)
class Street:
    """Everything that runs."""

    children: Children
    folder: Path
    session: aiohttp.ClientSession
    gateways: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    def charges(self, name: str) -> Path:
        """The file in which a gateway counts."""
        return self.folder / f"{name}.db"

    def orders_to_die(self, name: str) -> Path:
        """The file that tells a gateway when to die."""
        return self.folder / f"{name}.die"

    async def open(self, name: str) -> None:
        """Start a gateway, or start it again where it was."""
        port = self.addresses.get(name, ":0").rpartition(":")[2]
        arguments = ["-m", "proxy.samples.gateway", "--name", name, "--port", port]
        arguments += ["--charges", str(self.charges(name)), "--die", str(self.orders_to_die(name))]
        process = await self.children.start(*arguments, orphaned=signal.SIGKILL, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        if not line:
            raise StartError(f"the gateway {name} could not start")
        self.gateways[name], self.addresses[name] = process, json.loads(line)["address"]

    async def end(self, name: str, stage: str) -> None:
        """Have a gateway die at this stage of its next charge."""
        process = self.gateways[name]
        if stage == AWAY:
            process.kill()
        else:
            self.orders_to_die(name).write_text(stage)
        await asyncio.wait_for(process.wait(), PATIENCE)

    async def start_proxy(self) -> dict[str, str]:
        """Start the proxy as the config says, on free ports; where it listens."""
        os.environ |= {"LISTEN": "127.0.0.1:0", "ADMIN": "127.0.0.1:0", "STATE_DIR": str(self.folder / "state")}
        os.environ |= {"PRIMARY": self.addresses["primary"], "BACKUP": self.addresses["backup"]}
        with (self.folder / "proxy.log").open("w") as log:
            _, told = await self.children.proxy(CONFIG, self.folder / "addresses.json", log)
        return {"web": next(iter(told["listeners"].values())), "admin": told["admin"]}

    async def fail_back(self, admin: str) -> None:
        """Give the place back to the primary, once the proxy sees that it is well."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.session.post(f"http://{admin}/v1/pools/payments/failback", json={}) as answer:
                    await answer.read()
                async with self.session.get(f"http://{admin}/v1/pools/payments/backends/primary") as answer:
                    if (await answer.json())["available"]:
                        return
                await asyncio.sleep(0.1)


async def round_of(street: Street, shopper: Shopper, stage: str) -> list[Order]:
    """Shop while the primary dies and comes back; the orders of this round, each at its end."""
    paying: set[asyncio.Task[Order]] = set()
    first, is_over = len(shopper.orders), asyncio.Event()

    async def shop(client: int) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            paying.add(asyncio.create_task(shopper.pay(f"{stage}-{client}-{number}", PATIENCE)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), PAUSE)

    shopping = [asyncio.create_task(shop(client)) for client in range(CLIENTS)]
    await asyncio.sleep(BEFORE)
    await street.end("primary", stage)
    await asyncio.sleep(WHILE_OUT)
    await street.open("primary")
    is_over.set()
    await asyncio.gather(*shopping)
    await asyncio.gather(*paying)
    return shopper.orders[first:]


def charged(street: Street) -> Iterator[tuple[str, str]]:
    """Every charge: the order and the gateway that made it."""
    for name in street.gateways:
        with contextlib.closing(sqlite3.connect(street.charges(name))) as database:
            for (order,) in database.execute("SELECT placed FROM charges"):
                yield order, name


def line_of(stage: str, orders: list[Order], charges: dict[str, list[str]]) -> str:
    """One row of the table."""
    by = Counter(gateway for order in orders for gateway in charges.get(order.number, []))
    unknown = [order for order in orders if order.was_unknown]
    ways = Counter(order.resolution for order in unknown)
    resolved = ", ".join(f"{count} {way}" for way, count in ways.items()) or "-"
    return f"{stage:<10} {len(orders):>6} {by['primary']:>8} {by['backup']:>7} {len(unknown):>8}  {resolved}"


def verdict(orders: list[Order], charges: dict[str, list[str]]) -> tuple[str, bool]:
    """The sums, and whether all is as it must be."""
    twice = [order for order, gateways in charges.items() if len(gateways) > 1]
    uncharged = [order.number for order in orders if order.number not in charges]
    open_ones = [order.number for order in orders if order.answer is None]
    lied = [o.number for o in orders if o.answer is not None and [o.answer["by"]] != charges.get(o.number)]
    total = sum(map(len, charges.values()))
    text = (
        f"orders placed {len(orders)}, charges made {total}, duplicates {len(twice)}, "
        f"unknown {sum(order.was_unknown for order in orders)}, of them not resolved {len(open_ones)}"
    )
    return text, not (twice or uncharged or open_ones or lied) and total == len(orders)


async def demonstrate() -> int:
    """Run it all; the exit code."""
    with tempfile.TemporaryDirectory(prefix="failover-proxy-") as folder:
        async with aiohttp.ClientSession() as session, Children() as children:
            street = Street(children, Path(folder), session)
            for name in ("primary", "backup"):
                await street.open(name)
            told = await street.start_proxy()
            shopper = Shopper(f"http://{told['web']}/pay/charge", session, random.Random())  # noqa: S311 - jitter
            print(
                "The primary gateway is killed (kill -9) at each stage of a charge; clients repeat with their keys.\n"
            )
            print(f"{'killed at':<10} {'orders':>6} {'primary':>8} {'backup':>7} {'unknown':>8}  how that was resolved")
            for stage in (AWAY, *Stage):
                orders = await round_of(street, shopper, stage)
                await street.fail_back(told["admin"])
                print(line_of(stage, orders, _by_order(street)), flush=True)
            text, is_good = verdict(shopper.orders, _by_order(street))
    print(f"\n{text}")
    return 0 if is_good else 1


def _by_order(street: Street) -> dict[str, list[str]]:
    charges: dict[str, list[str]] = {}
    for order, gateway in charged(street):
        charges.setdefault(order, []).append(gateway)
    return charges


def main() -> int:
    """Demonstrate; the exit code."""
    try:
        return uvloop.run(demonstrate())
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
