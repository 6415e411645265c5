from __future__ import annotations

import math

import pytest

from proxy.config.scalars import Scalar, Substituted, SubstitutionError, resolve, substitute


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("0", 0),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text: str, value: Scalar) -> None:
    assert (type(value), value) == (type(resolve(text)), resolve(text))


@pytest.mark.parametrize("text", ["yes", "no", "on", "Off", "y", "12:30", "22:22", "2026-11-21", "1_000", "0b1", "="])
def test_what_only_yaml_1_1_took_for_something_else_is_text(text: str) -> None:
    assert text == resolve(text)


def test_010_is_ten_and_not_eight() -> None:
    assert resolve("010") == 10


def test_a_number_of_a_thousand_digits_is_text() -> None:
    """Python refuses to turn 4300 digits into a number, and would take long for fewer."""
    digits = "9" * 5000

    assert [digits, f"0x{digits}", f"{digits}.5"] == [resolve(digits), resolve(f"0x{digits}"), resolve(f"{digits}.5")]


ENVIRON = {"PORT": "8080", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${PORT}", "8080"),
        ("127.0.0.1:${PORT}/", "127.0.0.1:8080/"),
        ("${PORT}${PORT}", "80808080"),
        ("${EMPTY}", ""),
        ("${EMPTY:-9}", "9"),
        ("${MISSING:-9}", "9"),
        ("${MISSING:-}", ""),
        ("${PORT:-9}", "8080"),
        ("${PORT:?say which}", "8080"),
    ],
)
def test_a_variable_stands_for_its_value(text: str, value: str) -> None:
    result = substitute(text, ENVIRON)

    assert (Substituted, value) == (type(result), result)


@pytest.mark.parametrize(
    ("text", "value"), [("a$b", "a$b"), ("$PORT", "$PORT"), ("$${PORT}", "${PORT}"), ("^ok$", "^ok$")]
)
def test_a_dollar_may_stand_for_itself(text: str, value: str) -> None:
    result = substitute(text, ENVIRON)

    assert (str, value) == (type(result), result)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${MISSING}", "the environment variable MISSING is not set; write ${MISSING:-…} to give a default"),
        ("${MISSING:?say which}", "the environment variable MISSING is not set: say which"),
        ("${EMPTY:?say which}", "the environment variable EMPTY is not set: say which"),
        ("${PORT", "'${' does not begin a ${NAME}, ${NAME:-default} or ${NAME:?message}; for itself: $${"),
        ("${1}", "'${' does not begin a ${NAME}, ${NAME:-default} or ${NAME:?message}; for itself: $${"),
        ("${A:-${PORT}}", "a ${…} inside ${A…} is not supported"),
    ],
)
def test_a_variable_that_has_no_value_is_an_error(text: str, message: str) -> None:
    with pytest.raises(SubstitutionError) as caught:
        substitute(text, ENVIRON)

    assert message == str(caught.value)
