"""What a soak must not show."""

from __future__ import annotations

from tests.soak.soak import LASTING, Report
from tests.soak.traffic import KINDS

MOST_DESCRIPTORS = 2
"""More than at the first rest: a probe or a reader of the metrics may be under way."""
MOST_TASKS = 1
MOST_MEMORY = 8.0
"""MiB more than at the first rest: allocators keep what a peak has needed."""


def complaints(report: Report) -> list[str]:
    """Everything that is wrong; nothing: all is well."""
    wrong = list(report.tally.wrong)
    wrong += [f"no {kind} went well" for kind in KINDS if not report.tally.good[kind]]
    for name in ("supervisor", f"worker {LASTING}"):
        if report.rests[0][name].pid != report.rests[-1][name].pid:
            wrong.append(f"{name} has died")
        descriptors, tasks, memory = report.grown(name)
        if descriptors > MOST_DESCRIPTORS:
            wrong.append(f"{name} holds {descriptors} more descriptors")
        if tasks > MOST_TASKS:
            wrong.append(f"{name} has {tasks} more tasks")
        if memory > MOST_MEMORY:
            wrong.append(f"{name} holds {memory:.1f} MiB more")
    return wrong
