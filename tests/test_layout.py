"""The shape of the tree: who may import whom, which test stands beside which module, how large a piece may get."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("proxy/**/*.py"))]
TESTS = frozenset(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py"))
CORE_MODULES = [module for module in MODULES if module.startswith("proxy/core/") and "__init__" not in module]

LAYERS: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "logs": frozenset(),
    "core": frozenset({"errors"}),
    "dialling": frozenset({"core"}),
    "ledger": frozenset({"errors", "logs", "core"}),
    "contexts": frozenset({"errors", "core"}),
    "extensions": frozenset({"core"}),
    "dataplane": frozenset({"errors", "logs", "core", "dialling", "ledger", "contexts", "extensions"}),
    "controlplane": frozenset({"errors", "logs", "core", "dialling", "ledger", "contexts", "extensions"}),
    "config": frozenset({"errors", "core", "contexts", "extensions", "dataplane", "controlplane"}),
    "cli": frozenset({"errors", "logs", "core", "dataplane", "controlplane", "config"}),
    "__main__": frozenset({"cli"}),
    "samples": frozenset({"errors", "core", "dataplane", "controlplane", "config", "cli", "__main__"}),
}
"""What each layer may import beside itself. The two planes know nothing of each other."""

ON_DEMAND = frozenset({"opentelemetry", "requests", "google"})
"""Packages of an extra: loaded where it is configured, and not before."""
NOT_IN_A_WORKER = frozenset({"aiohttp", "click", "prometheus_client", "pydantic", "yaml"})
"""Packages of the supervisor: they would cost each worker memory and start-up time."""

MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60


def imports(source: str) -> Iterator[str]:
    """Name every module that this source imports, wherever in the file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "proxy":
            yield from (f"proxy.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def layer(module: str) -> str:
    """`proxy/core/pools/pool.py` and `proxy.core.pools.pool` → `core`; the package itself has none."""
    parts = module.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else ""


def wrong_imports(module: str, source: str) -> list[str]:
    """What `module` imports from a layer that it must not know."""
    own = layer(module)
    allowed = LAYERS.get(own, frozenset()) | {own, ""}
    return [name for name in imports(source) if name.split(".")[0] == "proxy" and layer(name) not in allowed]


def packages(source: str) -> set[str]:
    return {name.split(".")[0] for name in imports(source)}


def large_functions(source: str) -> list[str]:
    return [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_layers_to_its_left(module: str) -> None:
    assert [] == wrong_imports(module, (ROOT / module).read_text())


@pytest.mark.parametrize("module", MODULES)
def test_a_module_belongs_to_a_layer(module: str) -> None:
    assert module == "proxy/__init__.py" or layer(module)


@pytest.mark.parametrize(
    "module", [module for module in MODULES if layer(module) in {"errors", "core", "ledger", "dataplane"}]
)
def test_what_a_worker_runs_does_not_name_the_supervisors_packages(module: str) -> None:
    assert set() == packages((ROOT / module).read_text()) & NOT_IN_A_WORKER


def test_a_worker_does_not_load_the_supervisors_packages() -> None:
    """Not by way of a third package either."""
    source = "import sys, proxy.dataplane.worker; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.split()

    assert set() == (NOT_IN_A_WORKER | ON_DEMAND).intersection(loaded)


@pytest.mark.parametrize("module", MODULES)
def test_only_the_breaker_imports_pybreaker(module: str) -> None:
    assert module == "proxy/core/pools/breaker.py" or "pybreaker" not in packages((ROOT / module).read_text())


@pytest.mark.parametrize("module", CORE_MODULES)
def test_a_module_of_core_has_its_own_test(module: str) -> None:
    twin = f"tests/core/test_{Path(module).name}"

    assert twin in TESTS


@pytest.mark.parametrize("module", MODULES)
def test_a_file_can_be_read_in_one_sitting(module: str) -> None:
    lines = (ROOT / module).read_text().count("\n")

    assert lines <= MOST_LINES_OF_A_FILE


@pytest.mark.parametrize("module", MODULES)
def test_a_function_fits_on_a_page(module: str) -> None:
    assert [] == large_functions((ROOT / module).read_text())


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("proxy/core/pools/pool.py", "from proxy.dataplane.worker import Worker", ["proxy.dataplane.worker"]),
        ("proxy/core/pools/pool.py", "from proxy import config", ["proxy.config"]),
        (
            "proxy/dataplane/worker.py",
            "import proxy.controlplane.admin.endpoint",
            ["proxy.controlplane.admin.endpoint"],
        ),
        (
            "proxy/controlplane/admin/endpoint.py",
            "def f():\n    from proxy.dataplane import stats",
            ["proxy.dataplane"],
        ),
        ("proxy/controlplane/admin/endpoint.py", "import proxy.samples.demo", ["proxy.samples.demo"]),
        ("proxy/errors.py", "from proxy.core.pools.pool import Pool", ["proxy.core.pools.pool"]),
        ("proxy/config/loader.py", "from proxy.core.pools.pool import Pool", []),
        ("proxy/controlplane/admin/endpoint.py", "from proxy import __version__", []),
        ("proxy/core/pools/pool.py", "import enum\nfrom proxy.core import model", []),
    ],
)
def test_the_import_rule_finds_what_breaks_it(module: str, line: str, wrong: list[str]) -> None:
    assert wrong == wrong_imports(module, line)


def test_a_large_function_is_found() -> None:
    body = "    pass\n" * MOST_LINES_OF_A_FUNCTION

    assert ["f: 61 lines"] == large_functions(f"def f():\n{body}")


def test_each_decision_has_a_number_of_its_own_and_its_title_bears_it() -> None:
    records = sorted((ROOT / "docs/adr").glob("*.md"))
    numbers = [int(path.name[:4]) for path in records]

    assert list(range(1, len(records) + 1)) == numbers
    assert [f"# {number}." for number in numbers] == [
        path.read_text().partition(" ")[0] + " " + path.read_text().split()[1] for path in records
    ]


def test_every_link_between_documents_leads_somewhere() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTEXT.md", *(ROOT / "docs").rglob("*.md")]
    links = [(path, link) for path in documents for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())]

    assert [] == [(path.name, link) for path, link in links if not (path.parent / link).exists()]
