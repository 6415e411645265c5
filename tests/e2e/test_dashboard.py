"""The dashboard in a real browser, before a real proxy with real backends."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e.browser import NARROW, WIDE, Screen, chromium, looking
from tests.e2e.client import PATIENCE
from tests.e2e.load import Load
from tests.e2e.rig import POLICIES, Proxy, Rig, now, rigged
from tests.e2e.test_operations import command

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHIN = 2.0
"""Seconds after a kill in which everybody knows."""
REGIONS = {"red": "eu", "green": "eu", "blue": "us"}
SECRET = "s3cret-s3cret-s3cret"
TRIES = 3
"""Of something that has to be quick, on a machine that may have other things to do."""


def pools(rig: Rig) -> dict[str, Any]:
    """Three backends in two regions that all serve, and two of which one serves when a person says so."""
    known = {one["name"]: one for one in rig.addresses()}
    app = [known[name] | {"region": region} for name, region in REGIONS.items()]
    manual = {"mode": "active-passive", "failover": {"mode": "manual", "failback": "manual"}}
    return {
        "app": {**POLICIES, "backends": app},
        "pay": {**POLICIES, **manual, "backends": [known["primary"], known["backup"]]},
    }


ROUTES = [
    {"name": "pay", "match": {"path": "/pay/*"}, "pool": "pay"},
    {"name": "app", "match": {"path": "/*"}, "pool": "app"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(program: Callable[[str], str]) -> AsyncIterator[Browser]:
    async with chromium(program("chromium")) as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> AsyncIterator[tuple[Rig, Proxy]]:
    """One for all tests that leave it as they found it."""
    async with rigged(tmp_path_factory.mktemp("shop")) as rig:
        await rig.start_backends(*REGIONS, "primary", "backup")
        yield rig, await rig.start_proxy({"pools": pools(rig), "routes": ROUTES})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Rig, Proxy]]:
    """One with a token, for tests that change the proxy itself."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "token").write_text(SECRET)
    admin = {"address": "127.0.0.1:0", "token": {"file": str(folder / "token")}}
    async with rigged(folder) as rig:
        await rig.start_backends("red", "green")
        app = {**POLICIES, "backends": rig.addresses()}
        yield rig, await rig.start_proxy({"pools": {"app": app}, "admin": admin, "workers": 1})


@pytest_asyncio.fixture(loop_scope="module")
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path) as rig:
        yield rig


@pytest_asyncio.fixture(loop_scope="module")
async def screen(shop: tuple[Rig, Proxy], browser: Browser) -> AsyncIterator[Screen]:
    rig, proxy = shop
    async with looking(browser, url(proxy)) as screen:
        await expect(screen.state("green")).to_have_text("serving")
        yield screen
    for name in ("red", "primary"):
        if rig.backends[name].process.returncode is not None:
            await rig.revive(name)


def url(proxy: Proxy) -> str:
    return f"http://{proxy.admin.address}/"


# What is out, and why


async def test_within_two_seconds_of_a_kill_page_api_status_metrics_and_journal_say_the_same(
    shop: tuple[Rig, Proxy], screen: Screen
) -> None:
    rig, proxy = shop
    seconds = [PATIENCE]
    async with Load(proxy.address, writes=False):
        while min(seconds) > WITHIN and len(seconds) <= TRIES:
            await rig.kill("red")
            killed = now()
            seconds.append(await agreed(proxy, screen) - killed)
            await rig.revive("red")
            await expect(screen.state("red")).to_have_text("serving")

    assert min(seconds) <= WITHIN, seconds


async def agreed(proxy: Proxy, screen: Screen) -> float:
    """When all five have said that red is out and why; they must mean the same."""
    out = screen.backend("red").locator(".why")
    await expect(out).to_be_visible()
    (code, status, _), told, out_by_metrics, journal, why = await asyncio.gather(
        command("status", "--admin", proxy.admin.address),
        proxy.admin.backend("red"),
        proxy.admin.counter("failover_backend_available", pool="app", backend="red"),
        proxy.admin.get("/v1/journal?pool=app&backend=red&since=1m"),
        out.inner_text(),
    )
    at = now()
    assert (0, False, 0) == (code, told["available"], out_by_metrics)
    assert told["reasons"]
    causes = {veto["cause"].lower() for veto in told["vetoes"]}
    assert any(cause in why.lower() for cause in causes), (causes, why)
    assert any(reason in status for reason in told["reasons"])
    assert any(entry["to"] in ("open", "down", "out") for entry in journal["entries"]), journal
    await expect(screen.sentence).to_contain_text("DEGRADED: 1 of 3 app backends out")
    await expect(screen.journal.get_by_role("listitem").first).to_contain_text("red")
    return at


