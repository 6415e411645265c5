"""`make demo-payments`, as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys


def test_no_order_is_charged_twice_at_whatever_stage_the_gateway_is_killed() -> None:
    command = [sys.executable, "-m", "proxy.samples.payments"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)

    print(ended.stdout)
    assert (0, "") == (ended.returncode, ended.stderr)
    *_, last = ended.stdout.splitlines()
    sums = re.fullmatch(
        r"orders placed (\d+), charges made (\d+), duplicates 0, unknown (\d+), of them not resolved 0", last
    )
    assert sums is not None
    assert sums[1] == sums[2]
    assert int(sums[3]) > 0
    stages = [line.split()[0] for line in ended.stdout.splitlines()[3:8]]
    assert ["away", "head", "body", "charged", "answering"] == stages
