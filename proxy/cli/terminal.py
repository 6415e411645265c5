"""What goes to a terminal: colours where they are wanted, and a screen that is drawn anew."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any

import click

CLEAR, HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"
BEGIN, END = "\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h"
"""No cursor, and lines that are too long are cut; then as it was."""
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
COLOURS = {"up": "green", "standby": "cyan", "degraded": "yellow", "panic": "magenta", "down": "red", "out": "red"}
"""Of words that say how something stands."""


def has_colours() -> bool:
    """Not where NO_COLOR says so (no-color.org), and only on a terminal that has them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(word: str, text: str = "") -> str:
    """A word in its colour; or some text in the colour of that word."""
    is_loud = word in {"down", "panic"} or None
    return click.style(text or word, fg=COLOURS[word], bold=is_loud) if has_colours() else text or word


def harmless(document: Any) -> Any:
    """The same without what could move a cursor or change a title: a backend's own words may be in it."""
    if isinstance(document, str):
        return CONTROL.sub("\N{REPLACEMENT CHARACTER}", document)
    if isinstance(document, list):
        return [harmless(one) for one in document]
    if isinstance(document, dict):
        return {name: harmless(one) for name, one in document.items()}
    return document


def redraw(lines: Iterable[str], height: int) -> None:
    """Put lines over what the screen shows; those that do not fit are left out."""
    shown = list(lines)
    if len(shown) > height - 1:
        shown = [*shown[: height - 2], f"… and {len(shown) - height + 2} more lines"]
    _write(HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in shown) + CLEAR_BELOW)


def begin_screen() -> None:
    """Before the first `redraw`."""
    _write(CLEAR + BEGIN)


def end_screen() -> None:
    """After the last one: the cursor is seen again."""
    _write(END)


def _write(text: str) -> None:
    click.echo(text, nl=False, color=True)
