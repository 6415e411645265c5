from __future__ import annotations

import pytest

from proxy.core.telling.cost import KEPT_FOR, Cost, Course, Harm


def course(*samples: tuple[float, int]) -> Course:
    found = Course()
    for at, failed in samples:
        found.note(at, Harm(failed=failed))
    return found


@pytest.mark.parametrize(("at", "failed"), [(2.5, 20), (3.0, 30), (9.0, 30), (0.5, 10)])
def test_the_counts_of_before_the_trouble_are_the_last_that_are_surely_older(at: float, failed: int) -> None:
    """Or the oldest that are known."""
    assert Harm(failed=failed) == course((1.0, 10), (2.0, 20), (3.0, 30)).before(at)


def test_before_anything_was_counted_there_was_nothing() -> None:
    assert (Harm(), "<Course 0 samples>") == (Course().before(1.0), repr(Course()))


def test_old_counts_are_forgotten() -> None:
    found = course((0.0, 1), (KEPT_FOR + 1.0, 2))

    assert (Harm(failed=2), "<Course 1 samples>") == (found.before(0.0), repr(found))


def test_harm_is_what_came_in_between_and_never_less_than_nothing() -> None:
    assert Harm(2, 0, 3, 4, 5) == Harm(3, 1, 3, 4, 5).since(Harm(failed=1, retried=2))
    assert Harm(4, 2, 6, 8, 10) == Harm(3, 1, 3, 4, 5).plus(Harm(1, 1, 3, 4, 5))


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(1.0, 2.0), "no request was harmed"),
        (Cost(1.0, 2.0, failed=1, saved=3), "1 failed, 3 saved"),
        (Cost(0, 0, 1, 2, 3, 4, 5), "1 failed, 2 retried, 3 saved, 4 held, 5 with unknown outcome"),
    ],
)
def test_a_cost_is_said_in_words(cost: Cost, words: str) -> None:
    assert words == cost.words()
