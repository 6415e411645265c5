"""What every test may use: uvloop under each async test, and programs that may be missing on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Mapping

import hypothesis
import pytest
import uvloop

# No test may fail because a machine is slow.
hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")

SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where servers are installed; not on everybody's PATH."""


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    """Run async tests on the loop that serves."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what would be skipped where REQUIRE_ALL=1: there, everything must run."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("REQUIRE_ALL") == "1":
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"skipped although REQUIRE_ALL=1: {reason}"
    return report


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Find a program that comes from a Debian package, or skip: `program("nginx")` is its path."""

    def find(name: str, package: str = "") -> str:
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_FOLDERS}")
        if path is None:
            pytest.skip(f"{name} is not installed; apt-get install {package or name}")
        return path

    return find