async def test_the_sentence_is_told_to_screen_readers_and_the_tab_says_how_things_stand(
    shop: tuple[Rig, Proxy], screen: Screen
) -> None:
    _, proxy = shop
    live = screen.page.get_by_role("status").filter(has=screen.sentence)
    await expect(live).to_have_attribute("aria-live", "polite")
    assert "UP · failover-proxy" == await screen.page.title()

    await proxy.admin.patch("blue", state="maint")
    await expect(screen.sentence).to_contain_text("1 of 3 app backends out")
    await expect(screen.page).to_have_title("DEGRADED · failover-proxy")
    await proxy.admin.patch("blue", state="ready")

    await expect(screen.page).to_have_title("UP · failover-proxy")


# Orders


async def test_a_click_drains_a_backend_and_another_brings_it_back(shop: tuple[Rig, Proxy], screen: Screen) -> None:
    _, proxy = shop

    await screen.order("Drain", "green").click()
    await expect(screen.state("green")).to_have_text("drained")
    assert "drain" == (await proxy.admin.backend("green"))["admin_state"]
    await expect(screen.order("Drain", "green")).to_have_attribute("aria-pressed", "true")

    await screen.order("Ready", "green").click()
    await expect(screen.state("green")).to_have_text("serving")
    assert "ready" == (await proxy.admin.backend("green"))["admin_state"]


async def test_everything_can_be_done_by_keyboard_and_the_focus_stays_where_it_is(
    shop: tuple[Rig, Proxy], screen: Screen
) -> None:
    _, proxy = shop
    page = screen.page
    await screen.order("Ready", "blue").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(screen.state("blue")).to_have_text("maintenance")
    assert "Maint blue" == await screen.focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Space")
    await expect(screen.state("blue")).to_have_text("serving")
    assert "Ready blue" == await screen.focused()

    await screen.pool("pay").get_by_role("button", name="Fail over …").focus()
    await page.keyboard.press("Enter")
    await expect(screen.dialog).to_be_visible()
    assert "Cancel" == await screen.focused()
    await page.keyboard.press("Escape")
    await expect(screen.dialog).to_have_count(0)
    assert "Fail over …" == await screen.focused()
    assert "primary" == (await proxy.admin.get("/v1/pools/pay"))["active"]


async def test_a_failover_asks_first(shop: tuple[Rig, Proxy], screen: Screen) -> None:
    _, proxy = shop
    pay = screen.pool("pay")
    active = pay.locator(".lane .active")

    await pay.get_by_role("button", name="Fail over …").click()
    await screen.dialog.get_by_role("button", name="Cancel").click()
    await expect(screen.dialog).to_have_count(0)
    assert "primary" == (await proxy.admin.get("/v1/pools/pay"))["active"]

    await pay.get_by_role("button", name="Fail over …").click()
    await screen.dialog.get_by_role("button", name="Fail over to backup").click()
    await expect(active).to_contain_text("backup")
    assert "backup" == (await proxy.admin.get("/v1/pools/pay"))["active"]
    await expect(screen.journal).to_contain_text("switched in")

    await pay.get_by_role("button", name="Fail back …").click()
    await screen.dialog.get_by_role("button", name="Fail back").click()
    await expect(active).to_contain_text("primary")


async def test_a_failover_that_waits_for_a_person_is_approved_on_the_page(
    shop: tuple[Rig, Proxy], screen: Screen
) -> None:
    rig, proxy = shop
    pay = screen.pool("pay")

    await rig.kill("primary")
    await expect(pay).to_contain_text("Failover to backup waits for your approval")
    await expect(screen.page.get_by_role("region", name="How things stand")).to_contain_text("waited for your approval")
    await pay.get_by_role("button", name="Approve …").click()
    await screen.dialog.get_by_role("button", name="Make backup the active one").click()
    await expect(pay.locator(".lane .active")).to_contain_text("backup")

    await rig.revive("primary")
    await expect(screen.state("primary", "pay")).to_have_text("standby")
    await proxy.admin.post("failback", {}, "pay")
    await expect(pay.locator(".lane .active")).to_contain_text("primary")


