"""Carriers of keyed writes, a ledger, and backends that execute: whatever happens in whatever order, once is once."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from proxy.core.settings import IdempotencyPolicy
from proxy.core.writes.idempotency import Entry, Kept, KeyState, Verdict, judge
from proxy.ledger.store import StoreFullError
from tests.ledger.ledgers import Ledger, claim, open_store

KEYS = [b"one", b"two", b"three"]
BACKENDS = ["primary", "backup"]
KEEP_FOR = 10.0
MOST = 2
POLICY = IdempotencyPolicy(keep_for=KEEP_FOR, max_entries=MOST)


@dataclass
class Carried:
    """A write that a process has claimed and will say what became of."""

    process: int
    key: bytes
    entry: Entry
    was_sent: bool


class LedgerModel(RuleBasedStateMachine):
    """The model knows what was executed, what was answered, and who lives."""

    carried = Bundle("carried")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-model-"))
        self.now = 1000.0
        self.seeds = 0
        self.processes: list[Ledger] = []
        self.executed: dict[bytes, set[str]] = {key: set() for key in KEYS}
        """By which Backends, since the key was last forgotten. A Backend that gets a key twice executes it once."""
        self.answers: dict[bytes, tuple[float, Kept]] = {}
        self.sent_at: dict[bytes, float] = {}
        self.running: dict[bytes, int] = {}
        self.restart(0)
        self.restart(1)

    def restart(self, process: int) -> None:
        self.seeds += 1
        self.processes[process : process + 1] = [open_store(self.folder, self.seeds)]

    # What clients and processes do

    @rule(target=carried, process=st.integers(0, 1), key=st.sampled_from(KEYS), backend=st.sampled_from(BACKENDS))
    def ask(self, process: int, key: bytes, backend: str) -> object:
        """A client sends a request with this key; if it may be sent, the Balancer would take this Backend."""
        store = self.processes[process]
        entry = store.look(key, self.now)
        verdict = Verdict.RUN if entry is None else judge(entry, b"print", POLICY)
        if verdict is Verdict.REPLAY:
            assert entry is not None
            assert self.answers[key][1] == store.kept(entry)
            return multiple()
        if verdict is Verdict.CONFLICT:
            assert key in self.running
            return multiple()
        if entry is not None:
            assert Verdict.ONLY_TO is verdict
            backend = entry.backend
        return self.claim(process, key, backend, entry)

    def claim(self, process: int, key: bytes, backend: str, before: Entry | None) -> object:
        try:
            wanted = claim(key, backend, keep_for=KEEP_FOR, most=MOST)
            ours = self.processes[process].take(wanted, before, self.now)
        except StoreFullError:
            assert before is None
            return multiple()
        assert ours is not None
        if before is None:
            self.executed[key] = set()
            self.answers.pop(key, None)
        assert key not in self.running
        self.running[key] = process
        self.sent_at[key] = self.now
        return Carried(process, key, ours, was_sent=before is not None)

    @rule(write=carried)
    def execute(self, write: Carried) -> None:
        """The request reaches the Backend that is noted."""
        if self.running.get(write.key) == write.process and self.is_current(write):
            write.was_sent = True
            self.executed[write.key].add(write.entry.backend)

    def is_current(self, write: Carried) -> bool:
        found = self.processes[write.process].look(write.key, self.now)
        return found is not None and found.turn == write.entry.turn and found.state is KeyState.RUNNING

    @rule(target=carried, write=consumes(carried), backend=st.sampled_from(BACKENDS))
    def try_another(self, write: Carried, backend: str) -> object:
        """Nothing was sent there, so the next Backend is noted and tried."""
        if write.was_sent or not self.is_current(write):
            return write
        wanted = claim(write.key, backend, keep_for=KEEP_FOR, most=MOST)
        ours = self.processes[write.process].take(wanted, write.entry, self.now)
        assert ours is not None
        self.sent_at[write.key] = self.now
        return Carried(write.process, write.key, ours, was_sent=False)

    @rule(write=consumes(carried), body=st.binary(max_size=3))
    def answer(self, write: Carried, body: bytes) -> None:
        """The Backend has executed it and answers. What comes after its carrier's death is dropped."""
        if not self.is_current(write):
            return
        self.executed[write.key].add(write.entry.backend)
        kept = Kept(b"head", body)
        self.processes[write.process].finish(write.entry, kept)
        self.answers[write.key] = (self.now, kept)
        del self.running[write.key]

    @rule(write=consumes(carried))
    def fail(self, write: Carried) -> None:
        """The Attempt failed, and no other follows."""
        if self.is_current(write):
            del self.running[write.key]
        self.processes[write.process].let_go(write.entry, KeyState.UNKNOWN if write.was_sent else None)

    @rule(process=st.integers(0, 1))
    def kill(self, process: int) -> None:
        """A process dies, between record and send or at any other moment, and another one takes its place."""
        self.processes[process].close()
        self.running = {key: other for key, other in self.running.items() if other != process}
        self.restart(process)

    @rule(seconds=st.sampled_from([1.0, KEEP_FOR]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # What must hold

    @invariant()
    def no_write_is_executed_by_two_backends(self) -> None:
        assert [] == [key for key, backends in getattr(self, "executed", {}).items() if len(backends) > 1]

    @invariant()
    def what_may_have_been_executed_is_known(self) -> None:
        """Until its time is over."""
        for key, backends in getattr(self, "executed", {}).items():
            if backends and self.now < self.sent_at[key] + KEEP_FOR:
                found = self.processes[0].look(key, self.now)
                assert found is not None
                assert found.backend in backends

    def teardown(self) -> None:
        for store in self.processes:
            store.close()
        shutil.rmtree(self.folder)


TestLedger = LedgerModel.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
