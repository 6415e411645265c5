from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Annotated, Literal, NotRequired, TypedDict

import hypothesis
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.core.failures import Failure

from proxy.controlplane.admin.schemas import Note, Schemas
from proxy.controlplane.difference import difference
from proxy.core.pools.active import FailoverPolicy
from proxy.core.settings import Address, BackendSettings, PoolSettings
from tests.controlplane.conftest import UNPROBED, Api, Make

EXAMPLES = 12
"""Requests for each method on each path; from a fixed seed, so that what passes once passes always."""

ENDLESS = "/v1/events"
"""An answer that does not end is not waited for; it has tests of its own."""


async def document_of(api: Api) -> dict[str, object]:
    status, document = await api.get("/v1/openapi.json")
    assert 200 == status
    return document


async def test_every_route_is_described(api: Api) -> None:
    """But for the page and its files, which people get."""
    served = {
        (route.method, route.resource.canonical)
        for route in api.admin._runner.app.router.routes()
        if route.method != "HEAD" and route.resource.canonical not in ("/", "/dashboard/{file}")
    }

    paths = (await document_of(api))["paths"]

    assert served == {(method.upper(), path) for path, methods in paths.items() for method in methods}


async def test_every_operation_has_a_name_of_its_own(api: Api) -> None:
    paths = (await document_of(api))["paths"]
    names = [one["operationId"] for methods in paths.values() for one in methods.values()]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/pools",
        "/v1/pools/app",
        "/v1/pools/app/backends/b0",
        "/v1/config",
        "/v1/journal",
        "/v1/availability",
        "/v1/pools/none",
        "/nothing",
    ],
)
async def test_what_is_answered_is_what_is_described(api: Api, path: str) -> None:
    """To the letter: no member is missing, and none is there that is not described."""
    document = await document_of(api)
    name = {
        "pools": "Pools",
        "app": "Pool",
        "b0": "Backend",
        "config": "Config",
        "journal": "Journal",
        "availability": "Availability",
    }.get(path.rpartition("/")[2], "Problem")

    _, answer = await api.get(path)

    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.validate(answer, schema, jsonschema.Draft202012Validator)


async def test_what_a_machine_reads_lists_what_a_person_reads(api: Api) -> None:
    paths = (await document_of(api))["paths"]

    _, page = await api.get("/")

    listed = {line.split()[1].lower() for line in page.splitlines()[2:]}
    assert {path.replace("{", "").replace("}", "") for path in paths} == listed


# Schemas


class Inner(TypedDict):
    """What is within."""

    x: float
    y: NotRequired[int]


class OuterDocument(TypedDict, total=False):
    """What is around."""

    kind: Literal["a", "b"]
    many: Annotated[list[Inner], Note("All of them.")]
    maybe: Inner | None


def test_types_become_schemas() -> None:
    schemas = Schemas()

    assert {"$ref": "#/components/schemas/Outer"} == schemas.of(OuterDocument)
    outer = schemas.components["Outer"]["properties"]
    inner = {"$ref": "#/components/schemas/Inner"}
    assert {"type": "array", "items": inner, "description": "All of them."} == outer["many"]
    assert {"anyOf": [inner, {"type": "null"}]} == outer["maybe"]
    assert {"type": "string", "enum": ["a", "b"]} == outer["kind"]
    assert ["x"] == schemas.components["Inner"]["required"]


def test_a_type_that_json_does_not_know_has_no_schema() -> None:
    with pytest.raises(TypeError, match="has no schema"):
        Schemas().of(bytes)


# Fuzzing


class Served:
    """An admin endpoint in a thread of its own, on a real socket: what fuzzes it blocks."""

    def __init__(self, make: Callable[[], Api]) -> None:
        self._make = make
        self._stop = asyncio.Event()
        self.address: Future[str] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        api = self._make()
        await api.open()
        self.address.set_result(str(api.client.make_url("/")).rstrip("/"))
        await self._stop.wait()
        await api.client.close()

    def __enter__(self) -> str:
        self._thread.start()
        return self.address.result(30)

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


@pytest.fixture
def served(make: Make) -> Iterator[str]:
    backends = tuple(BackendSettings(name, Address("127.0.0.1", 9)) for name in ("a", "b"))
    pools = (
        PoolSettings("app", backends, health=UNPROBED),
        PoolSettings("pay", backends, health=UNPROBED, failover=FailoverPolicy()),
    )

    def opened() -> Api:
        api = Api(make.settings(pools=pools))
        nothing = difference(api.control.registry.settings, api.control.registry.settings)
        told = {"changed": False, "seconds": 0.1, "applied_in_seconds": 0.1, "late_workers": [], **nothing.document()}
        api.control.reloads = lambda: told
        return api

    with Served(opened) as address:
        yield address


def names(parameter: str) -> str | None:
    return {"pool": "pay", "backend": "b"}.get(parameter)


@pytest.mark.parametrize("knows_names", [True, False], ids=["of what there is", "of anything"])
def test_nothing_that_the_description_allows_or_forbids_is_answered_otherwise(
    served: str, *, knows_names: bool
) -> None:
    """No 5xx but those that are described, no answer that is not, no error that is no problem document."""
    schema = schemathesis.openapi.from_url(f"{served}/v1/openapi.json").exclude(path=ENDLESS)
    failures: list[str] = []
    for operation in schema.get_all_operations():
        _fuzz(operation.ok(), served, failures, knows_names=knows_names)

    assert "" == "\n\n".join(failures)


def _fuzz(operation: object, address: str, failures: list[str], *, knows_names: bool) -> None:
    @hypothesis.given(case=operation.as_strategy())
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        if knows_names:
            case.path_parameters = {one: names(one) or value for one, value in (case.path_parameters or {}).items()}
        try:
            case.call_and_validate(base_url=address, timeout=10)
        except* Failure as group:
            failures.extend(f"{case.as_curl_command()}: {one}" for one in group.exceptions)

    ask()
