"""How single values are written in a config file: durations, shares, sizes, numbers, words.

Each Quantity says how a value is read, how it is written back (in defaults, in the reference), and its JSON Schema.
The functions take a scalar and give a value, or a WrongValueError that tells a user what is expected.
Addresses and other names are in `names`; which key takes which Quantity is said in `models`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from proxy.config.mistakes import nearest, one_of, quoted
from proxy.config.scalars import Substituted, resolve

Schema = dict[str, Any]

VARIABLE_SCHEMA: Schema = {"type": "string", "pattern": r"\$\{"}
"""A value that is only known once the environment is."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of scalar, for use in `Annotated[type, Quantity]`."""

    name: str
    """What the reference calls it."""
    read: Callable[[Any], Any]
    """A WrongValueError says what is expected instead."""
    schema: Schema = field(hash=False)
    write: Callable[[Any], Any] = lambda value: value

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validated, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        either = self.schema.get("anyOf", [self.schema])
        return {"title": self.name, "anyOf": [*either, VARIABLE_SCHEMA]}

    def _validated(self, value: object) -> object:
        try:
            return self.read(value)
        except WrongValueError as error:
            raise wrong(str(error)) from None


class WrongValueError(ValueError):
    """A value that can't stand where it does; the text tells a user what is expected."""


def wrong(message: str) -> PydanticCustomError:
    """What pydantic reports with the place at which it was raised."""
    return PydanticCustomError("config", "{message}", {"message": message})


def or_word(quantity: Quantity, word: str) -> Quantity:
    """The same, or a word that stands for None."""

    def read(value: object) -> object:
        if value == word:
            return None
        try:
            return quantity.read(value)
        except WrongValueError as error:
            hint = nearest(value, [word]) if isinstance(value, str) else ""
            message = re.sub("^expected ", f"expected '{word}' or ", str(error))
            raise WrongValueError(f"{message}{hint}") from None

    return Quantity(
        name=f"{quantity.name} or `{word}`",
        read=read,
        schema={"anyOf": [*quantity.schema.get("anyOf", [quantity.schema]), {"const": word}]},
        write=lambda value: word if value is None else quantity.write(value),
    )


# Numbers


