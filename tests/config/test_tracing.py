"""The `tracing` block: what it becomes, and what is refused."""

from __future__ import annotations

import pytest

from proxy.config import ConfigError, loads, tracing
from proxy.core.settings import Settings
from proxy.core.wire.tracing import TracingPolicy

LEAST = "listeners: [127.0.0.1:8080]\npools: {app: [127.0.0.1:9001]}\n"


def read(block: str) -> Settings:
    return loads(LEAST + block, "a.yaml", {})


def mistakes(block: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(block)
    return raised.value.render().splitlines()


def test_without_the_block_traces_pass_untouched() -> None:
    assert read("").tracing is None


@pytest.mark.parametrize(
    ("block", "policy"),
    [
        ("tracing: {}", TracingPolicy()),
        ("tracing: {sample: 5%}", TracingPolicy(sample=0.05)),
        (
            "tracing: {export: http://127.0.0.1:4318/v1/traces, service: edge, buffer: 10}",
            TracingPolicy(export="http://127.0.0.1:4318/v1/traces", service="edge", buffer=10),
        ),
    ],
)
def test_the_block_becomes_a_policy(block: str, policy: TracingPolicy) -> None:
    assert policy == read(block).tracing


@pytest.mark.parametrize(
    ("block", "mistake"),
    [
        ("tracing: {sample: 101%}", "a.yaml:3:19: error: tracing.sample: "),
        ("tracing: {export: localhost:4318}", "a.yaml:3:19: error: tracing.export: expected the URL of a collector"),
        ("tracing: {export: 'http://me:pw@h/'}", "a.yaml:3:19: error: tracing.export: expected the URL of a collector"),
        ("tracing: {service: x}", "a.yaml:3:11: error: tracing.service: does nothing without 'tracing.export'"),
        ("tracing: {export: http://h/, buffer: 0}", "a.yaml:3:38: error: tracing.buffer: "),
        ("tracing: {sampel: 1%}", "a.yaml:3:11: error: tracing.sampel: "),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(block: str, mistake: str) -> None:
    found = mistakes(block)

    assert 1 == len([line for line in found if "error:" in line])
    assert found[0].startswith(mistake)


@pytest.mark.parametrize("missing", ["opentelemetry.exporter.none", "no_such_package.exporter"])
def test_an_export_without_its_extra_is_refused_before_anything_starts(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "EXPORTER", missing)

    mistake = mistakes("tracing: {export: http://h/}")[0]
    assert "a.yaml:3:19: error: tracing.export: needs the extra 'otel', which is not installed" in mistake


def test_a_password_in_a_url_is_not_repeated() -> None:
    """A reload's mistakes go to the log, the journal and the API."""
    assert mistakes("tracing: {export: 'http://me:p@ss@h/'}")[0].endswith("not 'http://…@h/'")
