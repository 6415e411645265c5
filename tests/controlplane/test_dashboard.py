from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from yarl import URL

from proxy.controlplane.dashboard import pages
from proxy.core.settings import Address, AdminSettings
from tests.controlplane.conftest import Api, OpenApi

STATIC = Path(pages.__file__).parent / "static"
VENDOR = STATIC / "vendor"
OWN = [path for path in STATIC.rglob("*") if path.is_file() and VENDOR not in path.parents]
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def guarded(open_api: OpenApi) -> Api:
    return await open_api(admin=AdminSettings(Address("127.0.0.1", 0), token="s3cret"))


# What is served


async def test_a_browser_gets_the_page_and_everybody_else_plain_text(api: Api) -> None:
    async with api.client.get("/", headers=BROWSER) as page, api.client.get("/") as plain:
        assert "text/html" == page.content_type
        assert "text/plain" == plain.content_type
        assert "Accept" == page.headers["Vary"]


@pytest.mark.parametrize("file", ["", *sorted(str(path.relative_to(STATIC)) for path in OWN)])
async def test_a_file_comes_with_its_type_and_a_policy_that_allows_nothing_from_elsewhere(api: Api, file: str) -> None:
    async with api.client.get(f"/dashboard/{file}" if file else "/", headers=BROWSER) as answer:
        body = await answer.read()

    assert (STATIC / (file or "index.html")).read_bytes() == body
    assert pages.TYPES[Path(file or "index.html").suffix] == answer.content_type
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    assert ("nosniff", "no-store") == (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"])


@pytest.mark.parametrize("file", ["nothing.js", "../pages.py", "%2e%2e/pages.py", "..%2fpages.py", "vendor", "vendor/"])
async def test_there_is_nothing_but_the_files_of_the_page(api: Api, file: str) -> None:
    async with api.client.get(f"/dashboard/{file}", headers=BROWSER) as answer:
        assert (404, "application/problem+json") == (answer.status, answer.content_type)


async def test_the_page_and_its_files_need_no_token_but_what_they_show_does(guarded: Api) -> None:
    statuses = {}
    for path in ("/", "/dashboard/app.js", "/v1/pools", "/v1/journal"):
        async with guarded.client.get(path, headers=BROWSER) as answer:
            statuses[path] = answer.status

    assert {"/": 200, "/dashboard/app.js": 200, "/v1/pools": 401, "/v1/journal": 401} == statuses


@pytest.mark.parametrize("path", ["/", "/dashboardx", "/v1/pools?x=/dashboard/"])
async def test_a_path_that_only_looks_like_a_file_of_the_page_needs_the_token(guarded: Api, path: str) -> None:
    async with guarded.client.get(path) as answer:
        assert 401 == answer.status


@pytest.mark.parametrize("path", ["../v1/pools", "%2e%2e/v1/pools", "..%2fv1/pools", "x/../../v1/pools"])
async def test_no_way_leads_through_the_files_of_the_page_to_what_needs_the_token(guarded: Api, path: str) -> None:
    url = URL(f"{guarded.client.make_url('/')}dashboard/{path}", encoded=True)

    async with guarded.client.session.get(url, headers=BROWSER) as answer:
        assert answer.status in (401, 404)


# What the files hold


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_a_file_names_nothing_on_another_host(path: Path) -> None:
    """The page works without the internet, and tells nobody that it is open."""
    text = path.read_text().replace("http://www.w3.org/2000/svg", "").replace("https://shop.example", "")

    assert [] == re.findall(r"https?://\w\S*|(?:src|href)=\"//\S*", text)


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    """The policy would refuse them."""
    page = (STATIC / "index.html").read_text()

    assert [] == re.findall(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=|javascript:", page)


def test_every_file_that_a_module_imports_is_there() -> None:
    modules = [path for path in OWN if path.suffix == ".js"]
    imported = {
        (path, name) for path in modules for name in re.findall(r"""from ["'](\./[^"']+)["']""", path.read_text())
    }

    assert len(imported) > len(modules)
    assert [] == [(path.name, name) for path, name in imported if not (path.parent / name).is_file()]


# What comes from others


def test_each_file_of_others_is_the_one_that_was_chosen_and_has_its_licence_beside_it() -> None:
    vendored = json.loads((VENDOR / "vendored.json").read_text())

    assert {name: one["sha256"] for name, one in vendored.items()} == {
        name: hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() for name in vendored
    }
    licences = [licence for one in vendored.values() for licence in one["licence_files"]]
    assert all((VENDOR / licence).read_text().strip() for licence in licences)
    assert {"vendored.json", *vendored, *licences} == {path.name for path in VENDOR.iterdir()}
