"""The value of `failback`: when the first in line gets its place back."""

from __future__ import annotations

from proxy.config.mistakes import nearest, quoted
from proxy.config.quantities import POSITIVE_DURATION, Quantity, WrongValueError, write_duration


def read_failback(value: object) -> float | None:
    """Seconds that it has to be well before; None: a person has to approve."""
    if value == "auto":
        return 0.0
    if value == "manual":
        return None
    if isinstance(value, dict) and set(value) == {"after"}:
        seconds: float = POSITIVE_DURATION.read(value["after"])
        return seconds
    hint = nearest(value, ["auto", "manual"]) if isinstance(value, str) else ""
    raise WrongValueError(f"expected auto, manual or {{after: 5m}}, not {quoted(value)}{hint}")


def write_failback(seconds: float | None) -> object:
    """As a file would say it."""
    if seconds is None:
        return "manual"
    return {"after": write_duration(seconds)} if seconds else "auto"


FAILBACK = Quantity(
    "`auto`, `manual` or `{after: 5m}`",
    read_failback,
    {
        "anyOf": [
            {"enum": ["auto", "manual"]},
            {
                "type": "object",
                "properties": {"after": POSITIVE_DURATION.schema},
                "required": ["after"],
                "additionalProperties": False,
            },
        ]
    },
    write_failback,
)
