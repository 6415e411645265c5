from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.logs import FORMAT, configure, say

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


@pytest.fixture
def json_lines(lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv(FORMAT, "json")
    configure(lines)
    return lines


def test_a_line_may_be_a_json_object(json_lines: io.StringIO) -> None:
    say(log, logging.WARNING, "health changed", pool="app", seconds=0.25, count=3, path=Path("/x"))

    line = json.loads(json_lines.getvalue())
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", line.pop("time"))
    assert {
        "level": "warning",
        "message": "health changed",
        "process": os.getpid(),
        "pool": "app",
        "seconds": 0.25,
        "count": 3,
        "path": "/x",
    } == line


def test_a_field_never_takes_the_place_of_what_each_line_has(json_lines: io.StringIO) -> None:
    log.info("x\ny", extra={"fields": {"time": "never", "level": "none"}})

    line = json.loads(json_lines.getvalue())
    assert ("info", "none", "never", "x\ny") == (line["level"], line["level_"], line["time_"], line["message"])
    assert 1 == json_lines.getvalue().count("\n")


def test_a_traceback_is_a_field_in_json(json_lines: io.StringIO) -> None:
    try:
        [].remove("nothing")
    except ValueError:
        log.exception("a bug")

    assert "ValueError: list.remove" in json.loads(json_lines.getvalue())["traceback"]


def test_configuring_twice_does_not_say_everything_twice(lines: io.StringIO) -> None:
    configure(lines)

    log.info("once")

    assert 1 == lines.getvalue().count("once")
