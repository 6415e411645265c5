"""What the demo prints while it runs."""

from __future__ import annotations

import re

import pytest

from proxy.samples.screen import Screen
from proxy.samples.watch import Standing

OUT = Standing(available=False, reasons=("failed_probes", "breaker_open"))


def test_a_log_file_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(is_terminal=False, is_coloured=False)

    screen.fault("red: kill -9")
    screen.standing("red", OUT, "connection refused")
    screen.standing("red", Standing(available=True, reasons=()), "")

    expected = "▼ red: kill -9|    red is out: failed_probes, breaker_open (connection refused)|    red serves"
    assert expected == "|".join(re.sub(r"^ *\d\.\d\ds  ", "", line) for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(("is_coloured", "text"), [(True, "\x1b[31mout\x1b[0m"), (False, "out")])
def test_colours_can_be_left_out(*, is_coloured: bool, text: str) -> None:
    assert text == Screen(is_terminal=True, is_coloured=is_coloured).paint("out", "red")
