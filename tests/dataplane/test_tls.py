"""TLS on top of a connection that is made of two lists: every cut, every end, without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import weakref
from collections.abc import Iterator
from typing import Any, cast

import pytest

from proxy.dataplane.transport.tls import HandshakeCutError, TlsTransport
from tests.certificates import Authority, Pair


class Wire(asyncio.Transport):
    """The connection below: what is written to it, and what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.has_ended = self.is_closed = self.is_aborted = self.is_paused = False

    def write(self, data: Any) -> None:
        assert not self.has_ended
        self.sent.append(bytes(data))

    def write_eof(self) -> None:
        self.has_ended = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_write_buffer_size(self) -> int:
        return 7

    def take(self) -> bytes:
        """What has been sent since the last time."""
        sent, self.sent = b"".join(self.sent), []
        return sent


class Above(asyncio.Protocol):
    """Whoever is served by the TlsTransport."""

    def __init__(self, *, stays: bool = False) -> None:
        self.stays = stays
        self.pieces: list[bytes] = []
        self.ends = 0
        self.flow: list[str] = []
        self.lost: list[Exception | None] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def pause_writing(self) -> None:
        self.flow.append("pause")

    def resume_writing(self) -> None:
        self.flow.append("resume")

    def eof_received(self) -> bool:
        self.ends += 1
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Watcher:
    """Who waits for the handshake."""

    def __init__(self) -> None:
        self.ends: list[Exception | None] = []
        self.begun_times = 0
        self.sessions: list[Any] = []

    def begun(self) -> None:
        self.begun_times += 1

    def ended(self, error: Exception | None) -> None:
        self.ends.append(error)

    def gone(self, connection: ssl.SSLObject) -> None:
        self.sessions.append(connection.session)


class Side:
    """A TlsTransport with all around it, and OpenSSL at the other end of its wire."""

    def __init__(
        self, server: ssl.SSLContext, client: ssl.SSLContext, *, serves: bool = True, stays: bool = False
    ) -> None:
        self.above, self.watcher, self.wire = Above(stays=stays), Watcher(), Wire()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        theirs = client if serves else server
        ours = server if serves else client
        name = {"server_hostname": "localhost"}
        self.other = theirs.wrap_bio(self.incoming, self.outgoing, server_side=not serves, **(name if serves else {}))
        self.transport = TlsTransport(
            cast("Any", self.above),
            self.watcher,
            lambda i, o: ours.wrap_bio(i, o, server_side=serves, **({} if serves else name)),
        )
        self.transport.connection_made(self.wire)

    def shake(self, cut: int = 65536) -> None:
        """Bring the handshake to its end, so many bytes at a time."""
        for _ in range(6):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.other.do_handshake()
            self.pass_on(cut)
            self.incoming.write(self.wire.take())

    def pass_on(self, cut: int = 65536) -> None:
        """What the other end has said reaches the transport."""
        data = self.outgoing.read()
        for at in range(0, len(data), cut):
            self.transport.data_received(data[at : at + cut])

    def say(self, data: bytes, cut: int = 65536) -> None:
        """The other end sends this."""
        view = memoryview(data)
        while view:
            view = view[self.other.write(view) :]
        self.pass_on(cut)

    def heard(self) -> bytes:
        """What the other end can read by now; raises ssl.SSLZeroReturnError never, but ends at the end."""
        self.incoming.write(self.wire.take())
        said = b""
        while True:
            try:
                piece = self.other.read(65536)
            except ssl.SSLWantReadError:
                return said
            if not piece:
                return said + b"<end>"
            said += piece


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("wire") / "ca")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def side(request: pytest.FixtureRequest, authority: Authority, pair: Pair) -> Iterator[Side]:
    side = Side(pair.context(maximum_version=request.param), authority.trusting())
    side.shake()
    assert [None] == side.watcher.ends
    yield side
    # Whatever a test did, the end comes once.
    side.transport.connection_lost(None)
    assert 1 == len(side.above.lost)


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.parametrize("cut", [1, 7, 65536])
def test_a_handshake_may_come_in_any_pieces(authority: Authority, pair: Pair, serves: bool, cut: int) -> None:  # noqa: FBT001
    side = Side(pair.context(), authority.trusting(), serves=serves)
    side.shake(cut)
    side.say(b"hello", cut)

    assert ([None], [b"hello"]) == (side.watcher.ends, side.above.pieces)


def test_bytes_arrive_whole_and_in_order_however_they_are_cut(side: Side) -> None:
    rng = random.Random(4)
    sent = rng.randbytes(100_000)
    for cut in (1, 5, 1000, 16384, 65536):
        side.say(sent[:3000] if cut == 1 else sent, cut)
        arrived = b"".join(side.above.pieces)
        side.above.pieces.clear()

        assert (sent[:3000] if cut == 1 else sent) == arrived


def test_what_comes_together_is_handed_on_together(side: Side) -> None:
    """One wake and one write for it, not one for each record."""
    side.say(b"a" * 100_000, 1_000_000)

    assert [100_000] == [len(piece) for piece in side.above.pieces]


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 1_000_000])
def test_what_is_written_is_sent_whole(side: Side, size: int) -> None:
    data = random.Random(5).randbytes(size)
    side.transport.write(bytearray(data))

    assert data == side.heard()


def test_one_message_is_one_write_below(side: Side) -> None:
    side.transport.write(b"x" * 10_000)

    assert 1 == len(side.wire.sent)


# Ends


def test_a_goodbye_is_an_end_told_once(side: Side) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        side.other.unwrap()
    side.pass_on()
    side.transport.eof_received()

    assert (1, True, False) == (side.above.ends, side.wire.is_closed, side.wire.is_aborted)


