"""A user's own code for tests: the examples of `docs/extending.md` as files, and a process that forgets them afterwards."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from proxy.core.pools import balancer
from proxy.core.requests import retry

PAGE = Path(__file__).resolve().parents[1] / "docs/extending.md"
_EXAMPLE = re.compile(r"```python\n# (shop/\w+\.py)\n(.*?)```", re.DOTALL)
_CONFIG = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


def config() -> str:
    """The page's config."""
    found = _CONFIG.search(PAGE.read_text())
    assert found is not None
    return found[1]


def write_examples(folder: Path) -> list[str]:
    """Write the page's examples to files; their names."""
    names = []
    for name, text in _EXAMPLE.findall(PAGE.read_text()):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        names.append(name)
    return names


def write(folder: Path, name: str, text: str) -> None:
    """Write a module of one's own."""
    (folder / f"{name}.py").write_text(text)


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Whatever is loaded within is as if it had never been."""
    modules, path = set(sys.modules), list(sys.path)
    tables = [(table, dict(table)) for table in (balancer.ALGORITHMS, balancer.KEYS, retry.CONDITIONS)]
    try:
        yield
    finally:
        for name in set(sys.modules) - modules:
            if name.split(".")[0] in {"shop", "own"}:
                del sys.modules[name]
        sys.path[:] = path
        for table, before in tables:
            table.clear()  # type: ignore[attr-defined]
            table.update(before)  # type: ignore[attr-defined]
