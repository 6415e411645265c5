"""`make demo`, as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys


def test_the_demo_ends_by_itself_and_no_client_sees_a_failure() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "proxy.samples.demo"], capture_output=True, text=True, check=False, timeout=60
    )

    assert (0, "", "PASSED") == (ended.returncode, ended.stderr, ended.stdout.splitlines()[-1])
    assert "\nfailed       0\n" in ended.stdout
    assert "executed twice 0\n" in ended.stdout
    assert 4 == len(re.findall(r"\d+\.\d\d s +\d+\.\d\d s\n", ended.stdout))
    assert "\x1b" not in ended.stdout
