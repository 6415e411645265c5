from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator

import pytest

from proxy.logs import configure, say

log = logging.getLogger("proxy.test")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    logger = logging.getLogger("proxy")
    before = (logger.handlers[:], logger.level, logger.propagate)
    stream = io.StringIO()
    configure(stream)
    yield stream
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_line_is_time_level_message_and_fields(lines: io.StringIO) -> None:
    say(log, logging.WARNING, "health changed", pool="app", backend="[::1]:80", seconds=0.25, count=3)

    line = lines.getvalue()
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line)
    assert "warning health changed pool=app backend=[::1]:80 seconds=0.250 count=3\n" == line[25:]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ("", '""'),
        ('a"b', r'"a\"b"'),
        ("a=b", '"a=b"'),
        ("x\nfake=line", r'"x\nfake=line"'),
        ("é\x1b[2J", r'"\u00e9\u001b[2J"'),
    ],
)
def test_what_could_break_the_line_is_quoted(lines: io.StringIO, value: str, shown: str) -> None:
    """A backend chooses its reason phrase; it must not choose our log lines."""
    say(log, logging.INFO, "seen", detail=value)

    assert f"info seen detail={shown}\n" == lines.getvalue()[25:]


def test_a_traceback_stays_on_the_line(lines: io.StringIO) -> None:
    try:
        [].remove("nothing")
    except ValueError:
        log.exception("a bug\nin here")

    assert 1 == lines.getvalue().count("\n")
    assert "ValueError: list.remove" in lines.getvalue()


def test_configuring_twice_does_not_say_everything_twice(lines: io.StringIO) -> None:
    configure(lines)

    log.info("once")

    assert 1 == lines.getvalue().count("once")
