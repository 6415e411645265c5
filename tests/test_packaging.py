"""The distribution: what `pip install` would bring."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from proxy import __version__

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE")
PIP_WHEEL = ["-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]


def test_a_wheel_holds_the_command_and_every_file_of_the_package(tmp_path: Path) -> None:
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "proxy", tmp_path / "proxy", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("proxy/**/*") if path.is_file()}

    subprocess.run([sys.executable, *PIP_WHEEL, "--wheel-dir", "dist", "."], cwd=tmp_path, check=True)

    [wheel] = tmp_path.glob("dist/*.whl")
    assert wheel.name == f"failover_proxy-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        contents = set(archive.namelist())
        commands = archive.read(f"failover_proxy-{__version__}.dist-info/entry_points.txt").decode()
    assert set() == files - contents - {"proxy/core/ruff.toml"}
    assert "[console_scripts]\nfailover-proxy = proxy.__main__:main\n" == commands
