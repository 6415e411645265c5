"""The OutlierDetector: who does clearly worse than its peers loses weight step by step, and then is ejected for a time.

The supervisor has it look once a second at what all workers have counted. What is clearly worse is told by `peers`. An
ejection opens the Breaker of that Backend in all workers: from there trials lead back, as for any opening. Then it
begins with the least part of its weight, until it has shown that it does as well as the others. Each step is decided
on requests that came after the one before: bad luck once is not bad luck three times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from math import inf
from statistics import median_low
from typing import NamedTuple

from proxy.core.pools.outlier import OutlierPolicy
from proxy.core.pools.peers import LEAST_DIFFERENCE, Seen, Totals, worse_than_peers

STEPS = (1.0, 0.5, 0.25)
"""Parts of its weight that a Backend is left with, look by look, while it does worse; then it is ejected."""
PATIENCE = 20
"""Looks without enough requests to judge by after which it gets one step back."""
FORGIVEN_AFTER = 60
"""Looks at whole weight after which an earlier ejection is forgotten."""
USUAL = 60
"""Looks over which the usual latency of a Pool is taken."""
NEW_NORMAL = 600
"""Looks after which what was slower than usual has become usual."""
PLENTY = 10
"""Times `min_requests`: with so many in the last moments, older ones need not be looked at."""


class Sentence(NamedTuple):
    """What a look has decided of one Backend."""

    name: str
    part: float
    """Of its weight that it keeps."""
    eject_for: float
    """Seconds; 0: it is not ejected."""
    evidence: str


class _Track:
    """What is remembered of one Backend."""

    __slots__ = ("anew_at", "ejections", "good", "history", "quiet", "step")

    def __init__(self) -> None:
        self.history: deque[tuple[float, Totals]] = deque()
        self.anew_at = -inf
        self.step = 0
        self.ejections = 0
        self.quiet = 0
        self.good = 0

    def begin_anew(self) -> None:
        """What it did until now has had its consequence."""
        while len(self.history) > 1:
            self.history.popleft()
        self.anew_at = self.history[-1][0]

    def look_back(self, policy: OutlierPolicy) -> Totals | None:
        """What it did just now: as little time as says enough; None where all of the window does not."""
        now, newest = self.history[-1]
        recent = newest.since(newest)
        for at, before in reversed(self.history):
            if now - at > policy.window:
                break
            recent = newest.since(before)
            if recent.ended >= PLENTY * policy.min_requests:
                break
        recent = recent.with_unanswered(now - self.anew_at)
        return recent if recent.ended >= policy.min_requests else None


class OutlierDetector:
    """Compares the Backends of one Pool, look by look; there is about one a second."""

    def __init__(self, policy: OutlierPolicy, alike: Mapping[str, object]) -> None:
        self.policy = policy
        self._alike = dict(alike)
        self._tracks = {name: _Track() for name in alike}
        self._usual: float | None = None
        self._slow_for = 0
        self.degraded = ""
        """What is wrong with the Pool as a whole."""

    def __repr__(self) -> str:
        return f"<OutlierDetector { ({name: self.part(name) for name in self._tracks}) } {self.degraded}>"

    def obey(self, policy: OutlierPolicy, alike: Mapping[str, object], new: Collection[str]) -> None:
        """Follow other settings; what is known of a Backend stays, but for `new` ones under an old name."""
        self.policy, self._alike = policy, dict(alike)
        self._tracks = {
            name: self._tracks[name] if name in self._tracks and name not in new else _Track() for name in alike
        }

    def part(self, name: str) -> float:
        """The part of its weight that it has."""
        return STEPS[self._tracks[name].step]

    def look(self, totals: Mapping[str, Totals], out: Collection[str], room: int, now: float) -> list[Sentence]:
        """Compare those that are not `out`, whose counts begin anew when they are back; eject no more than `room`."""
        seen = self._observe(totals, out, now)
        worse = dict(worse_than_peers(seen, self._alike, self.policy.margin, self.policy.latency_factor))
        sentences: list[Sentence] = []
        kept = []
        for name, track in self._tracks.items():
            if name in out:
                continue
            if name not in worse:
                sentences += self._step_up(name, track, is_judged=name in seen)
                continue
            steps = self._step_down(name, track, worse[name], may_eject=room > 0)
            room -= any(one.eject_for for one in steps)
            sentences += steps
            kept += [] if steps else [name]
        self._judge_pool(seen, sorted(kept))
        return sorted(sentences)

    def _judge_pool(self, seen: Mapping[str, Seen], kept: Sequence[str]) -> None:
        """What is wrong with most of it is no Backend's fault. `kept`: who is worse, and may not be ejected."""
        self.degraded = ""
        if not seen:
            return
        errors = median_low(one.errors for one in seen.values())
        slow = self._slower_than_usual(median_low(one.half for one in seen.values()))
        if errors >= self.policy.margin:
            self.degraded = f"{errors:.0%} of the requests fail on most backends"
        elif slow:
            self.degraded = slow
        elif kept:
            self.degraded = f"no more may be ejected, though worse than its peers: {', '.join(kept)}"

    def _slower_than_usual(self, half: float) -> str:
        usual = half if self._usual is None else self._usual
        if half <= max(self.policy.latency_factor * usual, usual + LEAST_DIFFERENCE):
            self._usual = usual + (half - usual) / USUAL
            self._slow_for = 0
            return ""
        self._slow_for += 1
        if self._slow_for > NEW_NORMAL:
            self._usual = half
        return f"half of the requests take {half * 1000:.3g} ms on most backends, usually {usual * 1000:.3g} ms"

    def _observe(self, totals: Mapping[str, Totals], out: Collection[str], now: float) -> dict[str, Seen]:
        seen = {}
        for name, track in self._tracks.items():
            if name in out or name not in totals:
                track.history.clear()
                continue
            track.history.append((now, totals[name]))
            while track.history[0][0] < now - self.policy.window - 1.0:
                track.history.popleft()
            recent = track.look_back(self.policy)
            if recent is not None:
                seen[name] = Seen.of(recent)
        return seen

    def _step_down(self, name: str, track: _Track, evidence: str, *, may_eject: bool) -> list[Sentence]:
        track.quiet = track.good = 0
        if track.step < len(STEPS) - 1:
            track.step += 1
            track.begin_anew()
            return [Sentence(name, STEPS[track.step], 0.0, evidence)]
        if not may_eject:
            return []
        seconds = min(self.policy.eject_for * 2.0**track.ejections, self.policy.eject_for_max)
        track.ejections = min(track.ejections + 1, 30)
        return [Sentence(name, STEPS[track.step], seconds, evidence)]

    def _step_up(self, name: str, track: _Track, *, is_judged: bool) -> list[Sentence]:
        """Who does well, or gets too little to be judged by, has its weight back step by step."""
        if not track.step:
            track.good = min(track.good + 1, FORGIVEN_AFTER)
            if track.good == FORGIVEN_AFTER:
                track.ejections = 0
            return []
        track.quiet = 0 if is_judged else track.quiet + 1
        if not is_judged and track.quiet < PATIENCE:
            return []
        track.quiet = 0
        track.step -= 1
        track.begin_anew()
        evidence = "it does as well as its peers" if is_judged else "too little traffic to judge it by"
        return [Sentence(name, STEPS[track.step], 0.0, evidence)]
