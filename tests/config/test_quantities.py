from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.quantities import (
    DURATION,
    FLAG,
    POSITIVE_DURATION,
    Quantity,
    WrongValueError,
    choice,
    duration_from,
    or_word,
    rate,
    read_duration,
    share,
    size,
    text,
    whole,
    write_duration,
    write_share,
    write_size,
)
from proxy.config.scalars import Substituted

SHARE = share(0, 1)
SIZE = size(0, 1024**3)
WHOLE = whole(1, 100)
RATE = rate(0, 50)
WORD = choice("the colour", ["red", "dark_green"])
LIMIT = or_word(WHOLE, "none")
COLOUR = text("colour", "a colour", "[a-z]+", "red")


@pytest.mark.parametrize(
    ("quantity", "written", "value"),
    [
        (DURATION, "250ms", 0.25),
        (DURATION, "700ms", 0.7),
        (DURATION, "1.5s", 1.5),
        (DURATION, "5m", 300.0),
        (DURATION, "2h", 7200.0),
        (DURATION, "1d", 86400.0),
        (DURATION, 0, 0.0),
        (DURATION, "0", 0.0),
        (SHARE, "20%", 0.2),
        (SHARE, "0.5%", 0.005),
        (SHARE, 0, 0.0),
        (SHARE, "100%", 1.0),
        (SIZE, "512B", 512),
        (SIZE, "64KiB", 65536),
        (SIZE, "1GiB", 1024**3),
        (SIZE, 0, 0),
        (WHOLE, 7, 7),
        (WHOLE, Substituted("7"), 7),
        (RATE, 7, 7.0),
        (RATE, Substituted("7.5"), 7.5),
        (FLAG, True, True),
        (FLAG, Substituted("false"), False),
        (WORD, "red", "red"),
        (LIMIT, "none", None),
        (LIMIT, 3, 3),
        (COLOUR, "blue", "blue"),
    ],
)
def test_a_value_is_read(quantity: Quantity, written: object, value: object) -> None:
    assert (type(value), value) == (type(quantity.read(written)), quantity.read(written))


