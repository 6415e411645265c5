"""Promises of `proxy.controlplane.replacement.takeover` about what is counted; the rest is in tests/e2e."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

from proxy.controlplane.replacement.takeover import Meeting, Predecessor
from proxy.core.takeover import Word, to_line
from tests.controlplane.conftest import make_report


async def test_one_that_has_ended_before_it_could_be_led_is_not_counted_twice() -> None:
    """Its totals were added to those of the dead already; what it still said would be added once more."""
    child = subprocess.Popen([sys.executable, "-S", "-E", "-c", "input()"], stdin=subprocess.PIPE)  # noqa: ASYNC220 - nobody but a Predecessor may wait for it
    news: list[str] = []
    one = Predecessor(child.pid, lambda _, __: news.append("told"), lambda _: news.append("ended"))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    child.kill()
    await asyncio.wait_for(one.over.wait(), 10)

    word = to_line(Word(make_report(pid=child.pid)))
    await one.lead(Meeting(child.pid, ours, frozenset(), word))
    theirs.sendall(word)
    theirs.close()
    while one.is_led:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)

    assert ["ended"] == news
    one.close()
    child.communicate()
