from __future__ import annotations

import pytest

from proxy.controlplane.admin.guard import is_local
from proxy.controlplane.listeners.sockets import StartError
from proxy.core.settings import Address, AdminSettings
from tests.controlplane.conftest import Api, Make, OpenApi

B0 = "/v1/pools/app/backends/b0"
TOKEN = {"Authorization": "Bearer s3cret"}


@pytest.fixture
async def guarded(open_api: OpenApi) -> Api:
    return await open_api(admin=AdminSettings(Address("127.0.0.1", 0), token="s3cret"))


@pytest.mark.parametrize("path", ["/", "/metrics", "/v1/pools", B0, "/nowhere"])
@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}])
async def test_where_a_token_is_set_it_is_required(guarded: Api, path: str, given: dict[str, str]) -> None:
    """On loopback too; and who has none does not learn what there is."""
    async with guarded.client.get(path, headers=given) as answer:
        assert (401, 'Bearer realm="failover-proxy"') == (answer.status, answer.headers["WWW-Authenticate"])


async def test_the_token_opens(guarded: Api) -> None:
    status, _ = await guarded.get("/v1/pools", **TOKEN)

    assert 200 == status


async def test_a_token_with_other_than_ascii_is_only_wrong(guarded: Api) -> None:
    async with guarded.client.get("/v1/pools", headers={"Authorization": "Bearer caf\u00e9"}) as answer:
        assert 401 == answer.status


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_load_balancers_need_no_token(guarded: Api, path: str) -> None:
    status, _ = await guarded.get(path)

    assert 200 == status


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "proxy.example"])
def test_an_address_that_others_can_reach_needs_a_token(make: Make, host: str) -> None:
    address = Address(host, 9900)

    with pytest.raises(StartError, match=r"is not a loopback address, so admin\.token is required"):
        Api(make.settings(admin=AdminSettings(address)))


@pytest.mark.parametrize(
    "address", [Address("127.8.8.8"), Address("::1"), Address("localhost"), Address(path="/run/a")]
)
def test_an_address_of_this_machine_alone_needs_none(address: Address) -> None:
    assert is_local(address)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9900", "192.0.2.1:9900", "[", ""])
async def test_a_mutation_for_another_host_is_refused(api: Api, host: str) -> None:
    """A name that a page has made to resolve to this machine (DNS rebinding)."""
    status, problem = await api.patch(B0, {"state": "drain"}, Host=host)

    assert (403, []) == (status, api.control.orders)
    assert "is not this admin endpoint" in problem["detail"]


@pytest.mark.parametrize("path", ["/", "/v1/config", "/v1/events", "/metrics", "/dashboard/app.js", "/nowhere"])
async def test_without_a_token_nothing_is_told_under_another_name(api: Api, path: str) -> None:
    """A page whose name leads to this machine could read the answers."""
    status, problem = await api.get(path, Host="evil.example:9900")

    assert (403, "Host evil.example is not this admin endpoint; under other names it needs a token") == (
        status,
        problem["detail"],
    )


async def test_with_a_token_the_name_does_not_matter_for_what_only_reads(guarded: Api) -> None:
    assert 200 == (await guarded.get("/v1/pools", Host="proxy.example:9900", **TOKEN))[0]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_load_balancers_may_ask_by_any_name(api: Api, path: str) -> None:
    assert 200 == (await api.get(path, Host="proxy.example:9900"))[0]


@pytest.mark.parametrize("host", ["localhost:9900", "127.0.0.1", "[::1]:80"])
async def test_a_mutation_by_any_loopback_name_is_fine(api: Api, host: str) -> None:
    status, _ = await api.patch(B0, {"state": "drain"}, Host=host)

    assert 200 == status


async def test_a_mutation_by_the_configured_name_is_fine(open_api: OpenApi) -> None:
    api = await open_api(admin=AdminSettings(Address("Proxy.example", 9900), token="s3cret"))

    assert 200 == (await api.patch(B0, {"state": "drain"}, Host="proxy.example:9900", **TOKEN))[0]
    assert 403 == (await api.patch(B0, {"state": "drain"}, Host="other.example:9900", **TOKEN))[0]


async def test_where_every_address_is_ours_the_token_stands_for_the_name(open_api: OpenApi) -> None:
    api = await open_api(admin=AdminSettings(Address("0.0.0.0", 9900), token="s3cret"))

    assert 200 == (await api.patch(B0, {"state": "drain"}, Host="proxy.example:9900", **TOKEN))[0]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:9900"])
async def test_a_mutation_by_a_page_of_another_origin_is_refused(api: Api, origin: str) -> None:
    status, _ = await api.patch(B0, {"state": "drain"}, Host="127.0.0.1:9900", Origin=origin)

    assert (403, []) == (status, api.control.orders)


async def test_a_mutation_by_a_page_of_our_own_is_fine(api: Api) -> None:
    status, _ = await api.patch(B0, {"state": "drain"}, Host="127.0.0.1:9900", Origin="http://127.0.0.1:9900")

    assert 200 == status