def is_number(value: object) -> bool:
    """Whether it is a number; in Python `true` is one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: object) -> object:
    """What a value out of a variable is where a number is wanted."""
    return resolve(value) if isinstance(value, Substituted) else value


def whole(least: int, most: int) -> Quantity:
    """A whole number."""

    def read(value: object) -> int:
        found = number(value)
        if not isinstance(found, int) or isinstance(found, bool):
            raise WrongValueError(
                f"expected a whole number from {least} to {most}, not {quoted(value)}{_unquoted(value)}"
            )
        if not least <= found <= most:
            raise WrongValueError(f"must be from {least} to {most}, not {found}")
        return found

    return Quantity(f"whole number ({least} to {most})", read, {"type": "integer", "minimum": least, "maximum": most})


def _unquoted(value: object) -> str:
    is_quoted = isinstance(value, str) and not isinstance(value, Substituted) and is_number(resolve(value))
    return "; write it without quotes" if is_quoted else ""


def rate(least: float, most: float) -> Quantity:
    """A number, whole or not."""

    def read(value: object) -> float:
        found = number(value)
        if not isinstance(found, int | float) or isinstance(found, bool):
            raise WrongValueError(
                f"expected a number from {least:g} to {most:g}, not {quoted(value)}{_unquoted(value)}"
            )
        if not least <= found <= most:
            raise WrongValueError(f"must be from {least:g} to {most:g}, not {found:g}")
        return float(found)

    return Quantity("number", read, {"type": "number", "minimum": least, "maximum": most}, _short_number)


def _short_number(value: float) -> float:
    return int(value) if value == int(value) else value


def read_flag(value: object) -> bool:
    """`true` or `false`; `yes` and `on` are text in YAML 1.2."""
    found = number(value)
    if not isinstance(found, bool):
        raise WrongValueError(f"expected true or false, not {quoted(value)}")
    return found


FLAG = Quantity("true or false", read_flag, {"type": "boolean"})


# Durations

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION_ALMOST = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT_MEANT = {
    **dict.fromkeys(("ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
}
LONGEST = 365 * 86400.0
_DURATION_SCHEMA: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"}


def read_duration(value: object) -> float:
    """`250ms`, `1s`, `1.5m`, `2h`, `1d` or 0, in seconds."""
    if value == "0" or (is_number(value) and value == 0):
        return 0.0
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise WrongValueError(
            f"expected a duration such as 250ms, 1s or 5m, not {quoted(value)}{_duration_meant(value)}"
        )
    # By the exponent and not by arithmetic: 700ms is the float nearest to 0.7.
    seconds = float(f"{match[1]}e-3") if match[2] == "ms" else float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST:
        raise WrongValueError(f"must not be longer than 365d, not {quoted(value)}")
    return seconds


def _duration_meant(value: object) -> str:
    found = number(value) if isinstance(value, Substituted) else value
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,9}", found):
        found = int(found)
    if is_number(found) and math.isfinite(found) and found > 0:  # type: ignore[arg-type, operator]
        return f"; did you mean {found}s?"
    match = _DURATION_ALMOST.fullmatch(found.strip()) if isinstance(found, str) else None
    unit = _UNIT_MEANT.get(match[2].lower()) if match else None
    return f"; did you mean {match[1]}{unit}?" if match and unit else ""


def read_positive_duration(value: object) -> float:
    """A duration that is longer than nothing."""
    seconds = read_duration(value)
    if not seconds:
        raise WrongValueError("must be longer than 0")
    return seconds


def write_duration(seconds: float) -> str | int:
    """Write seconds as a file would."""
    if not seconds:
        return 0
    if seconds < 1000 and seconds != int(seconds):
        return f"{seconds * 1000:.12g}ms"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0 and (seconds, unit) != (60, "m"):
            return f"{int(seconds) // length}{unit}"
    return f"{seconds:.15g}s"


DURATION = Quantity("duration", read_duration, {"anyOf": [{"enum": [0, "0"]}, _DURATION_SCHEMA]}, write_duration)
POSITIVE_DURATION = Quantity("duration", read_positive_duration, _DURATION_SCHEMA, write_duration)


def duration_from(least: float, most: float = inf) -> Quantity:
    """A duration that is not shorter, and not longer, than so many seconds."""

    def read(value: object) -> float:
        seconds = read_duration(value)
        if seconds < least:
            raise WrongValueError(f"must be at least {write_duration(least)}, not {quoted(value)}")
        if seconds > most:
            raise WrongValueError(f"must be at most {write_duration(most)}, not {quoted(value)}")
        return seconds

    return Quantity("duration", read, _DURATION_SCHEMA, write_duration)


# Shares

_SHARE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)%")


def share(least: float, most: float, *, above: bool = False) -> Quantity:
    """`20%`; `above`: `least` itself is not allowed."""

    def read(value: object) -> float:
        if value == "0" or (is_number(value) and value == 0):
            found = 0.0
        else:
            match = _SHARE.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                raise WrongValueError(f"expected a share such as 20%, not {quoted(value)}{_share_meant(value)}")
            found = float(f"{match[1]}e-2")
        if not least <= found <= most or (above and found == least):
            bounds = f"above {least:.0%} and at most {most:.0%}" if above else f"from {least:.0%} to {most:.0%}"
            raise WrongValueError(f"must be {bounds}, not {write_share(found)}")
        return found

    pattern: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$"}
    return Quantity("share", read, {"anyOf": [{"enum": [0, "0"]}, pattern]} if not least else pattern, write_share)


def _share_meant(value: object) -> str:
    found = number(value) if isinstance(value, Substituted) else value
    if isinstance(found, str):
        found = resolve(found.replace("%", "").replace("percent", "").strip())
    if not is_number(found) or not 0 < found <= 1e6:  # type: ignore[operator]
        return ""
    is_fraction = isinstance(found, float) and found <= 1
    return f"; did you mean {found * 100 if is_fraction else found:g}%?"  # type: ignore[operator]


def write_share(value: float) -> str:
    """Write a fraction as a file would."""
    return f"{value * 100:.9g}%"


def read_objective(value: object) -> float:
    """A share that something may fall short of: `99.95%`."""
    found: float = share(0.5, 1).read(value)
    if found == 1:
        raise WrongValueError("must be below 100%: with nothing that may fail there is no budget to count")
    return found


OBJECTIVE = Quantity("share", read_objective, share(0.5, 1).schema, write_share)

# Sizes

_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
_SIZE_ALMOST = re.compile(r"([0-9]{1,15})\s*([KMG]?)(?:i?B?)", re.IGNORECASE)
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def size(least: int, most: int) -> Quantity:
    """`512B`, `64KiB`, `10MiB`, in bytes."""

    def read(value: object) -> int:
        if value == "0" or (is_number(value) and value == 0):
            found = 0
        else:
            match = _SIZE.fullmatch(value) if isinstance(value, str) else None
            if match is None:
                raise WrongValueError(
                    f"expected a size such as 64KiB or 10MiB, not {quoted(value)}{_size_meant(value)}"
                )
            found = int(match[1]) * _BYTES[match[2]]
        if not least <= found <= most:
            raise WrongValueError(f"must be from {write_size(least)} to {write_size(most)}, not {write_size(found)}")
        return found

    pattern: Schema = {"type": "string", "pattern": r"^[0-9]+(B|KiB|MiB|GiB)$"}
    return Quantity("size", read, pattern if least else {"anyOf": [{"enum": [0, "0"]}, pattern]}, write_size)


def _size_meant(value: object) -> str:
    text = str(value) if is_number(value) else value
    match = _SIZE_ALMOST.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return ""
    return f"; did you mean {match[1]}{match[2].upper()}{'i' if match[2] else ''}B?"


def write_size(value: int) -> str | int:
    """Write bytes as a file would."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if value % _BYTES[unit] == 0), "B")
    return f"{value // _BYTES[unit]}{unit}" if value else 0


# Words


def choice(what: str, names: Sequence[str]) -> Quantity:
    """One of several words."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in names:
            return str(value)
        hint = nearest(value, names) if isinstance(value, str) else ""
        raise WrongValueError(f"expected {one_of(names)} for {what}, not {quoted(value)}{hint}")

    return Quantity(one_of([f"`{name}`" for name in names]), read, {"enum": list(names)})


def text(name: str, expected: str, pattern: str, example: str) -> Quantity:
    """Text of a certain look."""
    compiled = re.compile(pattern)

    def read(value: object) -> str:
        if is_number(value) or isinstance(value, bool):
            raise WrongValueError(
                f'expected {expected}, not the value {quoted(value)}; as text it is written "{quoted(value)}"'
            )
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise WrongValueError(f"expected {expected} such as {example}, not {quoted(value)}")
        return str(value)

    return Quantity(name, read, {"type": "string", "pattern": f"^(?:{pattern})$"})
