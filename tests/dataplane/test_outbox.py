"""Promises of `proxy.dataplane.transport.outbox`."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket

import pytest

from proxy.dataplane.transport.outbox import Outbox


class Cut(asyncio.Transport):
    """Knows whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True


class Recipient:
    """Remembers what was delivered, in the order of all recipients of a test."""

    def __init__(self, name: str, written: list[tuple[str, bytes]]) -> None:
        self._name = name
        self._written = written
        self.transport = Cut()

    def deliver(self, data: bytes, noisy: dict[int, int]) -> None:
        self._written.append((self._name, data))


async def test_what_was_sent_leaves_in_order_at_the_end_of_the_turn() -> None:
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())
    one, two = Recipient("one", written), Recipient("two", written)

    outbox.send(one, b"a")
    outbox.send(two, b"b")
    outbox.send(one, b"c")

    assert [] == written
    await asyncio.sleep(0)
    assert [("one", b"a"), ("two", b"b"), ("one", b"c")] == written


async def test_a_flush_sends_at_once_and_only_once() -> None:
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())

    outbox.send(Recipient("one", written), b"a")
    outbox.flush()
    await asyncio.sleep(0)

    assert [("one", b"a")] == written


async def test_what_is_sent_during_a_flush_is_not_lost() -> None:
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())
    second = Recipient("second", written)

    class Chatty(Recipient):
        def deliver(self, data: bytes, noisy: dict[int, int]) -> None:
            outbox.send(second, b"more")
            super().deliver(data, noisy)

    outbox.send(Chatty("first", written), b"a")
    outbox.flush()
    await asyncio.sleep(0)

    assert [("first", b"a"), ("second", b"more")] == written


async def test_what_is_to_be_done_then_waits_for_all_that_was_to_be_sent() -> None:
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())
    one = Recipient("one", written)
    outbox.then(lambda: written.append(("nothing waits", b"")))

    outbox.send(one, b"a")
    outbox.then(lambda: written.append(("then", b"")))
    outbox.send(one, b"b")
    await asyncio.sleep(0)

    assert [("nothing waits", b""), ("one", b"a"), ("one", b"b"), ("then", b"")] == written


@pytest.mark.parametrize("answers", [False, True])
async def test_what_is_to_be_done_then_waits_for_what_is_sent_during_a_flush(answers: bool) -> None:  # noqa: FBT001
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())
    second = Recipient("second", written)

    class Closing(Recipient):
        def deliver(self, data: bytes, noisy: dict[int, int]) -> None:
            super().deliver(data, noisy)
            if answers:
                outbox.send(second, b"more")
            outbox.then(lambda: written.append(("then", b"")))

    outbox.send(Closing("first", written), b"a")
    outbox.send(second, b"b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    more = [("second", b"more")] if answers else []
    assert [("first", b"a"), ("second", b"b"), *more, ("then", b"")] == written


async def test_a_message_that_can_not_be_sent_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    """The rest of that turn was lost, and who flushed for another reason failed."""
    written: list[tuple[str, bytes]] = []
    outbox = Outbox(asyncio.get_running_loop())

    class Broken(Recipient):
        def deliver(self, data: bytes, noisy: dict[int, int]) -> None:
            raise RuntimeError("a mistake of ours")

    one, broken, two = Recipient("one", written), Broken("broken", written), Recipient("two", written)
    for recipient in (one, broken, two):
        outbox.send(recipient, b"a")
    outbox.flush()

    assert [("one", b"a"), ("two", b"a")] == written
    assert [False, True, False] == [recipient.transport.is_cut for recipient in (one, broken, two)]
    assert ["a message could not be sent; its connection is cut"] == caplog.messages


class Transport(asyncio.BaseTransport):
    """As much of a connection as is asked of it: its socket."""

    def __init__(self, sock: socket.socket | Number | None) -> None:
        super().__init__({"socket": sock})


class Number(int):
    """The descriptor of a socket that is closed."""

    def fileno(self) -> int:
        return self


async def test_whoever_is_delivered_to_learns_on_which_watched_connections_something_has_come() -> None:
    """Also what the loop has not read yet."""
    outbox = Outbox(asyncio.get_running_loop())
    seen: list[dict[int, int]] = []

    class Watcher:
        def deliver(self, data: bytes, noisy: dict[int, int]) -> None:
            seen.append(noisy)

    ours, theirs = zip(*(socket.socketpair() for _ in range(4)), strict=True)
    with contextlib.ExitStack() as stack:
        for one in (*ours, *theirs):
            stack.enter_context(one)
        quiet, speaks, ends, unwatched = ours
        for one in (quiet, speaks, ends):
            outbox.watch(Transport(one))
        theirs[1].send(b"x")
        theirs[2].shutdown(socket.SHUT_WR)
        theirs[3].send(b"x")
        outbox.send(Watcher(), b"")
        outbox.flush()
        speaks.recv(1)
        ends.close()
        outbox.send(Watcher(), b"")
        outbox.flush()

        assert [{speaks.fileno(), ends_fileno(seen)}, set()] == [set(one) for one in seen]
        assert select.EPOLLIN == seen[0][speaks.fileno()]
        assert unwatched.fileno() not in seen[0]


async def test_what_can_not_be_watched_is_used_all_the_same() -> None:
    outbox = Outbox(asyncio.get_running_loop())
    with socket.socket() as closed:
        gone = Transport(Number(closed.fileno()))

    assert [-1, -1] == [outbox.watch(Transport(None)), outbox.watch(gone)]


def ends_fileno(seen: list[dict[int, int]]) -> int:
    """The one that has ended, by what is said of it."""
    [descriptor] = [known for known, events in seen[0].items() if events & select.EPOLLRDHUP]
    return descriptor
