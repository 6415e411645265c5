"""How `hedge.after` is written in a config file: a time, or a percentile."""

from __future__ import annotations

import re

from proxy.config.mistakes import quoted
from proxy.config.quantities import Quantity, WrongValueError, read_positive_duration, write_duration
from proxy.core.requests.hedging import HedgeAfter

_PERCENTILE = re.compile(r"p([0-9]{2}(?:\.[0-9]{1,3})?)")


def read_hedge_after(value: object) -> HedgeAfter | None:
    """`p95`, `50ms` or `none`."""
    if value == "none":
        return None
    match = _PERCENTILE.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        share = float(f"{match[1]}e-2")
        if share < 0.5:
            raise WrongValueError(
                f"a percentile must be from p50 to p99.999, not {quoted(value)}: most would be doubled"
            )
        return HedgeAfter(share=share)
    try:
        return HedgeAfter(seconds=read_positive_duration(value))
    except WrongValueError as error:
        raise WrongValueError(
            re.sub("^expected ", "expected 'none', a percentile such as p95 or ", str(error))
        ) from None


def write_hedge_after(value: HedgeAfter | None) -> object:
    """Write it as a file would."""
    if value is None:
        return "none"
    return f"p{value.share * 100:.5g}" if value.share else write_duration(value.seconds)


HEDGE_AFTER = Quantity(
    "percentile, duration or `none`",
    read_hedge_after,
    {
        "anyOf": [
            {"const": "none"},
            {"type": "string", "pattern": r"^p[5-9][0-9](\.[0-9]{1,3})?$"},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"},
        ]
    },
    write_hedge_after,
)
