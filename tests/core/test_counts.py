"""Promises of `proxy.core.pools.counts`."""

import random

from proxy.core.pools.counts import DEPTH, PAGE, ROW_SIZE, SEED_SIZE, WIDTH, SharedCounts, used_rows


def workers(number: int) -> list[SharedCounts]:
    memory = memoryview(bytearray(PAGE + number * ROW_SIZE))
    memory[:SEED_SIZE] = bytes(range(SEED_SIZE))
    used_rows(memory)[0] = number
    return [SharedCounts(memory, row) for row in range(number)]


def test_each_worker_sees_what_the_others_count_and_not_what_it_counts_itself() -> None:
    one, two, three = workers(3)
    cells = one.cells(b"192.0.2.1")

    one.add(cells, 2)
    two.add(cells, 3)

    assert [3, 2, 5] == [worker.others(cells) for worker in (one, two, three)]
    two.add(cells, -3)
    assert [0, 2, 2] == [worker.others(cells) for worker in (one, two, three)]


def test_a_worker_alone_has_no_others() -> None:
    [alone] = workers(1)
    cells = alone.cells(b"192.0.2.1")

    alone.add(cells, 1)

    assert 0 == alone.others(cells)


def test_a_key_has_the_same_cells_for_all_workers_one_in_each_line() -> None:
    one, two = workers(2)
    cells = one.cells(b"192.0.2.1")

    assert cells == two.cells(b"192.0.2.1")
    assert list(range(DEPTH)) == [cell // WIDTH for cell in cells]
    assert max(cells) < ROW_SIZE // 4


def test_keys_that_share_a_cell_are_told_apart_by_the_others() -> None:
    """Never less than the truth, and seldom more: of 10,000 keys with one connection each, 1 in 200."""
    one, two = workers(2)
    rng = random.Random(7)
    keys = [rng.randbytes(8) for _ in range(10_000)]

    for key in keys:
        one.add(one.cells(key), 1)
    seen = [two.others(two.cells(key)) for key in keys]

    assert 1 == min(seen)
    assert sum(count > 1 for count in seen) < len(keys) / 100