def test_what_comes_with_a_goodbye_is_handed_on_before_the_end(side: Side) -> None:
    side.other.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        side.other.unwrap()
    side.pass_on()

    assert ([b"last words"], 1) == (side.above.pieces, side.above.ends)


def test_an_end_without_a_goodbye_is_no_end(side: Side) -> None:
    """Something may have been cut off: the connection is lost, and what it carried with it."""
    assert not side.transport.eof_received()
    assert 0 == side.above.ends


def test_after_the_others_goodbye_we_may_go_on(authority: Authority, pair: Pair) -> None:
    side = Side(pair.context(), authority.trusting(), stays=True)
    side.shake()
    with pytest.raises(ssl.SSLWantReadError):
        side.other.unwrap()
    side.pass_on()
    stays = side.transport.eof_received()
    side.transport.write(b"late answer")

    assert (True, b"late answer", 1) == (stays, side.heard(), side.above.ends)


def test_after_our_goodbye_we_still_read(side: Side) -> None:
    side.transport.write(b"answer")
    side.transport.write_eof()
    side.transport.write(b"never")
    side.say(b"more")

    assert (b"answer<end>", True) == (side.heard(), side.wire.has_ended)
    assert [b"more"] == side.above.pieces


def test_close_says_goodbye_and_abort_does_not(authority: Authority, pair: Pair) -> None:
    heard = []
    for end in (TlsTransport.close, TlsTransport.abort):
        side = Side(pair.context(), authority.trusting())
        side.shake()
        side.transport.write(b"answer")
        end(side.transport)
        side.say(b"nobody hears this")
        heard.append((side.heard(), side.transport.is_closing(), side.above.pieces))

    assert [(b"answer<end>", True, []), (b"answer", True, [])] == heard


def test_closing_twice_is_closing(side: Side) -> None:
    for _ in range(2):
        side.transport.close()
        side.transport.write(b"late")
        side.transport.write_eof()

    assert b"<end>" == side.heard()


def test_a_broken_record_breaks_the_connection(side: Side) -> None:
    side.transport.data_received(b"\x17\x03\x03\x00\x20" + bytes(32))

    assert side.wire.is_aborted
    side.transport.write(b"nobody can read this")
    side.transport.connection_lost(None)
    assert isinstance(side.above.lost[0], ssl.SSLError)


def test_who_is_lost_waits_for_no_garbage_collector(authority: Authority, pair: Pair) -> None:
    side = Side(pair.context(), authority.trusting())
    side.shake()
    held = weakref.ref(side.above), weakref.ref(side.watcher)
    side.transport.connection_lost(None)
    transport = side.transport
    del side

    assert (None, None) == (held[0](), held[1]())
    assert transport.is_closing()


def test_pauses_hold_below(side: Side) -> None:
    side.transport.pause_reading()
    paused = side.wire.is_paused
    side.transport.resume_reading()
    side.transport.pause_writing()
    side.transport.resume_writing()

    assert (True, False, 7) == (paused, side.wire.is_paused, side.transport.get_write_buffer_size())
    assert ["pause", "resume"] == side.above.flow


# Handshakes that fail


def test_a_refused_client_is_told_why(authority: Authority, pair: Pair) -> None:
    """And gets nothing after that."""
    side = Side(
        pair.context(minimum_version=ssl.TLSVersion.TLSv1_3), authority.trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    )
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        side.shake()
    side.transport.write(b"never")

    (error,) = side.watcher.ends
    assert isinstance(error, ssl.SSLError)
    assert (True, b"", []) == (side.wire.has_ended, side.wire.take(), side.above.pieces)


def test_nothing_is_sent_before_the_handshake_is_over(authority: Authority, pair: Pair) -> None:
    side = Side(pair.context(), authority.trusting())
    side.transport.write(b"too early")
    side.transport.close()

    assert (b"", True) == (side.wire.take(), side.wire.is_aborted)


@pytest.mark.parametrize("how", ["eof", "lost"])
def test_a_handshake_that_is_cut_off_ends_once(authority: Authority, pair: Pair, how: str) -> None:
    side = Side(pair.context(), authority.trusting())
    if how == "eof":
        assert not side.transport.eof_received()
    side.transport.connection_lost(OSError())

    assert [HandshakeCutError] == [type(error) for error in side.watcher.ends]
    assert 1 == len(side.above.lost)


def test_one_too_many_costs_no_handshake(authority: Authority, pair: Pair) -> None:
    class Refuses(Above):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast("asyncio.Transport", transport).write(b"HTTP/1.1 503 Full\r\n\r\n")
            cast("asyncio.Transport", transport).write_eof()

    wire, watcher, above = Wire(), Watcher(), Refuses()
    context = pair.context()
    transport = TlsTransport(cast("Any", above), watcher, lambda i, o: context.wrap_bio(i, o, server_side=True))
    transport.connection_made(wire)
    transport.data_received(b"\x16\x03\x01")
    transport.connection_lost(None)

    assert (0, [], b"", True, 1) == (watcher.begun_times, watcher.ends, wire.take(), wire.is_aborted, len(above.lost))


def test_a_session_is_offered_for_keeping_when_the_connection_ends(authority: Authority, pair: Pair) -> None:
    """By then its tickets have come; they are no data for who is above."""
    context = authority.trusting()
    side = Side(pair.context(), context, serves=False)
    side.shake()
    side.say(b"answer")
    side.transport.close()
    side.transport.connection_lost(None)

    assert ([b"answer"], [True]) == (side.above.pieces, [one.has_ticket for one in side.watcher.sessions])
