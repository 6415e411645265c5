"""Promises of the access log's file: real files, a real thread."""

import logging
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.dataplane.logfile import LogFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def file(path: Path) -> Iterator[LogFile]:
    file = LogFile(str(path), 1000)
    yield file
    file.close()


def test_lines_are_written_in_their_order(file: LogFile, path: Path) -> None:
    for number in range(50):
        file.add(b"%d\n" % number)
        if number % 7 == 0:
            file.flush()
    file.close()

    assert [str(number) for number in range(50)] == path.read_text().split()


def test_two_writers_of_one_file_lose_nothing(path: Path) -> None:
    files = [LogFile(str(path), 100_000) for _ in range(2)]
    for number in range(1000):
        files[number % 2].add(b"%d\n" % number)
        files[number % 2].flush()
    for file in files:
        file.close()

    assert set(map(str, range(1000))) == set(path.read_text().split())


def test_lines_of_two_writers_of_one_pipe_stay_whole(tmp_path: Path) -> None:
    """As standard output often is one; the kernel keeps only small writes together while a pipe is full."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    files = [LogFile(str(path), 2_000_000) for _ in range(2)]
    lines = [b"%d" % number * 200 + b"\n" for number in range(2)]
    for file, line in zip(files, lines, strict=True):
        for _ in range(5000):
            file.add(line)
        file.flush()
    read = b""
    with path.open("rb", buffering=0) as reader:
        for file in files:
            file.finish()
        while piece := reader.read(4000):
            read += piece
    for file in files:
        file.close()

    assert [5000, 5000] == [read.splitlines(keepends=True).count(line) for line in lines]


def test_a_line_that_is_longer_than_what_a_pipe_keeps_together_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = LogFile(str(path), 100_000)
    lines = [b"one\n", b"x" * 10_000 + b"\n", b"two\n"]
    for line in lines:
        file.add(line)
    file.flush()
    with path.open("rb") as reader:
        file.close()
        assert lines == reader.readlines()


def test_a_writer_that_is_stuck_costs_lines_and_never_waits(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    file = LogFile(str(path), 25)
    for _ in range(10):
        file.add(b"0123456789")
        file.flush()

    assert 8 == file.dropped
    with path.open() as reader:
        file.close()
        assert "01234567890123456789" == reader.read()


def written(file: LogFile) -> None:
    """Wait until the thread has nothing left to write."""
    until = time.monotonic() + 20
    while file._added != file._written:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_a_file_that_was_renamed_is_begun_anew(file: LogFile, path: Path) -> None:
    file.add(b"old\n")
    file.reopen()
    file.close()
    assert "old\n" == path.read_text()

    moved = path.rename(path.with_suffix(".1"))
    again = LogFile(str(path), 1000)
    again.add(b"new\n")
    again.close()
    assert ("old\n", "new\n") == (moved.read_text(), path.read_text())


def test_reopening_under_a_running_writer_moves_on_to_the_new_file(file: LogFile, path: Path) -> None:
    file.add(b"old\n")
    file.flush()
    written(file)
    moved = path.rename(path.with_suffix(".1"))
    file.reopen()
    file.add(b"new\n")
    file.close()

    assert ("old\n", "new\n") == (moved.read_text(), path.read_text())


def test_what_came_before_the_file_was_renamed_is_in_the_old_one(path: Path) -> None:
    """Also what still waited for the disk then; and no order to begin anew is ever lost."""
    opened, disk = threading.Event(), threading.Event()

    class Slow(LogFile):
        def _open(self) -> int:
            descriptor = super()._open()
            opened.set()
            assert disk.wait(20)
            return descriptor

    file = Slow(str(path), 1000)
    file.add(b"one\n")
    file.flush()
    assert opened.wait(20)
    file.add(b"two\n")
    file.flush()
    moved = path.rename(path.with_suffix(".1"))
    file.reopen()
    file.add(b"new\n")
    disk.set()
    file.close()

    assert ("one\ntwo\n", "new\n") == (moved.read_text(), path.read_text())


@pytest.mark.parametrize(("room", "kept"), [(25, "0123456789\n0123456789\n012"), (22, "0123456789\n0123456789\n")])
def test_a_line_for_half_of_which_there_is_room_does_not_run_into_the_next(
    file: LogFile, path: Path, room: int, kept: str
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        for _ in range(2):
            file.add(b"0123456789\n" * 4)
            file.flush()
        written(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (kept, 6) == (path.read_text(), file.dropped)
    file.add(b"after\n")
    file.close()

    assert f"{kept}{'' if kept.endswith(chr(10)) else chr(10)}after\n" == path.read_text()


def test_a_file_that_can_not_be_written_is_said_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "missing"
    file = LogFile(str(folder / "access.log"), 1000)
    with caplog.at_level(logging.INFO, "proxy.dataplane.logfile"):
        for _ in range(3):
            file.add(b"lost\n")
            file.flush()
        written(file)
        folder.mkdir()
        file.add(b"kept\n")
        file.close()

    assert 3 == file.dropped
    assert ["WARNING", "INFO"] == [record.levelname for record in caplog.records]
    assert "kept\n" == (folder / "access.log").read_text()


def test_standard_output_is_a_file_like_others(capfd: pytest.CaptureFixture[str]) -> None:
    file = LogFile("stdout", 1000)
    file.add(b"a line\n")
    file.close()

    assert "a line\n" == capfd.readouterr().out
    os.fstat(1)


def test_no_thread_is_left_behind(path: Path) -> None:
    before = threading.active_count()
    LogFile(str(path), 1000).close()

    assert before == threading.active_count()