async def test_taking_out_the_last_one_that_serves_is_asked_about(shop: tuple[Rig, Proxy], screen: Screen) -> None:
    _, proxy = shop
    for name in ("green", "blue"):
        await screen.order("Drain", name).click()
        await expect(screen.state(name)).to_have_text("drained")

    await screen.order("Drain", "red").click()
    await expect(screen.dialog).to_contain_text("Drain the last backend of app that serves?")
    await screen.page.keyboard.press("Escape")
    assert "ready" == (await proxy.admin.backend("red"))["admin_state"]

    for name in ("green", "blue"):
        await screen.order("Ready", name).click()
        await expect(screen.state(name)).to_have_text("serving")


async def test_an_order_that_is_refused_is_told_in_the_words_of_the_api(
    shop: tuple[Rig, Proxy], screen: Screen
) -> None:
    """The first in line is the active one: there is nobody to give the place back to."""
    _, proxy = shop
    with pytest.raises(AssertionError) as refused:
        await proxy.admin.post("failback", {}, "pay")
    await screen.pool("pay").get_by_role("button", name="Fail back …").click()
    await screen.dialog.get_by_role("button", name="Fail back").click()

    await expect(screen.dialog.get_by_role("alert")).to_have_text(refused.value.args[0]["detail"])


async def test_the_route_tester_says_where_a_request_would_go_and_why(screen: Screen) -> None:
    tester = screen.page.get_by_role("region", name="Where would a request go?")
    await tester.get_by_label("URL").fill("http://shop.example/pay/1")
    await screen.page.keyboard.press("Enter")

    await expect(tester.get_by_role("status")).to_contain_text("primary")


# Whoever looks


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", WIDE), ("dark", WIDE), ("light", NARROW)], ids=["light", "dark", "narrow"]
)
async def test_nothing_serious_is_in_the_way_of_people_with_disabilities(
    shop: tuple[Rig, Proxy], browser: Browser, scheme: str, viewport: dict[str, int]
) -> None:
    _, proxy = shop
    await proxy.admin.patch("blue", state="maint")
    async with looking(browser, url(proxy), color_scheme=scheme, viewport=viewport) as screen:
        await expect(screen.state("blue")).to_have_text("maintenance")
        assert [] == await screen.violations()
        assert 0 == await screen.overflow()
        await screen.pool("pay").get_by_role("button", name="Fail over …").click()
        assert [] == await screen.violations()
    await proxy.admin.patch("blue", state="ready")


