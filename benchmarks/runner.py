"""Carries out the cases: each proxy in turn, round after round, so that what else the machine does meets all."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from benchmarks.admin import measure_admin
from benchmarks.cases import AdminCase, Case, FailoverCase, LoadCase, MemoryCase, ReloadCase, takes_part
from benchmarks.failover import measure_failover
from benchmarks.measurement import Measurement, Pace
from benchmarks.memory import measure_memory
from benchmarks.peers.contract import UnsupportedError
from benchmarks.processes import StartError
from benchmarks.reload import measure_reload
from benchmarks.steady import measure_load


def run_case(case: Case, peers: list[str], pace: Pace) -> Iterator[Measurement]:
    """All rounds of a case. The first proxy of a round is the second of the one before."""
    peers = [peer for peer in peers if takes_part(case, peer)]
    hopeless: dict[str, str] = {}
    for number in range(_rounds_of(case, pace)):
        shift = number % len(peers) if peers else 0
        for peer in peers[shift:] + peers[:shift]:
            done = Measurement(case.name, peer, number, trouble=hopeless.get(peer, ""))
            if not done.trouble:
                hopeless[peer] = done.trouble = _measure(case, done, pace)
            yield done


def _rounds_of(case: Case, pace: Pace) -> int:
    if isinstance(case, LoadCase):
        return pace.rounds
    return 1 if isinstance(case, MemoryCase) and case.requests else pace.other_rounds


def _measure(case: Case, done: Measurement, pace: Pace) -> str:
    """Fill in the figures; say why, where there are none."""
    try:
        if isinstance(case, LoadCase):
            measure_load(case, done, pace)
        elif isinstance(case, FailoverCase):
            measure_failover(case, done, pace)
        elif isinstance(case, ReloadCase):
            measure_reload(case, done, pace)
        elif isinstance(case, AdminCase):
            measure_admin(case, done, pace)
        else:
            measure_memory(case, done, pace)
    except (UnsupportedError, StartError) as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return "took too long"
    return ""
