"""The files for Docker, Prometheus and systemd: what can be said of them without an engine."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.cli.client import DEFAULT_ADMIN

ROOT = Path(__file__).resolve().parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PORT = 8080
ADMIN_PORT = 9900


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_compose_file_keeps_to_the_compose_schema() -> None:
    ended = run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")

    assert (0, "ok -- validation done\n") == (ended.returncode, ended.stdout)


def test_the_compose_schema_refuses_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text((ROOT / "docker-compose.yml").read_text().replace("stop_grace_period", "stop_gracefully"))

    assert 1 == run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(wrong)).returncode


def test_the_proxys_config_in_the_container_is_valid() -> None:
    ended = run("proxy", "check", "deploy/proxy.yaml")

    assert (0, "") == (ended.returncode, ended.stderr)


def test_every_file_that_is_mounted_is_in_the_tree() -> None:
    mounts = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]

    assert [] == [source for source, *_ in mounts if source.startswith(".") and not (ROOT / source).is_file()]


def test_the_config_names_the_services_at_their_ports() -> None:
    config = yaml.safe_load((ROOT / "deploy/proxy.yaml").read_text())
    backends = [name for name in SERVICES if name.startswith("backend-")]
    [port] = {SERVICES[name]["command"][-1] for name in backends}

    assert [f"{name}:{port}" for name in backends] == config["pools"]["app"]["backends"]
    assert {"web": f"0.0.0.0:{PORT}"} == config["listeners"]
    assert f"127.0.0.1:{PORT}:{PORT}" in SERVICES["proxy"]["ports"]


def test_prometheus_scrapes_the_admin_endpoint_over_the_proxys_own_loopback() -> None:
    config = yaml.safe_load((ROOT / "deploy/proxy.yaml").read_text())
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())

    assert "service:proxy" == SERVICES["prometheus"]["network_mode"]
    assert [config["admin"]["address"]] == scrape["scrape_configs"][0]["static_configs"][0]["targets"]


def test_the_container_is_well_when_our_own_command_says_so() -> None:
    """At the admin endpoint of its config, which is the one that the command asks by default."""
    command = ["python", "-m", "proxy", "status", "--ready"]
    [line] = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("HEALTHCHECK")]

    assert ["CMD", *command] == SERVICES["proxy"]["healthcheck"]["test"]
    assert command == json.loads(line.partition(" CMD ")[2])
    assert (
        yaml.safe_load((ROOT / "deploy/proxy.yaml").read_text())["admin"]["address"]
        == DEFAULT_ADMIN
        == f"127.0.0.1:{ADMIN_PORT}"
    )


def test_the_image_holds_what_the_dockerfile_copies() -> None:
    copied = [shlex.split(line)[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:5] == "COPY "]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert set(copied) == kept
    assert all((ROOT / name).exists() for name in copied)


def test_the_locks_pin_every_package_with_its_hashes_and_name_no_place() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        entries = re.split(r"\n(?! )", (ROOT / name).read_text().strip())

        assert [] == [entry for entry in entries if not re.match(r"[a-z0-9-]+==\S+ .*\\\n +--hash=sha256:", entry)]
        assert not re.search(r"://|--index|--find-links", "".join(entries))


def test_the_tools_lock_holds_the_runtime_lock() -> None:
    """So that one environment serves both."""
    runtime, tools = (
        set(re.split(r"\n(?! )", (ROOT / name).read_text().strip()))
        for name in ("requirements.lock", "requirements-dev.lock")
    )

    assert set() == runtime - tools


# systemd

UNITS = ROOT / "deploy/systemd"
INSTALLED = "/usr/local/bin/failover-proxy"
MOST_EXPOSED = 2.0
"""Of 10, as systemd-analyze counts; below 2.0 it says OK."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is there."""
    for unit in UNITS.iterdir():
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, sys.executable))
    return tmp_path


def analyze(program: Callable[..., str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("systemd-analyze", "systemd"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_units_are_what_systemd_expects(program: Callable[..., str], units: Path) -> None:
    ended = analyze(program, "verify", "--man=no", *sorted(units.iterdir()))

    ours = [line for line in ended.stderr.splitlines() if "failover-proxy" in line]
    assert (0, []) == (ended.returncode, ours)


def test_a_mistake_in_a_unit_is_found(program: Callable[..., str], units: Path) -> None:
    unit = units / "failover-proxy.service"
    unit.write_text(unit.read_text().replace("KillMode=process", "KillMod=process"))

    assert "'KillMod'" in analyze(program, "verify", "--man=no", unit).stderr


def test_the_service_has_hardly_more_rights_than_it_needs(program: Callable[..., str], units: Path) -> None:
    ended = analyze(program, "security", "--offline=true", units / "failover-proxy.service")

    [level] = re.findall(r"Overall exposure level for failover-proxy.service: ([0-9.]+)", ended.stdout)
    assert float(level) < MOST_EXPOSED


def test_systemd_waits_longer_than_a_drain_by_default() -> None:
    service = (UNITS / "failover-proxy.service").read_text()
    [seconds] = re.findall(r"^TimeoutStopSec=(\d+)s$", service, re.MULTILINE)

    assert int(seconds) > 30  # the default of drain_timeout
    assert "RestartPreventExitStatus=78" in service