async def test_dark_follows_the_system_and_a_button_says_otherwise(shop: tuple[Rig, Proxy], browser: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    async with looking(browser, url(shop[1]), color_scheme="dark") as screen:
        page = screen.page
        theme = page.get_by_role("button", name="Theme")
        dark = await page.evaluate(ground)
        await theme.click()
        await expect(theme).to_have_text("Theme: light")
        light = await page.evaluate(ground)
        await page.reload()
        await expect(theme).to_have_text("Theme: light")
        kept = await page.evaluate(ground)

    assert dark != light
    assert light == kept


# The line to the proxy


async def test_a_proxy_with_a_token_asks_for_it_once_and_shows_it_nowhere(
    small: tuple[Rig, Proxy], browser: Browser
) -> None:
    _, proxy = small
    asked: list[str] = []
    async with looking(browser, url(proxy)) as screen:
        page = screen.page
        page.on("request", lambda request: asked.append(request.url))
        await expect(screen.token).to_be_visible()
        assert [] == await screen.violations()
        await screen.enter("wrong")
        await expect(page.get_by_role("alert")).to_contain_text("does not know this token")
        await screen.enter(SECRET)
        await screen.order("Drain", "red").click()
        await expect(screen.state("red")).to_have_text("drained")
        await page.reload()
        await screen.order("Ready", "red").click()
        await expect(screen.state("red")).to_have_text("serving")
        await page.get_by_role("button", name="Sign out").click()
        await expect(screen.token).to_be_visible()

    assert [] == [address for address in asked if SECRET in address]
    assert SECRET not in proxy.log


async def test_the_page_takes_up_again_after_the_program_was_replaced(
    small: tuple[Rig, Proxy], browser: Browser
) -> None:
    _, proxy = small
    async with looking(browser, url(proxy)) as screen:
        await screen.enter(SECRET)
        await expect(screen.state("green")).to_have_text("serving")
        async with screen.page.expect_response("**/v1/events"):
            proxy.process.send_signal(signal.SIGUSR2)
        await expect(screen.page.get_by_text("live", exact=True)).to_be_visible()
        before = await screen.journal.get_by_role("listitem").count()
        await screen.order("Drain", "green").click()
        await expect(screen.state("green")).to_have_text("drained")
        await expect(screen.journal).to_contain_text("drain")
        after = await screen.journal.get_by_role("listitem").count()

    assert after > before


async def test_a_line_on_which_nothing_comes_is_given_up_and_made_anew(screen: Screen) -> None:
    """For the page ten seconds pass in one moment."""
    page = await screen.context.new_page()
    await page.clock.install()
    await page.goto(screen.page.url)
    live = page.get_by_text("live", exact=True)
    await expect(live).to_be_visible()

    async with page.expect_response("**/v1/events"):
        await page.clock.fast_forward(10_000)

    await expect(live).to_be_visible()


async def test_what_is_old_is_said_to_be_old(small: tuple[Rig, Proxy], browser: Browser) -> None:
    """The proxy is gone when this is over."""
    _, proxy = small
    async with looking(browser, url(proxy)) as screen:
        await screen.enter(SECRET)
        await expect(screen.state("red")).to_have_text("serving")
        await proxy.kill()
        banner = screen.page.get_by_role("banner")
        await expect(banner).to_contain_text("reconnecting …")
        await expect(banner).to_contain_text("what you see is old")
        await expect(screen.page).to_have_title("failover-proxy")


# What the page's own code makes of what it is told


SPELT = {
    "number": [(0, "0"), (0.01, "<0.1"), (3.14, "3.1"), (9.96, "10"), (1240, "1,240"), (None, "–")],
    "milliseconds": [(2.44, "2.4 ms"), (999.6, "1,000 ms"), (1234, "1.2 s"), (None, "–")],
    "share": [(1, "100 %"), (0.99999, "99.999 %"), (0.999999, "99.999 %"), (0.9995, "99.95 %"), (0.5, "50.0 %"), (None, "–")],
    "part": [(0, "0 %"), (0.004, "<1 %"), (0.625, "63 %")],
    "duration": [(0.2, "0 s"), (89, "89 s"), (90, "2 min"), (7200, "2 h"), (200000, "2 d")],
}  # fmt: skip


async def test_figures_are_spelt_for_people_and_no_share_is_rounded_up_to_all(screen: Screen) -> None:
    format_all = """async (cases) => {
        const format = await import("/dashboard/format.js");
        return Object.fromEntries(Object.entries(cases).map(([name, values]) => [name, values.map(format[name])]));
    }"""
    spelt = await screen.page.evaluate(
        format_all, {name: [value for value, _ in cases] for name, cases in SPELT.items()}
    )

    assert {name: [text for _, text in cases] for name, cases in SPELT.items()} == spelt


STREAM = (
    ':\n\nevent: snapshot\ndata: {"pools": []}\n\nid: 7\r\nevent: journal\r\ndata: {"sentence":\r\ndata: "Grün"}\r\n\r\n'
    "event: nothing\n\ndata: plain\n\ndata: not yet ended"
)
HEARD = [
    ["snapshot", '{"pools": []}', ""],
    ["journal", '{"sentence":\n"Grün"}', "7"],
    ["message", "plain", ""],
]


async def test_what_is_approved_is_what_was_asked_about(screen: Screen) -> None:
    """Another switch may wait by the time somebody has read the question."""
    asked = """async (changes) => {
        const { makeDesk } = await import("/dashboard/desk.js");
        const pool = { name: "nope", active: "a", backends: [], pending: { to: "b", cause: "failover", evidence: "" } };
        const store = { pools: new Map([[pool.name, pool]]), takePool() {} };
        let question;
        makeDesk({ store, ask: (asked) => (question = asked), tell() {} }).askApproval(pool);
        store.pools.set(pool.name, { ...pool, pending: changes && { ...pool.pending, ...changes } });
        try {
          await question.act();
        } catch (error) {
          return error.message;
        }
    }"""
    changed = "What waits for approval has changed meanwhile: look again."

    said = [await screen.page.evaluate(asked, changes) for changes in (None, {"to": "c"}, {"cause": "failback"}, {})]

    assert [changed, changed, changed] == said[:3]
    assert said[3].startswith("no pool is named nope")


async def test_a_journal_that_begins_anew_takes_the_place_of_the_old_one(screen: Screen) -> None:
    """A proxy without a state_dir forgets; what it says next must not be taken for known."""
    shown = """async ([before, answers]) => {
        const { Store } = await import("/dashboard/store.js");
        const store = new Store(() => {});
        const entry = (text) => ({ id: Number(text.slice(1)), time: text[0], text });
        store.takeEntries(before.map(entry));
        for (const entries of answers) store.takeJournal({ entries: entries.map(entry), last_id: Number(entries.at(-1).slice(1)) });
        return store.journal.map((one) => one.text);
    }"""

    cases = [
        (["a1", "b2"], [["b2", "c3"]], ["a1", "b2", "c3"]),
        (["a1", "b2", "d3"], [["a1", "b2"]], ["a1", "b2", "d3"]),
        (["a1", "b2"], [["c1"]], ["c1"]),
        (["a1", "b2"], [["c1", "d2", "e3"]], ["c1", "d2", "e3"]),
        (["a1", "d2"], [["c1"]], ["c1", "d2"]),
    ]
    for before, answers, expected in cases:
        assert expected == await screen.page.evaluate(shown, [before, answers])


async def test_events_are_read_alike_wherever_the_stream_is_cut(screen: Screen) -> None:
    read_all = """async (stream) => {
        const { Parser } = await import("/dashboard/feed.js");
        const read = (pieces) => {
            const heard = [];
            const parser = new Parser((...event) => heard.push(event));
            for (const piece of pieces) parser.feed(piece);
            return JSON.stringify(heard);
        };
        const cuts = [...stream].map((_, at) => read([stream.slice(0, at), stream.slice(at)]));
        return [...new Set([...cuts, read([...stream])])];
    }"""

    assert [HEARD] == [json.loads(one) for one in await screen.page.evaluate(read_all, STREAM)]


# What it costs


async def test_a_thousand_backends_draw_a_few_rows_and_can_be_searched(rig: Rig, browser: Browser) -> None:
    await rig.start_backends("red")
    address = rig.backends["red"].address
    many = [{"name": f"b{number:04}", "address": address} for number in range(1000)]
    proxy = await rig.start_proxy({"pools": {"app": {"health": {"interval": "10m"}, "backends": many}}, "workers": 1})
    async with looking(browser, url(proxy)) as screen:
        rows = screen.pool("app").locator(".backend")
        await expect(rows.first).to_be_visible()
        assert await rows.count() < 60
        await screen.page.get_by_role("searchbox", name="Find a backend of app").fill("b0777")
        await expect(rows).to_have_count(1)
        await screen.order("Drain", "b0777").click()
        await expect(screen.state("b0777")).to_have_text("drained")


async def test_an_open_dashboard_has_workers_say_and_hear_no_more(shop: tuple[Rig, Proxy], browser: Browser) -> None:
    """Workers report each second, whoever looks; the page lives on what the supervisor knows."""
    _, proxy = shop
    workers = proxy.workers()
    alone = await calls_of(workers)
    async with looking(browser, url(proxy)) as screen:
        await expect(screen.state("red")).to_have_text("serving")
        watched = await calls_of(workers)

    assert workers == proxy.workers()
    assert abs(watched - alone) <= len(workers), (alone, watched)


async def calls_of(workers: list[int]) -> int:
    """Writes that these processes do in two seconds without traffic: one Report a second each, and no more."""

    def writes() -> int:
        texts = [Path(f"/proc/{pid}/io").read_text() for pid in workers]
        return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("syscw"))

    before = writes()
    await asyncio.sleep(2)
    return writes() - before
