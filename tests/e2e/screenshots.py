"""`make screenshots`: pictures of the dashboard for `docs/screenshots`, from a real proxy with real backends under load.

Needs Chromium (Debian: `apt-get install chromium`). Takes about two minutes, most of which the sparklines need.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop
from playwright.async_api import Browser, expect

from tests.e2e.browser import NARROW, WIDE, Screen, chromium, looking
from tests.e2e.load import Load
from tests.e2e.rig import Proxy, Rig, rigged

REGIONS = {"eu-west": 2, "us-east": 14, "ap-south": 32}
"""By how many milliseconds the backends of each region answer late."""
CHECKOUT = {f"{region}-{number}": region for region in REGIONS for number in (1, 2)}
HEALTH = {"path": "/healthz", "interval": "1s", "fast_interval": "250ms", "timeout": "500ms"}
POLICIES: dict[str, Any] = {
    "timeouts": {"connect": "250ms", "first_byte": "2s"},
    "health": HEALTH,
    "slo": "99.95%",
    "breaker": {"consecutive": 4, "open_for": "20s", "open_for_max": "1m"},
}
TALL = WIDE | {"height": 1180}


def config(rig: Rig) -> dict[str, Any]:
    """A shop: its checkout in three regions, and a payment gateway with one in reserve."""
    known = {one["name"]: one for one in rig.addresses()}
    checkout = [known[name] | {"region": region} for name, region in CHECKOUT.items()]
    payments = [known["primary"] | {"tier": 1}, known["backup"] | {"tier": 2}]
    manual = {"mode": "active-passive", "failover": {"mode": "manual", "failback": "manual"}}
    return {
        "state_dir": str(rig.folder / "state"),
        "pools": {
            "checkout": POLICIES | {"balance": "round_robin", "region": "eu-west", "backends": checkout},
            "payments": POLICIES | manual | {"hold": {"for": "5s"}, "backends": payments},
        },
        "routes": [
            {"name": "pay", "match": {"path": "/pay/*"}, "pool": "payments"},
            {"name": "checkout", "match": {"path": "/*"}, "pool": "checkout"},
        ],
    }


@contextlib.asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[tuple[Rig, Proxy]]:
    """All of it, under load."""
    async with rigged(folder) as rig:
        for region, delay in REGIONS.items():
            await rig.start_backends(*(name for name, where in CHECKOUT.items() if where == region), delay_ms=delay)
        await rig.start_backends("primary", "backup", delay_ms=9)
        proxy = await rig.start_proxy(config(rig))
        async with Load(proxy.address, 90.0, writes=False), Load(proxy.address, 25.0, writes=False, path="/pay/"):
            yield rig, proxy


async def take(screen: Screen, to: Path) -> None:
    """One picture, without what is about to fade."""
    await expect(screen.page.locator(".notice p")).to_have_count(0)
    await screen.page.screenshot(path=to)
    print(to, flush=True)


async def pictures(rig: Rig, proxy: Proxy, browser: Browser, to: Path, seconds: float) -> None:
    """Each scene in turn; `seconds` is how long the sparklines may grow first."""
    url = f"http://{proxy.admin.address}/"
    async with looking(browser, url, viewport=TALL, color_scheme="light") as screen:
        await asyncio.sleep(seconds)
        await take(screen, to / "healthy.png")
        await rig.kill("ap-south-1")
        await expect(screen.state("ap-south-1", "checkout")).to_have_text("down")
        await rig.spoil("ap-south-2", "503", spares_health=True)
        await expect(screen.state("ap-south-2", "checkout")).to_have_text("breaker open")
        await screen.order("Drain", "us-east-2").click()
        await expect(screen.state("us-east-2", "checkout")).to_have_text("drained")
        await asyncio.sleep(seconds / 4)
        await take(screen, to / "degraded.png")
        async with (
            looking(browser, url, viewport=TALL, color_scheme="dark") as dark,
            looking(
                browser, url, viewport=NARROW | {"height": 1500}, device_scale_factor=1.5, color_scheme="light"
            ) as narrow,
        ):
            await asyncio.sleep(seconds / 2)
            await take(dark, to / "dark.png")
            await take(narrow, to / "narrow.png")
        await mend(rig, screen)
        await rig.kill("primary")
        payments = screen.pool("payments")
        await expect(payments).to_contain_text("waits for your approval")
        await payments.scroll_into_view_if_needed()
        await payments.get_by_role("button", name="Approve …").click()
        await take(screen, to / "pending.png")


async def mend(rig: Rig, screen: Screen) -> None:
    """As at the start."""
    await rig.revive("ap-south-1")
    await rig.spoil("ap-south-2", "none")
    await screen.order("Ready", "us-east-2").click()
    for name in ("ap-south-1", "us-east-2"):
        await expect(screen.state(name, "checkout")).to_have_text("serving")


async def run(to: Path, seconds: float, program: str) -> None:
    """Start everything, take the pictures, end everything."""
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        async with chromium(program) as browser, shop(Path(folder)) as (rig, proxy):
            await pictures(rig, proxy, browser, to, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make screenshots")
    parser.add_argument("--to", type=Path, default=Path("docs/screenshots"))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the sparklines grow first")
    arguments = parser.parse_args()
    program = shutil.which("chromium")
    if program is None:
        print("error: chromium is not installed; apt-get install chromium", file=sys.stderr)
        return 1
    uvloop.run(run(arguments.to, arguments.seconds, program))
    return 0


if __name__ == "__main__":
    sys.exit(main())
