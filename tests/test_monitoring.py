"""The rules for Prometheus and the dashboard for Grafana: they parse, they fire, and they ask for what there is."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.controlplane.admin.availability import availability_families
from proxy.controlplane.admin.exposition import Family
from proxy.controlplane.admin.metrics import metrics_page
from proxy.controlplane.availability.accounting import Accounting
from proxy.controlplane.pools.registry import Registry
from proxy.core.settings import Address, BackendSettings, PoolSettings, Settings

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "deploy/prometheus"
RULES: dict[str, Any] = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
ALL_RULES: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL_RULES if "alert" in rule]
RULE_TESTS = ("rules_test.yml", "rules_slow_test.yml")
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/failover.json").read_text())
RESULTS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*", "$pool": ".*"}


def families() -> list[Family]:
    """Everything that the metrics page can hold."""
    pool = PoolSettings("app", (BackendSettings("one", Address("127.0.0.1", 9)),))
    registry = Registry(Settings((), (pool,), ()), 0.0)
    page = metrics_page(registry, lambda: 0, partial(availability_families, Accounting(registry.settings)))
    return list(page.families())


def on_the_page() -> set[str]:
    """The name of every series that the metrics page can hold."""
    return {family.name + suffix for family in families() for suffix in RESULTS[family.kind]}


def recorded() -> set[str]:
    return {rule["record"] for rule in ALL_RULES if "record" in rule}


def asked_for(expression: str) -> set[str]:
    """The names of ours in an expression: `failover_x` of the page, `failover:x` of a recording rule."""
    without_texts = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\bfailover[_:][\w:]+", without_texts))


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[str]:
    """Every expression of the dashboard, its variables set."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    found += [note["expr"] for note in DASHBOARD["annotations"]["list"]]
    for expression in found:
        yield re.sub(r"\$\w+", lambda match: VARIABLES[match[0]], expression)


def promtool(program: Callable[..., str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [program("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)


# Rules


def test_the_rules_are_what_prometheus_expects(program: Callable[..., str]) -> None:
    ended = promtool(program, "check", "rules", "--lint-fatal", "rules.yml")

    assert (0, f"SUCCESS: {len(ALL_RULES)} rules found") == (ended.returncode, ended.stdout.split("\n")[1].strip())


@pytest.mark.parametrize("name", RULE_TESTS)
def test_each_alert_fires_where_it_should_and_nowhere_else(program: Callable[..., str], name: str) -> None:
    ended = promtool(program, "test", "rules", name)

    assert 0 == ended.returncode, ended.stdout + ended.stderr


def test_a_rule_that_is_wrong_is_found_by_its_test(program: Callable[..., str], tmp_path: Path) -> None:
    rules = (PROMETHEUS / "rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(rules.replace("failover_pool_panic == 1", "failover_pool_panic == 2"))
    (tmp_path / "rules_test.yml").write_text((PROMETHEUS / "rules_test.yml").read_text())

    ended = promtool(program, "test", "rules", tmp_path / "rules_test.yml")

    assert 1 == ended.returncode
    assert "FailoverPoolPanic" in ended.stdout + ended.stderr


def test_every_alert_has_a_test() -> None:
    tests = "".join((PROMETHEUS / name).read_text() for name in RULE_TESTS)

    assert [] == [rule["alert"] for rule in ALERTS if f'alertname="{rule["alert"]}"' not in tests]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_what_to_do(alert: dict[str, Any]) -> None:
    assert {"summary", "description", "runbook"} == set(alert["annotations"])
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert all(text.endswith((".", "logged last.")) for text in alert["annotations"].values())


def test_every_metric_that_a_rule_asks_for_is_on_the_page_or_recorded() -> None:
    asked = {name for rule in ALL_RULES for name in asked_for(rule["expr"])}

    assert set() == asked - on_the_page() - recorded()
    assert asked & on_the_page()


def test_prometheus_reads_the_rules() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["prometheus"]["volumes"]

    assert ["rules.yml"] == config["rule_files"]
    assert "./deploy/prometheus/rules.yml:/etc/prometheus/rules.yml:ro" in mounts


# The table of metrics


def test_the_documentation_has_a_row_for_each_metric() -> None:
    """As the page has it: name, kind, labels and text. What the process itself is measured by is the library's matter."""
    ours = [family for family in families() if family.name.startswith("failover_")]
    rows = [
        f"| `{one.name}{'_total' if one.kind == 'counter' else ''}` | {one.kind} | "
        f"{', '.join(f'`{label}`' for label in one.labels)} | {one.text} |"
        for one in sorted(ours, key=lambda family: family.name)
    ]
    told = re.findall(r"^\| `failover_.*$", (ROOT / "docs/observability.md").read_text(), re.MULTILINE)

    assert rows == told


def test_every_alert_is_in_the_documentation() -> None:
    text = (ROOT / "docs/observability.md").read_text()

    assert [] == [rule["alert"] for rule in ALERTS if f"`{rule['alert']}`" not in text]


# The dashboard


def test_every_query_of_the_dashboard_is_one(program: Callable[..., str], tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(queries())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    ended = promtool(program, "check", "rules", path)

    assert (0, f"SUCCESS: {len(rules)} rules found") == (ended.returncode, ended.stdout.split("\n")[1].strip())


def test_every_metric_that_the_dashboard_asks_for_is_on_the_page_or_recorded() -> None:
    asked = {name for query in queries() for name in asked_for(query)}
    asked |= {name for one in DASHBOARD["templating"]["list"] for name in asked_for(str(one.get("definition", "")))}

    assert set() == asked - on_the_page() - recorded()
    assert len(asked) > 20


def test_a_name_that_nobody_tells_is_found() -> None:
    assert {"failover_nonsense_total"} == asked_for('rate(failover_nonsense_total{a="failover_b"}[5m])') - on_the_page()


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """It names no data source of its own, and every variable that it uses is one of its own or of Grafana's."""
    sources = {panel["datasource"]["uid"] for panel in panels()}
    sources |= {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}

    assert {"${datasource}"} == sources
    assert used <= variables
    assert "id" not in DASHBOARD


def test_panels_stand_side_by_side_and_say_what_they_show() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(cells)) == len(cells)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    assert [] == [panel["title"] for panel in panels() if not panel.get("description")]
