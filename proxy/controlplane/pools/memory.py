"""What survives a restart, in `state_dir`: the administrator's intent and the last health of each Backend, by name, and
who was the active one.

Never an address, and nothing that traffic finds out anew by itself. A disk that fails costs a log line, not a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from proxy.controlplane.aside import aside, replace_file
from proxy.controlplane.pools.splits import Cut
from proxy.controlplane.pools.tally import Key
from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.health import HealthState
from proxy.logs import say

log = logging.getLogger(__name__)

FILE = "backends.json"
AGAIN = 1.0
"""Seconds after which a write that failed is tried again, for the first time; twice as long each time."""
AGAIN_MAX = 60.0


def recall(state_dir: str) -> dict[Key, BackendState]:
    """What the last run left; nothing where there is no `state_dir`, no file, or none that can be read."""
    return recalled(state_dir, 0.0)[0]


def recalled(state_dir: str, now: float) -> tuple[dict[Key, BackendState], dict[str, Cut]]:
    """The same, and which Pools were cut off from their splits: since now, for all that is known."""
    if not state_dir:
        return {}, {}
    path = Path(state_dir) / FILE
    try:
        document = json.loads(path.read_bytes())
        backends = {
            (pool, name): _parse(one) for pool, backends in document["pools"].items() for name, one in backends.items()
        }
        return backends, {name: _parse_cut(one, now) for name, one in document.get("cuts", {}).items()}
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        say(
            log,
            logging.ERROR,
            "what the last run left can't be read: every backend begins as configured",
            file=path,
            error=error,
        )
        return {}, {}


def _parse(one: dict[str, Any]) -> BackendState:
    weight = one["weight"]
    if weight is not None and not (isinstance(weight, int) and weight >= 0):
        raise ValueError(f"not a weight: {weight!r}")
    standby = one.get("standby") is True
    return BackendState(AdminState(one["admin"]), HealthState(one["health"]), weight, standby=standby)


def _parse_cut(one: dict[str, Any], now: float) -> Cut:
    words = one["pool"], one["evidence"], one["split"]
    if not all(isinstance(word, str) for word in words):
        raise ValueError(f"not a cut: {one!r}")
    return Cut(words[0], words[1], now, words[2])


class Memory:
    """Writes `state_dir` in the background: always the newest state, one write at a time, again if it fails."""

    def __init__(
        self,
        state_dir: str,
        states: Callable[[], Mapping[Key, BackendState]],
        cuts: Callable[[], Mapping[str, Cut]] = dict,
    ) -> None:
        self._path = Path(state_dir) / FILE if state_dir else None
        self._states = states
        self._cuts = cuts
        self._is_stale = False
        self._writing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self.problem = ""
        """Why the newest state is not on the disk; empty if it is."""

    def keep(self) -> None:
        """Something changed that is worth remembering."""
        if self._path is None:
            return
        self._is_stale = True
        if self._writing is None:
            self._hurry.clear()
            self._writing = asyncio.create_task(self._write(self._path))

    async def settle(self) -> None:
        """Wait until everything is written, or can't be."""
        self._hurry.set()
        if self._writing is not None:
            await asyncio.shield(self._writing)

    async def _write(self, path: Path) -> None:
        delay = AGAIN
        while self._is_stale:
            self._is_stale = False
            self._note(path, await self._try(path))
            if self.problem:
                self._is_stale = True
                if self._hurry.is_set():
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), delay)
                delay = min(2 * delay, AGAIN_MAX)
        self._writing = None

    async def _try(self, path: Path) -> str:
        """Write; what went wrong, or nothing."""
        document = _document(self._states(), self._cuts())
        try:
            await aside(partial(replace_file, path, document))
        except OSError as error:
            return f"state can't be written: a restart would forget it: {error}"
        return ""

    def _note(self, path: Path, problem: str) -> None:
        """Say when it begins and when it ends, and not each time that it lasts."""
        if problem and not self.problem:
            say(
                log,
                logging.ERROR,
                "state can't be written: a restart would forget it",
                file=path,
                error=problem.rpartition(": ")[2],
            )
        elif self.problem and not problem:
            say(log, logging.INFO, "state can be written again", file=path)
        self.problem = problem


def _document(states: Mapping[Key, BackendState], cuts: Mapping[str, Cut]) -> str:
    pools: dict[str, dict[str, object]] = {}
    for (pool, name), state in states.items():
        one: dict[str, object] = {"admin": state.admin, "weight": state.weight, "health": state.health}
        if state.standby:
            one["standby"] = True
        pools.setdefault(pool, {})[name] = one
    kept = {name: {"pool": cut.pool, "evidence": cut.evidence, "split": cut.split} for name, cut in cuts.items()}
    document = {"version": 1, "pools": pools} | ({"cuts": kept} if kept else {})
    return json.dumps(document, indent=1) + "\n"
