"""Whether a Pool takes one more request now: the limits of its Backends, its own limit, and who waits before it.

A Pool has a Gate where something limits it: `max_in_flight` of a Backend, or `adaptive_concurrency`. Where Routes have
priorities, the low ones may use only a part of the room, so that the others find some. `dispatch` asks before it picks;
the Pool tells what enters and leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from proxy.core.limits.concurrency import Concurrency
from proxy.core.limits.waiting import End, Line, Priority, Waiter
from proxy.core.pools.model import ADMIN_VETOES, Backend, Unavailable
from proxy.core.settings import PoolSettings

PARTS = {Priority.LOW: 0.7, Priority.NORMAL: 0.9, Priority.HIGH: 0.95, Priority.CRITICAL: 1.0}
"""The part of all places that requests of a priority may fill, where Routes to the Pool have priorities."""
ROOMY = frozenset({None, Unavailable.FULL})
"""Vetoes that say nothing against a Backend."""
NEVER = frozenset({*ADMIN_VETOES.values(), Unavailable.STANDBY})
"""Vetoes that hold in panic, too."""
FEW = 8
"""So many Backends are looked at anew for each request; of more, only now and then."""
LOOK_EVERY = 20e-6
"""Seconds between two looks, for each Backend, where there are many."""


class Gate:
    """One Pool's gate in one worker."""

    __slots__ = (
        "_backends",
        "_look_at",
        "called",
        "capacity",
        "concurrency",
        "elsewhere",
        "has_parts",
        "in_flight",
        "is_tended",
        "line",
    )

    def __init__(self, settings: PoolSettings, waits: dict[str, int], now: float) -> None:
        self.line = Line(settings.waiting, waits)
        self.concurrency: Concurrency | None = None
        self._backends: tuple[Backend, ...] = ()
        self._look_at = -inf
        self.capacity = inf
        """What the Backends that serve may have in flight together; 0: nobody serves."""
        self.in_flight = self.elsewhere = self.called = 0
        self.is_tended = False
        """Whether somebody looks after those who wait."""
        self.obey(settings, now)

    def __repr__(self) -> str:
        return f"<Gate {self.in_flight}+{self.elsewhere}+{self.called} of {self.capacity:g} {self.line!r}>"

    def obey(self, settings: PoolSettings, now: float) -> None:
        """Follow other settings; who waits, waits on."""
        self.has_parts = settings.has_priorities
        self.line.policy = settings.waiting
        policy = settings.concurrency
        if policy is None:
            self.concurrency = None
        elif self.concurrency is None:
            self.concurrency = Concurrency(policy, now)
        else:
            self.concurrency.obey(policy)

    # Room

    def measure(self, backends: Sequence[Backend], now: float, *, panic: bool) -> None:
        """Who of these Backends serves, the full ones included, and what they may have in flight together."""
        self._backends = tuple(one for one in backends if _serves(one, now, panic=panic))
        self.capacity = sum(inf if one.max_in_flight is None else one.max_in_flight for one in self._backends)
        self.in_flight = sum(one.in_flight for one in self._backends)
        self.elsewhere = sum(one.elsewhere for one in self._backends)

    def look(self, now: float) -> bool:
        """See what other workers have in flight; whether some Backend is full, or not full any more, by that."""
        if now < self._look_at:
            return False
        if len(self._backends) > FEW:
            self._look_at = now + LOOK_EVERY * len(self._backends)
        # Anew, for Backends come and go with requests in flight.
        self.in_flight = sum(one.in_flight for one in self._backends)
        changed = [one.look_around() for one in self._backends if one.max_in_flight is not None]
        self.elsewhere = sum(one.elsewhere for one in self._backends)
        return any(changed)

    def admits(self, priority: Priority) -> bool:
        """Whether a newcomer need not wait."""
        return not self.line.is_before(priority) and self.has_room(priority)

    def has_room(self, priority: Priority) -> bool:
        """Whether a place is free for a request of this priority; where nobody serves, others say what happens."""
        if not self.capacity:
            return True
        part = PARTS[priority] if self.has_parts else 1.0
        own = self.in_flight + self.called
        if own + self.elsewhere >= _part_of(self.capacity, part):
            return False
        return self.concurrency is None or own < _part_of(self.concurrency.limit, part)

    @property
    def concurrency_limit(self) -> int | None:
        """What adaptive concurrency allows now; None: there is none."""
        return None if self.concurrency is None else self.concurrency.limit

    # What enters and leaves

    def enter(self, backend: Backend) -> bool:
        """A request goes to this Backend; whether that makes it full."""
        self.in_flight += 1
        return _tell(backend) >= 0

    def leave(self, backend: Backend, duration: float, now: float, *, failed: bool) -> bool:
        """An Attempt has ended there, so there is room for one who waits; whether it was full."""
        if failed and self.concurrency is not None:
            self.concurrency.observe_failure(duration, self.in_flight, now)
        self.in_flight = max(0, self.in_flight - 1)
        was_full = _tell(backend) >= -1
        self.call(now)
        return was_full

    def observe(self, latency: float, now: float) -> None:
        """An answer has come."""
        if self.concurrency is not None:
            self.concurrency.observe(latency, self.in_flight, now)

    # Who waits

    def call(self, now: float) -> None:
        """Call as many as there is room for."""
        while (waiter := self.line.next(now)) is not None and self.has_room(waiter.priority):
            self.called += 1
            self.line.call(waiter)

    def tend(self, now: float) -> None:
        """Look after those who wait; to be done often while somebody does."""
        self.line.expire(now)
        self.call(now)

    def put_back(self, waiter: Waiter) -> None:
        """It was called, and another worker was quicker."""
        self.called -= 1
        self.line.put_back(waiter)

    def settle(self, waiter: Waiter, end: End, now: float) -> None:
        """Its wait is over like this; what it had a place for may go to the next."""
        if waiter.is_called:
            waiter.is_called = False
            self.called -= 1
        self.line.end(waiter, end)
        if end is End.LEFT:
            self.call(now)


def _part_of(limit: float, part: float) -> float:
    """This part of a limit, in whole places; at least one."""
    return limit if part == 1.0 or limit == inf else max(1, int(limit * part))


def _serves(backend: Backend, now: float, *, panic: bool) -> bool:
    veto = backend.unavailable(now)
    return veto in ROOMY or (panic and veto not in NEVER)


def _tell(backend: Backend) -> float:
    """Tell the other workers what is in flight there; by how many that is over its limit."""
    if backend.max_in_flight is None:
        return -inf
    backend.tell()
    return backend.in_flight + backend.elsewhere - backend.max_in_flight


def gate_for(
    gate: Gate | None, settings: PoolSettings, backends: Sequence[Backend], waits: dict[str, int], now: float
) -> Gate | None:
    """The Gate of a Pool under these settings: the one it has, a new one, or none where nothing is limited."""
    is_limited = settings.concurrency is not None or any(one.max_in_flight is not None for one in backends)
    if gate is None:
        return Gate(settings, waits, now) if is_limited else None
    gate.obey(settings, now)
    return gate if is_limited or gate.line or gate.called else None
