"""Splits from which a Pool is cut off: by the rule of `core.canary`, or by a person; until a person ends it.

A reload that changes the split ends it, too. `registry` owns one Splits, feeds it once a second, and tells the workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.controlplane.pools.change import Change
from proxy.controlplane.pools.governor import Refused
from proxy.controlplane.pools.records import PoolRecord
from proxy.controlplane.pools.tally import Tally
from proxy.core.requests.canary import Canary, Seen
from proxy.core.settings import RouteSettings, Settings

BY_HAND = "by a person"
CUT_OFF = "cut off"


@dataclass(frozen=True, slots=True)
class Cut:
    """A Pool that is cut off from a split."""

    pool: str
    evidence: str
    since: float
    split: str
    """What the split was: a cut of another one says nothing."""


class Splits:
    """All Routes that are split."""

    def __init__(self, settings: Settings, was: Mapping[str, Cut]) -> None:
        self.cuts: dict[str, Cut] = dict(was)
        """By the Route's name."""
        self.routes: dict[str, RouteSettings] = {}
        self._canaries: dict[str, Canary] = {}
        self.obey(settings)

    def __repr__(self) -> str:
        return f"<Splits {len(self.routes)} cuts={self.cuts}>"

    def obey(self, settings: Settings) -> None:
        """Follow other settings. Of a split that is as it was, everything stays."""
        before = self.routes
        self.routes = {one.name: one for one in settings.routes if len(one.split) > 1}
        self._canaries = {
            name: (self._canaries.get(name) if _same(before.get(name), route) else None) or Canary(route.abort_on)
            for name, route in self.routes.items()
            if route.abort_on is not None
        }
        self.remember(self.cuts)

    def remember(self, cuts: Mapping[str, Cut]) -> None:
        """Take over what was cut off, where the split is the same."""
        self.cuts = {
            name: cut for name, cut in cuts.items() if name in self.routes and cut.split == text_of(self.routes[name])
        }

    def told(self) -> dict[str, str]:
        """What workers must heed."""
        return {name: cut.pool for name, cut in self.cuts.items()}

    def look(self, pools: Mapping[str, PoolRecord], tally: Tally, now: float) -> list[Change]:
        """Compare each Pool that is watched with the others of its split."""
        changes = []
        for name, canary in self._canaries.items():
            route, watched = self.routes[name], canary.policy.pool
            others = [pool for pool, _ in route.split if pool != watched]
            own = _seen(pools[watched], tally)
            beside = [_seen(pools[pool], tally) for pool in others]
            rest = Seen(sum(one.ended for one in beside), sum(one.failed for one in beside))
            evidence = canary.look(own, rest, now)
            if evidence and name not in self.cuts and any(pools[pool].available for pool in others):
                changes.append(self._cut(route, watched, evidence, now))
        return changes

    def cut(self, name: str, pool: str, now: float) -> list[Change]:
        """A person wants this Pool to get nothing from this split. Raises Refused."""
        route = self.routes[name]
        if pool not in dict(route.split):
            raise Refused(f"the split of {name} has no pool {pool}")
        known = self.cuts.get(name)
        if known is not None and known.pool != pool:
            raise Refused(f"{known.pool} is cut off from it already")
        return [] if known is not None else [self._cut(route, pool, BY_HAND, now)]

    def resume(self, name: str) -> list[Change]:
        """A person gives the Pool that is cut off its share back; it is judged anew. Raises Refused."""
        cut = self.cuts.pop(name, None)
        if cut is None:
            raise Refused(f"nothing is cut off from the split of {name}")
        if name in self._canaries:
            self._canaries[name].begin_anew()
        return [_change(self.routes[name], cut.pool, BY_HAND, is_cut=False)]

    def _cut(self, route: RouteSettings, pool: str, evidence: str, now: float) -> Change:
        self.cuts[route.name] = Cut(pool, evidence, now, text_of(route))
        return _change(route, pool, evidence, is_cut=True)


def text_of(route: RouteSettings) -> str:
    """A split with its rule, to be compared with what it is after a reload or a restart."""
    shares = ", ".join(f"{pool}: {share:.9g}" for pool, share in route.split)
    rule = route.abort_on
    if rule is None:
        return shares
    return f"{shares}, {rule.pool} {rule.worse_by:.9g} {rule.min_requests} {rule.window:.9g}"


def _same(before: RouteSettings | None, after: RouteSettings) -> bool:
    return before is not None and text_of(before) == text_of(after)


def _seen(pool: PoolRecord, tally: Tally) -> Seen:
    """All Attempts on the Backends of a Pool."""
    totals = [tally.backend(record.key) for record in pool.backends.values()]
    return Seen(sum(sum(one.durations.buckets) for one in totals), sum(one.failures for one in totals))


def _change(route: RouteSettings, pool: str, evidence: str, *, is_cut: bool) -> Change:
    share = f"{dict(route.split)[pool] * 100:.3g}%"
    words = (share, CUT_OFF) if is_cut else (CUT_OFF, share)
    return Change("split", pool, "", *words, f"route {route.name}: {evidence}")
