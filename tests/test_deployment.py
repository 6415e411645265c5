"""The files for Docker and Prometheus: what can be said of them without an engine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

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
    assert any(f":{ADMIN_PORT}/readyz" in word for word in SERVICES["proxy"]["healthcheck"]["test"])


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
