"""How available each pool was, as `status` shows it: one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.cli.client import Refused

Json = dict[str, Any]
Ask = Callable[[str, str], Any]
"""Method and target."""


def availability_lines(ask: Ask) -> dict[str, str]:
    """By pool; those without a request in thirty days have none."""
    try:
        document = ask("GET", "/v1/availability")
    except Refused:
        # Of an older proxy, which counts none.
        return {}
    lines = {pool["name"]: line(pool["windows"]) for pool in document["pools"]}
    return {name: text for name, text in lines.items() if text}


def line(windows: Json) -> str:
    """`went well: 1h 99.98%, 24h 99.99%, 30d 99.99%; error budget of 30d: 63% left`."""
    parts = [
        f"{span} {percent(one['availability'])}" for span, one in windows.items() if one["availability"] is not None
    ]
    if not parts:
        return ""
    budget = windows["30d"]["budget"]
    left = f"; error budget of 30d: {budget['left_share']:.0%} left" if budget is not None else ""
    return f"went well: {', '.join(parts)}{left}"


def percent(share: float) -> str:
    """With as many digits as tell it from all; never 100% where something has failed."""
    if share in {0.0, 1.0}:
        return f"{share:.0%}"
    for digits in range(2, 7):
        text = f"{100 * share:.{digits}f}"
        if not text.startswith("100") and float(text) > 0:
            return f"{text}%"
    return "over 99.999999%" if share > 0.5 else "under 0.000001%"
