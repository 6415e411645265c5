"""What the admin API answers of splits, and what it takes: as the other `documents`."""

from __future__ import annotations

from typing import Annotated, TypedDict

from proxy.controlplane.admin.schemas import Note


class ShareDocument(TypedDict):
    """One Pool of a split."""

    pool: str
    share: Annotated[float, Note("Of 1, as configured.")]


class CutOffDocument(TypedDict):
    """A Pool that gets nothing of a split."""

    pool: str
    evidence: str
    since: Annotated[str, Note(format="date-time")]


class SplitDocument(TypedDict):
    """A Route that is split between Pools."""

    route: str
    shares: list[ShareDocument]
    cut_off: CutOffDocument | None


class SplitsDocument(TypedDict):
    """All of them."""

    splits: list[SplitDocument]


class CutBody(TypedDict):
    """Who is to be cut off."""

    pool: str


class ResumeBody(TypedDict, total=False):
    """Nothing can be said: it is the one that is cut off."""


class CutDocument(TypedDict):
    """A Pool that gets nothing of the split of a Route."""

    route: str
    pool: str
    evidence: str