@pytest.mark.parametrize(
    ("quantity", "written", "message"),
    [
        (DURATION, 5, "expected a duration such as 250ms, 1s or 5m, not 5; did you mean 5s?"),
        (DURATION, 0.5, "expected a duration such as 250ms, 1s or 5m, not 0.5; did you mean 0.5s?"),
        (DURATION, "5", "expected a duration such as 250ms, 1s or 5m, not '5'; did you mean 5s?"),
        (DURATION, Substituted("5"), "expected a duration such as 250ms, 1s or 5m, not '5'; did you mean 5s?"),
        (DURATION, "5 S", "expected a duration such as 250ms, 1s or 5m, not '5 S'; did you mean 5s?"),
        (DURATION, "2min", "expected a duration such as 250ms, 1s or 5m, not '2min'; did you mean 2m?"),
        (DURATION, "1m30s", "expected a duration such as 250ms, 1s or 5m, not '1m30s'"),
        (DURATION, "-1s", "expected a duration such as 250ms, 1s or 5m, not '-1s'"),
        (DURATION, True, "expected a duration such as 250ms, 1s or 5m, not true"),
        (DURATION, math.inf, "expected a duration such as 250ms, 1s or 5m, not inf"),
        (DURATION, [], "expected a duration such as 250ms, 1s or 5m, not a list"),
        (DURATION, "٣s", "expected a duration such as 250ms, 1s or 5m, not '٣s'"),
        (DURATION, "999d", "must not be longer than 365d, not '999d'"),
        (POSITIVE_DURATION, 0, "must be longer than 0"),
        (POSITIVE_DURATION, "0ms", "must be longer than 0"),
        (SHARE, 0.2, "expected a share such as 20%, not 0.2; did you mean 20%?"),
        (SHARE, 20, "expected a share such as 20%, not 20; did you mean 20%?"),
        (SHARE, "20", "expected a share such as 20%, not '20'; did you mean 20%?"),
        (SHARE, "20 %", "expected a share such as 20%, not '20 %'; did you mean 20%?"),
        (SHARE, "-5%", "expected a share such as 20%, not '-5%'"),
        (SHARE, "101%", "must be from 0% to 100%, not 101%"),
        (share(0, 1, above=True), "0%", "must be above 0% and at most 100%, not 0%"),
        (duration_from(1, 600), "11m", "must be at most 10m, not '11m'"),
        (SIZE, 64, "expected a size such as 64KiB or 10MiB, not 64; did you mean 64B?"),
        (SIZE, "64kb", "expected a size such as 64KiB or 10MiB, not '64kb'; did you mean 64KiB?"),
        (SIZE, "1 M", "expected a size such as 64KiB or 10MiB, not '1 M'; did you mean 1MiB?"),
        (SIZE, "much", "expected a size such as 64KiB or 10MiB, not 'much'"),
        (SIZE, "2GiB", "must be from 0 to 1GiB, not 2GiB"),
        (WHOLE, 0, "must be from 1 to 100, not 0"),
        (WHOLE, -3, "must be from 1 to 100, not -3"),
        (WHOLE, 1.0, "expected a whole number from 1 to 100, not 1.0"),
        (WHOLE, True, "expected a whole number from 1 to 100, not true"),
        (WHOLE, "3", "expected a whole number from 1 to 100, not '3'; write it without quotes"),
        (WHOLE, Substituted("x"), "expected a whole number from 1 to 100, not 'x'"),
        (RATE, math.nan, "must be from 0 to 50, not nan"),
        (RATE, 51, "must be from 0 to 50, not 51"),
        (RATE, "7", "expected a number from 0 to 50, not '7'; write it without quotes"),
        (FLAG, "yes", "expected true or false, not 'yes'"),
        (FLAG, 1, "expected true or false, not 1"),
        (WORD, "blue", "expected red or dark_green for the colour, not 'blue'"),
        (WORD, "Dark-Green", "expected red or dark_green for the colour, not 'Dark-Green'; did you mean 'dark_green'?"),
        (WORD, 3, "expected red or dark_green for the colour, not 3"),
        (LIMIT, "non", "expected 'none' or a whole number from 1 to 100, not 'non'; did you mean 'none'?"),
        (LIMIT, 0, "must be from 1 to 100, not 0"),
        (COLOUR, "7", "expected a colour such as red, not '7'"),
        (COLOUR, 7, 'expected a colour, not the value 7; as text it is written "7"'),
        (COLOUR, False, 'expected a colour, not the value false; as text it is written "false"'),
        (COLOUR, "x" * 99 + "!", f"expected a colour such as red, not '{'x' * 40}…'"),
        (COLOUR, "\x1b[2J", "expected a colour such as red, not '\ufffd[2J'"),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_expected(quantity: Quantity, written: object, message: str) -> None:
    with pytest.raises(WrongValueError) as caught:
        quantity.read(written)

    assert message == str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, 0),
        (0.25, "250ms"),
        (1.5, "1500ms"),
        (15.0, "15s"),
        (60.0, "60s"),
        (120.0, "2m"),
        (3600.0, "1h"),
        (86400.0, "1d"),
    ],
)
def test_a_duration_is_written_in_the_unit_that_a_person_would_take(seconds: float, written: object) -> None:
    assert written == write_duration(seconds)


@given(st.integers(0, 365 * 86400 * 1000))
def test_a_duration_that_was_written_reads_the_same(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert seconds == read_duration(write_duration(seconds))


@given(st.integers(0, 1024**3))
def test_a_size_that_was_written_reads_the_same(size_bytes: int) -> None:
    assert size_bytes == SIZE.read(write_size(size_bytes))


@given(st.integers(0, 10000))
def test_a_share_that_was_written_reads_the_same(of_ten_thousand: int) -> None:
    assert of_ten_thousand / 10000 == pytest.approx(SHARE.read(write_share(of_ten_thousand / 10000)))


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text().map(Substituted),
    st.just([]),
    st.just({}),
)
QUANTITIES = [DURATION, POSITIVE_DURATION, SHARE, SIZE, WHOLE, RATE, FLAG, WORD, LIMIT, COLOUR]


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.name)
@given(value=ANYTHING | st.from_regex(re.compile("[0-9.]{1,5} ?[a-zA-Z%]{0,4}"), fullmatch=True))
def test_any_value_is_read_or_refused(quantity: Quantity, value: Any) -> None:
    try:
        quantity.read(value)
    except WrongValueError as error:
        assert str(error)
