from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.controlplane.journal.files import CURRENT, OLDER, Files
from proxy.core.telling.journal import Entry, Kept, Kind, keep


def entries(first: int, last: int) -> list[Kept]:
    return [keep(Entry(Kind.POOL, f"entry {number}", "app"), number, 100.0) for number in range(first, last + 1)]


def read(folder: Path) -> tuple[list[int], int]:
    found, torn = Files(folder, 100).read()
    return [one.id for one in found], torn


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    files = Files(tmp_path / "new" / "folder", 100)
    files.append(entries(1, 2))
    files.append(entries(3, 3))

    assert (entries(1, 3), 0) == Files(tmp_path / "new" / "folder", 100).read()


def test_there_are_never_more_than_two_files_of_so_many_entries(tmp_path: Path) -> None:
    files = Files(tmp_path, 10)
    for number in range(1, 106):
        files.append(entries(number, number))

    assert [OLDER, CURRENT] == sorted(path.name for path in tmp_path.iterdir())
    assert (list(range(91, 106)), 0) == read(tmp_path)
    assert f"<Files {tmp_path / CURRENT} 5 of 10>" == repr(files)


def test_the_count_goes_on_after_a_restart(tmp_path: Path) -> None:
    Files(tmp_path, 10).append(entries(1, 10))
    again = Files(tmp_path, 10)
    again.read()
    again.append(entries(11, 11))

    assert 1 == (tmp_path / CURRENT).read_bytes().count(b"\n")


@pytest.mark.parametrize("kept", range(1, 12))
def test_a_line_that_a_crash_has_torn_off_costs_that_entry_alone(tmp_path: Path, kept: int) -> None:
    Files(tmp_path, 100).append(entries(1, 3))
    path = tmp_path / CURRENT
    path.write_bytes(path.read_bytes()[: -kept * 10])

    files = Files(tmp_path, 100)
    before, torn = files.read()
    files.append(entries(7, 8))

    assert ([one.id for one in before] + [7, 8], torn) == read(tmp_path)
    assert torn == 1


def test_a_file_that_is_all_wrong_is_read_as_nothing(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_bytes(bytes(range(256)) * 20 + b"\n{}\n")
    Files(tmp_path, 100).append(entries(1, 1))

    found, torn = read(tmp_path)

    assert ([1], True) == (found, torn > 0)


def test_what_does_not_fit_on_the_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path, 100)
    files.append(entries(1, 1))
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:50])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        files.append(entries(2, 4))
    monkeypatch.undo()
    files.append(entries(2, 2))

    assert ([1, 2], 0) == read(tmp_path)
