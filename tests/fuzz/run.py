"""Runs a fuzz for a time, from a seed, and makes what it finds small."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from tests.fuzz.answers import AnswerFuzz
from tests.fuzz.mutator import Mutator
from tests.fuzz.requests import RequestFuzz
from tests.fuzz.seeds import BAD_ANSWERS, BAD_REQUESTS, GOOD_ANSWERS, GOOD_REQUESTS


class Fuzz(Protocol):
    """One side of the proxy."""

    seen: Counter[str]

    def check(self, data: bytes, rng: random.Random) -> None:
        """Play one input; raise what is wrong."""


@dataclass(frozen=True, slots=True)
class Side:
    """A fuzz and where its inputs come from."""

    fuzz: Callable[[], Fuzz]
    mutator: Mutator


REQUESTS = Side(RequestFuzz, Mutator(GOOD_REQUESTS, BAD_REQUESTS))
ANSWERS = Side(AnswerFuzz, Mutator(GOOD_ANSWERS, BAD_ANSWERS))
SIDES = {"requests": REQUESTS, "answers": ANSWERS}


def _source(seed: int, number: int) -> random.Random:
    """Each input has a source of its own, so that it can be made again without those before it."""
    return random.Random(f"{seed}:{number}")


def fails(side: Side, fuzz: Fuzz, data: bytes, seed: int, number: int) -> bool:
    """Whether anything is wrong with this input."""
    rng = _source(seed, number)
    side.mutator.make(rng)
    try:
        fuzz.check(data, rng)
    except Exception:  # noqa: BLE001 - whatever goes wrong is what is looked for
        return True
    return False


def smallest(side: Side, data: bytes, seed: int, number: int, tries: int = 1000) -> bytes:
    """A failure from fewer bytes: what can be left out is."""
    fuzz = side.fuzz()
    size = len(data) // 2
    while size and tries:
        at = 0
        while at < len(data) and tries:
            tries -= 1
            less = data[:at] + data[at + size :]
            if fails(side, fuzz, less, seed, number):
                data, fuzz = less, side.fuzz()
            else:
                at += size
        size //= 2
    return data


def run(
    side: Side, seconds: float, seed: int, most: int | None = None, tell: Callable[[str], None] = print
) -> Counter[str]:
    """Play inputs until the time is over, or `most` of them; raises AssertionError with the bytes of the first that fails."""
    fuzz, number, until, told = side.fuzz(), 0, monotonic() + seconds, monotonic()
    while monotonic() < until and number != most:
        rng = _source(seed, number)
        data = side.mutator.make(rng)
        try:
            fuzz.check(data, rng)
        except Exception as error:
            small = smallest(side, data, seed, number)
            raise AssertionError(
                f"seed {seed}, input {number}: {error}\nbytes: {data!r}\nsmallest: {small!r}"
            ) from error
        number += 1
        if monotonic() - told >= 5:
            told = monotonic()
            tell(f"{number} inputs, {dict(fuzz.seen)}")
    return fuzz.seen + Counter({"inputs": number})
