"""Each simulation runs with a few seeds; `SIM_SEED="7 8 9"` runs it with others."""

from __future__ import annotations

import os

import pytest

SEEDS = range(2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        chosen = os.environ.get("SIM_SEED", "")
        seeds = [int(seed) for seed in chosen.split()] or list(SEEDS)
        metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])
