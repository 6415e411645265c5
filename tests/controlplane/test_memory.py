from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from pathlib import Path

import pytest

from proxy.controlplane.pools.memory import FILE, Memory, recall
from proxy.core.messages import AdminState, BackendState
from proxy.core.pools.health import HealthState
from tests.controlplane.conftest import Make, Stage

KEY = ("app", "b0")
OUT = BackendState(AdminState.MAINT, HealthState.DOWN, 3)


async def remember(folder: Path, *states: BackendState) -> None:
    current: dict[tuple[str, str], BackendState] = {}
    memory = Memory(str(folder), lambda: dict(current))
    for state in states:
        current[KEY] = state
        memory.keep()
    await memory.settle()


async def test_what_was_kept_is_recalled(tmp_path: Path) -> None:
    await remember(tmp_path / "deep" / "state", OUT)

    assert {KEY: OUT} == recall(str(tmp_path / "deep" / "state"))


async def test_the_newest_state_wins(tmp_path: Path) -> None:
    await remember(tmp_path, BackendState(), OUT)

    assert {KEY: OUT} == recall(str(tmp_path))


async def test_without_a_folder_nothing_is_kept_nor_recalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory = Memory("", dict)

    memory.keep()
    await memory.settle()

    assert ([], {}) == (list(tmp_path.iterdir()), recall(""))


async def test_no_address_is_kept(tmp_path: Path) -> None:
    """An address that has changed since must not come back."""
    await remember(tmp_path, OUT)

    document = json.loads((tmp_path / FILE).read_text())
    assert {"admin": "maint", "weight": 3, "health": "down"} == document["pools"]["app"]["b0"]


async def test_a_disk_that_fails_costs_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")

    await remember(tmp_path / "file" / "state", OUT)

    assert [logging.ERROR] == [record.levelno for record in caplog.records]


async def test_a_write_that_failed_is_said_once_shown_and_tried_again_until_it_succeeds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("proxy.controlplane.pools.memory.AGAIN", 0.001)
    monkeypatch.setattr("proxy.controlplane.pools.memory.AGAIN_MAX", 0.001)
    in_the_way = tmp_path / "state"
    in_the_way.write_text("")
    tries = 0

    def states() -> dict[tuple[str, str], BackendState]:
        nonlocal tries
        tries += 1
        if tries == 4:
            assert "state can't be written: a restart would forget it" in memory.problem
            in_the_way.unlink()
        return {KEY: OUT}

    memory = Memory(str(in_the_way), states)
    memory.keep()
    assert memory._writing is not None
    await asyncio.wait_for(memory._writing, 10)

    assert {KEY: OUT} == recall(str(in_the_way))
    assert (4, "") == (tries, memory.problem)
    assert [logging.ERROR, logging.INFO] == [record.levelno for record in caplog.records]


async def test_a_disk_that_stays_bad_does_not_delay_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.controlplane.pools.memory.AGAIN", 3600.0)
    (tmp_path / "state").write_text("")
    memory = Memory(str(tmp_path / "state"), lambda: {KEY: OUT})
    memory.keep()

    await asyncio.wait_for(memory.settle(), 10)

    assert memory.problem


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
async def test_a_full_disk_leaves_what_was_written_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await remember(tmp_path, OUT)
    (tmp_path / FILE).with_suffix(".new").symlink_to("/dev/full")

    await remember(tmp_path, BackendState())

    assert {KEY: OUT} == recall(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 200_000,
        "{",
        "[]",
        "{}",
        '{"pools": 3}',
        '{"pools": {"app": {"b0": {}}}}',
        '{"pools": {"app": {"b0": {"admin": "asleep", "weight": null, "health": "up"}}}}',
        '{"pools": {"app": {"b0": {"admin": "ready", "weight": -1, "health": "up"}}}}',
    ],
)
def test_a_file_that_cannot_be_read_is_said_and_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / FILE).write_text(content)

    assert {} == recall(str(tmp_path))
    assert [logging.ERROR] == [record.levelno for record in caplog.records]


async def test_the_administrators_intent_survives_a_restart(stage: Stage, make: Make, tmp_path: Path) -> None:
    settings = make.settings(state_dir=str(tmp_path / "state"))
    supervisor, [worker] = await stage.serve(settings)
    await stage.ask(supervisor, "/v1/pools/app/backends/b0", "PATCH", json={"state": "maint", "weight": 4})
    supervisor.stop(quick=True)
    worker.end()
    await stage.ended(supervisor)

    await stage.supervise(settings)

    snapshot = await (await stage.worker()).start()
    assert BackendState(AdminState.MAINT, HealthState.UP, 4) == snapshot.backends[KEY]


def test_a_disk_that_hangs_does_not_keep_the_program_from_its_end(tmp_path: Path) -> None:
    """To open a FIFO that nobody reads hangs as a dead disk does."""
    hung = (tmp_path / FILE).with_suffix(".new")
    os.mkfifo(hung)

    async def run() -> bool:
        memory = Memory(str(tmp_path), dict)
        memory.keep()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(memory.settle(), 0.1)
        return True

    ended: list[bool] = []
    program = threading.Thread(target=lambda: ended.append(asyncio.run(run())), daemon=True)
    program.start()
    program.join(10)
    # Let go of the thread that hangs there.
    os.close(os.open(hung, os.O_RDONLY | os.O_NONBLOCK))

    assert [True] == ended
