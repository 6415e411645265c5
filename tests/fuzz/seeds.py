"""The corpus of `tests/e2e/wire` as bytes to begin with."""

from __future__ import annotations

from tests.e2e.wire.case import Case, End, Sent, Unsent
from tests.e2e.wire.corpus import answers, bodiless, chunks, forwarding, lengths, limits, streams, syntax, targets

CASES: list[Case] = [
    *answers.OUT_OF_TURN,
    *(
        case
        for module in (lengths, chunks, syntax, targets, limits, answers, bodiless, forwarding, streams)
        for case in module.CASES
    ),
]


def said(steps: tuple[object, ...]) -> bytes:
    """All that one end sends."""
    return b"".join(step for step in steps if isinstance(step, bytes))


GOOD_REQUESTS = sorted({said(case.client) for case in CASES if isinstance(case.received, Sent)})
BAD_REQUESTS = sorted({said(case.client) for case in CASES if isinstance(case.received, Unsent)})
GOOD_ANSWERS = sorted(
    {said(case.backend) for case in CASES if case.got.status == 200 and case.got.end is not End.BROKEN} - {b""}
)
BAD_ANSWERS = sorted({said(case.backend) for case in CASES} - {b"", *GOOD_ANSWERS})
