from __future__ import annotations

import json
from dataclasses import dataclass, field

from proxy.controlplane.admin.redaction import SECRET, shown
from proxy.core.settings import Address, AdminSettings, Match, RouteSettings
from proxy.core.tls import BackendTls, Certificate, PrivateKey
from tests.controlplane.conftest import Api, Make, OpenApi


def test_settings_are_shown_field_by_field() -> None:
    route = RouteSettings("all", Match(path="/x/*"), (("app", 1.0),))

    document = shown(route)

    assert ("all", "/x/*", [["app", 1.0]]) == (document["name"], document["match"]["path"], document["split"])


def test_an_address_is_shown_as_it_is_written() -> None:
    addresses = (Address("::1", 80), Address(path="/run/x"), Address("a", 443, tls=True))

    assert ["[::1]:80", "unix:/run/x", "https://a:443"] == shown(addresses)


def test_what_repr_leaves_out_is_secret_but_that_there_is_none_is_not() -> None:
    assert [SECRET, ""] == [shown(AdminSettings(token=token))["token"] for token in ("s3cret", "")]


def test_what_is_of_no_known_kind_is_secret() -> None:
    """A kind of value that is new must not be shown before somebody has thought of it."""

    @dataclass
    class New:
        thing: object = field(default_factory=object)
        data: bytes = b"s3cret"

    assert {"thing": SECRET, "data": "(6 bytes)"} == shown(New())


def test_a_private_key_is_never_shown(make: Make) -> None:
    tls = BackendTls(certificate=Certificate("chain", PrivateKey("s3cret")))

    assert SECRET == shown(tls)["certificate"]["key"]


def test_a_route_that_matches_a_credential_does_not_tell_it() -> None:
    match = Match(headers=(("Authorization", "Bearer s3cret"), ("X-Api-Key", "s3cret"), ("X-Canary", "always")))

    assert {"Authorization": SECRET, "X-Api-Key": SECRET, "X-Canary": "always"} == shown(match)["headers"]


def test_infinity_is_no_number_in_json() -> None:
    assert '["inf", 1.5]' == json.dumps(shown((float("inf"), 1.5)))


async def test_the_config_in_force_is_shown_without_the_token(open_api: OpenApi) -> None:
    api: Api = await open_api(admin=AdminSettings(Address("127.0.0.1", 0), token="s3cret"))

    status, document = await api.get("/v1/config", Authorization="Bearer s3cret")

    assert (200, 1, "2023-11-14T22:13:20.000Z") == (status, document["version"], document["since"])
    assert {"address": "127.0.0.1:0", "token": SECRET} == document["settings"]["admin"]
    assert "s3cret" not in json.dumps(document)


async def test_a_reload_is_another_version(api: Api, make: Make) -> None:
    api.control.registry.obey(make.settings(drain_timeout=7.0), 60.0)

    _, document = await api.get("/v1/config")

    assert (2, "2023-11-14T22:14:20.000Z") == (document["version"], document["since"])
    assert 7.0 == document["settings"]["drain_timeout"]
