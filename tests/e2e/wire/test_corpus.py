"""What a backend really receives and what a client really gets, for each case of the corpus, however bytes are cut."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.wire.case import Case, End, Sent, Unsent, without_made_id
from tests.e2e.wire.corpus import answers, bodiless, chunks, forwarding, lengths, limits, streams, syntax, targets
from tests.e2e.wire.ends import Cut, randomly, singly, whole
from tests.e2e.wire.rig import config, listen, serving
from tests.e2e.wire.stage import Performance, Scene, Stage
from tests.fuzz.strict import Message

MODULES = (lengths, chunks, syntax, targets, limits, answers, bodiless, forwarding, streams)
CASES: list[Case] = [case for module in MODULES for case in module.CASES]
BETWEEN = "between good requests"
MODES = ("whole", "byte by byte", "in random cuts", BETWEEN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wire")


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    with listen() as backend:
        address = f"127.0.0.1:{backend.getsockname()[1]}"
        document = config(
            pools={"app": [address], "small": {"backends": [address], "limits": {"body": f"{limits.SMALL}B"}}},
            routes=[
                {"match": {"path": "/small/*"}, "pool": "small"},
                {"match": {"path": "/prefix/*"}, "pool": "app", "strip_prefix": "/prefix"},
                {"pool": "app"},
            ],
        )
        with serving(folder, document) as proxy:
            stage = Stage(backend, proxy)
            yield stage
            stage.close()


@pytest.fixture(scope="module")
def spoilt_stage(folder: Path) -> Iterator[Stage]:
    """For backends that say more than they are asked; elsewhere this would hide whether a connection is kept."""
    with (
        listen() as backend,
        serving(folder, config(pools={"app": [f"127.0.0.1:{backend.getsockname()[1]}"]})) as proxy,
    ):
        stage = Stage(backend, proxy)
        yield stage
        stage.close()


@pytest.fixture(scope="module")
def trusted_stage(folder: Path) -> Iterator[Stage]:
    """The client is one of `trusted_proxies`."""
    with listen() as backend:
        document = config(pools={"app": [f"127.0.0.1:{backend.getsockname()[1]}"]}, trusted_proxies=["127.0.0.0/8"])
        with serving(folder, document) as proxy:
            stage = Stage(backend, proxy)
            yield stage
            stage.close()


def test_each_case_has_a_name_of_its_own_and_a_section() -> None:
    names = Counter(case.name for case in (*CASES, *answers.OUT_OF_TURN, *forwarding.TRUSTED))

    assert [] == [name for name, count in names.items() if count > 1]
    assert len(names) >= 200
    assert [] == [case for case in CASES if not re.fullmatch(r"RFC \d{4} [\d.]+", case.section)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(stage: Stage, case: Case, mode: str) -> None:
    check(case, play(stage, case, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", answers.OUT_OF_TURN, ids=lambda case: case.name)
def test_case_of_a_backend_that_speaks_out_of_turn(spoilt_stage: Stage, case: Case, mode: str) -> None:
    check(case, play(spoilt_stage, case, mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", forwarding.TRUSTED, ids=lambda case: case.name)
def test_case_behind_a_trusted_proxy(trusted_stage: Stage, case: Case, mode: str) -> None:
    check(case, play(trusted_stage, case, mode))


def play(stage: Stage, case: Case, mode: str) -> Performance:
    cuts: dict[str, Cut] = {"byte by byte": singly, "in random cuts": randomly(case.name)}
    return stage.play(case, cuts.get(mode, whole), between=mode == BETWEEN)


def check(case: Case, seen: Performance) -> None:
    """Compare all that was seen."""
    assert "" == seen.error, (seen.heard, seen.scene and seen.scene.heard)
    check_received(case, seen)
    check_got(case, seen)
    assert "" == seen.canary
    assert b"" == seen.strays


def check_received(case: Case, seen: Performance) -> None:
    """Compare what the backend heard."""
    scene = seen.scene
    if isinstance(case.received, Sent):
        assert scene is not None, f"the backend heard nothing; the client: {seen.heard!r}"
        check_request(case.received, scene)
    else:
        assert case.received is Unsent.AT_MOST_A_PART or scene is None
        assert scene is None or scene.request is None or not scene.request.is_whole
        assert scene is None or scene.has_ended, "a connection with part of a request on it is still open"
    if case.is_upstream_kept is not None:
        assert case.is_upstream_kept is seen.is_upstream_kept


def check_request(expected: Sent, scene: Scene) -> None:
    request = scene.request
    assert request is not None, f"{scene.error}: {scene.heard!r}"
    assert expected.head == without_made_id(request.head)
    if expected.is_whole:
        assert (expected.body, expected.trailer, True) == (request.body, request.trailer, request.is_whole)
    else:
        assert expected.body.startswith(request.body)
        assert not request.is_whole


def check_got(case: Case, seen: Performance) -> None:
    """Compare what the client heard."""
    got = case.got
    assert got.status == (seen.answer.status if seen.answer is not None else 0), seen.heard
    assert {b"good"}.issuperset(seen.others)
    assert b"" == seen.unread
    if got.interims is not None:
        assert list(got.interims) == [without_made_id(one.head) for one in seen.interims]
    assert (got.end is End.KEPT) is (seen.end is None and not seen.has_left)
    if seen.answer is not None:
        check_answer(case, seen.answer)


def check_answer(case: Case, answer: Message) -> None:
    got = case.got
    assert (got.end is End.BROKEN) is not answer.is_whole
    assert got.trailer == answer.trailer
    assert [] == [line for line in got.names if b"\r\n%b\r\n" % line not in answer.head]
    if got.head is not None:
        assert got.head == without_made_id(answer.head)
    if got.body is not None:
        assert got.body == answer.body
    if got.end is End.CLOSED and len(case.client) == 1:
        assert [b"close"] == answer.values(b"connection")
