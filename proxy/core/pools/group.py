"""A Group: the Backends of one place in a Pool (one tier, on one side of locality), those of them that may serve, and
the share of the load that they get. A Pool has one Group for each place and picks among them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import cast

from proxy.core.pools.balancer import ALGORITHMS, Balancer, Learner
from proxy.core.pools.model import Backend
from proxy.core.pools.tiers import Place, place_of
from proxy.core.settings import PoolSettings


class Group:
    """The Backends of one place, with a Balancer of their own."""

    __slots__ = ("backends", "balancer", "candidates", "learner", "place", "share", "whole")

    def __init__(self, settings: PoolSettings, place: Place, backends: Sequence[Backend]) -> None:
        self.place = place
        self.backends = tuple(backends)
        self.balancer: Balancer = ALGORITHMS[settings.balance](settings, self.backends)
        self.learner = cast("Learner", self.balancer) if hasattr(self.balancer, "observe") else None
        self.whole = sum(backend.settings.weight for backend in self.backends)
        # As `Pool.refresh` says
        self.candidates: tuple[Backend, ...] = ()
        self.share = 0.0

    def __repr__(self) -> str:
        return f"<Group {self.place} {len(self.candidates)} of {len(self.backends)} share={self.share:.2f}>"

    def weights(self) -> tuple[float, float]:
        """The weight that may serve, and all of it."""
        return sum(backend.settings.weight for backend in self.candidates), self.whole


def grouped(settings: PoolSettings, backends: Sequence[Backend]) -> tuple[Group, ...]:
    """The Groups of a Pool, who serves first first."""

    def place(backend: Backend) -> Place:
        return place_of(settings, backend.settings)

    found: Iterator[tuple[Place, Iterator[Backend]]] = groupby(sorted(backends, key=place), key=place)
    return tuple(Group(settings, where, tuple(members)) for where, members in found)


def in_turn(groups: Sequence[Group], rng: random.Random) -> Iterator[Group]:
    """The Group that a draw by shares gives, then the others, who serves first first."""
    drawn = rng.random()
    first = groups[0]
    for group in groups:
        if drawn < group.share:
            first = group
            break
        drawn -= group.share
    yield first
    yield from (group for group in groups if group is not first)
