"""The JSON Schema and the page that is made from it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from proxy.config import load, loads
from proxy.config.notyet import NOT_YET
from proxy.config.reference import reference
from proxy.config.schema import json_schema
from proxy.config.tree import read
from tests.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(ROOT.glob("conf/*.yaml"))
SCHEMA = json_schema()
MINIMAL: dict[str, Any] = {"listeners": ["127.0.0.1:8080"], "pools": {"app": ["127.0.0.1:9001"]}}


def content(path: Path) -> Any:
    return read(path.read_text(), path.name, {}).data()


def accepts(document: object) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(document))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_file_in_conf_loads(path: Path, tmp_path: Path) -> None:
    """With what it names beside it: certificates, and code."""
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    for code in path.parent.glob("*.py"):
        (tmp_path / code.name).write_text(code.read_text())
    if "cert:" in path.read_text():
        authority = Authority(tmp_path)
        for name in sorted(set(re.findall(r"([a-z-]+)\.crt", path.read_text()))):
            authority.issue(f"{name}.example", file=name)

    assert load(copy, {}).pools


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_schema_accepts_every_file_in_conf(path: Path) -> None:
    assert accepts(content(path))


def test_a_standard_validator_takes_the_schema_and_the_files(tmp_path: Path) -> None:
    """Editors read patterns as ECMAScript does, not as Python does."""
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))

    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--schemafile",
        str(tmp_path / "schema.json"),
        *map(str, CONFIGS),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "ok -- validation done\n") == (result.returncode, result.stdout)


def test_the_file_with_every_default_written_out_changes_nothing() -> None:
    least = "listeners: {web: 127.0.0.1:8080}\npools: {app: [127.0.0.1:9001, 127.0.0.1:9002, 127.0.0.1:9003]}\n"

    assert loads(least, "x", {}) == load(ROOT / "conf/tuned.yaml", {})


def test_the_file_with_every_default_written_out_names_every_policy_key() -> None:
    written = content(ROOT / "conf/tuned.yaml")["defaults"]

    for block, value in SCHEMA["$defs"]["Defaults"]["properties"].items():
        model = SCHEMA["$defs"][value["$ref"].removeprefix("#/$defs/")]
        assert (block, set(model["properties"])) == (block, set(written[block]))


@pytest.mark.parametrize(
    "change",
    [
        {"banana": 1},
        {"version": 2},
        {"workers": 0},
        {"listeners": []},
        {"listeners": ["127.0.0.1"]},
        {"drain_timeout": 5},
        {"drain_timeout": "5 s"},
        {"pools": {"app": {"backends": []}}},
        {"pools": {"app": {"backends": ["a:1"], "banana": 1}}},
        {"pools": {"app": {"backends": [{"address": "a:1", "weight": -1}]}}},
        {"pools": {"app": ["ftp://a"]}},
        {"pools": {"a b": ["a:1"]}},
        {"pools": {"app": {"backends": ["a:1"], "timeouts": {"client_idle": "1s"}}}},
        {"pools": {"app": {"backends": ["a:1"], "mode": "leader-follower"}}},
        {"defaults": {"retries": {"budget": 0.2}}},
        {"defaults": {"retries": {"budget": "20"}}},
        {"defaults": {"retries": {"on": ["conect"]}}},
        {"defaults": {"limits": {"header_bytes": "64kb"}}},
        {"defaults": {"health": {"interval": 0}}},
        {"defaults": {"health": None}},
        {"admin": {"token": "hunter2"}},
        {"routes": [{"split": {"app": 1}}]},
        {"routes": [{"match": {"path": "/x*"}, "pool": "app"}]},
        {"routes": [{"answer": None}]},
        {"listeners": [{"address": "a:1", "tls": {"cert": "c", "min_version": 1.1}}]},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_program_refuses(change: dict[str, Any]) -> None:
    assert not accepts(MINIMAL | change)


@pytest.mark.parametrize(
    "change",
    [
        {"workers": "auto"},
        {"workers": "${WORKERS}"},
        {"listeners": {"web": "unix:/s", "other": {"address": "[::1]:1"}}},
        {"defaults": {"timeouts": {"connect": "250ms", "total": "none"}, "hold": {"for": 0}}},
        {"defaults": {"retries": {"on": ["connect", 503, "503"], "budget": "0.5%"}}},
        {"pools": {"app": {"backends": [{"url": "http://a", "weight": "${W}"}], "hash_on": {"header": "X"}}}},
        {"admin": {"token": {"file": "./token"}}},
        {"listeners": [{"address": "a:1", "tls": {"cert": "c", "min_version": 1.3, "client_auth": "ca"}}]},
        {"listeners": [{"address": "a:1", "tls": {"certificates": [{"cert": "c"}], "client_auth": {"ca": "ca"}}}]},
        {"pools": {"app": {"backends": ["https://a"], "tls": {"verify": False, "min_version": "1.2"}}}},
    ],
    ids=str,
)
def test_the_schema_accepts_what_the_program_accepts(change: dict[str, Any]) -> None:
    assert accepts(MINIMAL | change)


def test_every_key_says_what_it_is_for() -> None:
    missing = [
        f"{name}.{key}"
        for name, model in SCHEMA["$defs"].items()
        for key, value in model["properties"].items()
        if "description" not in value and "$ref" not in value
    ]

    assert [] == missing


def test_defaults_are_written_as_in_a_file() -> None:
    assert ["1s", "20%", "64KiB", ["200-399"], "none"] == [
        SCHEMA["$defs"][model]["properties"][key]["default"]
        for model, key in (
            ("Timeouts", "connect"),
            ("Retries", "budget"),
            ("Retries", "hold_answer"),
            ("Health", "status"),
            ("Timeouts", "total"),
        )
    ]


def test_the_reference_is_up_to_date() -> None:
    """`python -m proxy.config.reference > docs/config.md` makes it so."""
    assert reference() == (ROOT / "docs/config.md").read_text()


def test_the_reference_names_what_is_not_supported_yet() -> None:
    assert all(f"- `{pattern}" in reference() for pattern in NOT_YET)


def test_the_command_writes_the_reference() -> None:
    command = [sys.executable, "-m", "proxy.config.reference"]

    assert reference() == subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
