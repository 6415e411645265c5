from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pools.word import STATES, BackendWord, read_word


@pytest.mark.parametrize(
    ("state", "weight", "expected"),
    [
        (None, None, BackendWord()),
        ("drain", None, BackendWord("drain")),
        ("maint", None, BackendWord("maint")),
        ("ready", "100%", BackendWord()),
        (None, "50%", BackendWord("ready", 0.5)),
        ("drain", "50%", BackendWord("drain", 0.5)),
        (" Drain ", " 7% ", BackendWord("drain", 0.07)),
        (None, "0%", BackendWord("drain")),
        ("maint", "0%", BackendWord("maint")),
    ],
)
def test_what_a_backend_says_of_itself(state: str | None, weight: str | None, expected: BackendWord) -> None:
    assert (expected, "") == read_word(state, weight)


@pytest.mark.parametrize(
    ("state", "weight", "wrong"),
    [
        ("down", None, "X-Backend-State 'down' is not understood"),
        ("", "x", "X-Backend-Weight 'x' is not a share up to 100%"),
        (None, "101%", "X-Backend-Weight '101%' is not a share up to 100%"),
        (None, "-5%", "X-Backend-Weight '-5%' is not a share up to 100%"),
        (None, "0.5", "X-Backend-Weight '0.5' is not a share up to 100%"),
        (None, "٥٠%", "X-Backend-Weight '٥٠%' is not a share up to 100%"),
        (
            "off",
            "all",
            "X-Backend-State 'off' is not understood; X-Backend-Weight 'all' is not a share up to 100%",
        ),
    ],
)
def test_what_is_not_understood_counts_as_not_said(state: str | None, weight: str | None, wrong: str) -> None:
    assert (BackendWord(), wrong) == read_word(state, weight)


def test_a_word_is_said_shortly() -> None:
    assert ["ready", "50% of its weight", "drain"] == [
        str(one) for one in (BackendWord(), BackendWord("ready", 0.5), BackendWord("drain", 0.5))
    ]


@given(st.none() | st.text(max_size=200), st.none() | st.text(max_size=200))
def test_whatever_it_says_is_a_state_and_a_share_and_no_more_is_repeated_than_can_be_read(
    state: str | None, weight: str | None
) -> None:
    word, wrong = read_word(state, weight)

    assert word.state in STATES
    assert 0.0 < word.part <= 1.0
    assert len(wrong) < 1200
