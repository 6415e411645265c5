"""Plays a case: a raw client on one side of a proxy, a scripted backend on the other, both in this thread.

One case at a time, so that every byte that the backend hears belongs to the case that is played. Nothing here sleeps:
a case ends when both ends have played their steps and heard what they wait for. Then a last request, the canary, goes
through: whatever was sent upstream before it has been heard by then.
"""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from tests.e2e.wire.case import Act, Case, End, Sent, Step, Unsent
from tests.e2e.wire.ends import NO_WAITS, Cut, Player, whole
from tests.fuzz.strict import MalformedError, Message, read_answer, read_request

PATIENCE = 10.0
"""Seconds after which a case that does not come to its end has failed."""
GOOD = b"GET /good HTTP/1.1\r\nHost: good.example\r\n\r\n"
CANARY = b"GET /canary HTTP/1.1\r\nHost: canary.example\r\n\r\n"
GOOD_ANSWERED: tuple[Step, ...] = (Act.WHOLE, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
CANARY_ANSWERED: tuple[Step, ...] = (Act.WHOLE, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary")


class Scene:
    """What the backend is to do with one request, and what it heard of it."""

    def __init__(self, steps: Sequence[Step], cut: Cut, waits: Mapping[Act, Callable[[], bool]] = NO_WAITS) -> None:
        self.player: Player | None = None
        self.request: Message | None = None
        self.error = ""
        self._steps = steps
        self._cut = cut
        self._is_switched = any(isinstance(step, bytes) and b" 101 " in step for step in steps)
        self._waits = {Act.WHOLE: lambda: self.request is not None and self.request.is_whole, **waits}

    def begin(self, sock: socket.socket) -> None:
        """It is played on this connection."""
        self.player = Player(sock, self._steps, self._cut, self._waits)

    @property
    def is_done(self) -> bool:
        return self.player is not None and self.player.is_done

    @property
    def has_ended(self) -> bool:
        """Whether the proxy has ended the connection."""
        return self.player is not None and self.player.end is not None

    @property
    def heard(self) -> bytes:
        return self.player.heard if self.player is not None else b""

    def take(self, data: bytes) -> bytes:
        """Take in what has come; bytes behind a whole request are returned: they begin another one."""
        assert self.player is not None
        self.player.heard += data
        try:
            self.request, rest = read_request(self.player.heard, is_switched=self._is_switched)
        except MalformedError as error:
            self.error = str(error)
            return b""
        if self.request is None or not self.request.is_whole or self.request.is_raw:
            return b""
        self.player.heard = self.player.heard[: len(self.player.heard) - len(rest)]
        return rest


class Performance:
    """All that was seen of one case."""

    def __init__(self, case: Case, methods: Sequence[bytes]) -> None:
        self.case = case
        self._methods = methods
        self._index = int(len(methods) > 1)
        self.scene: Scene | None = None
        """The case's own; None where no byte of it came to the backend."""
        self.answers: list[Message] = []
        self.interims: list[Message] = []
        self.unread = b""
        self.heard = b""
        self.end: str | None = None
        self.has_left = False
        """Whether it was the client who closed."""
        self.error = ""
        self.canary = ""
        """What went wrong with the last request."""
        self.is_upstream_kept = False
        self.strays = b""

    def read(self, client: Player) -> Performance:
        """Read all answers that have come."""
        if (client.heard, client.end) == (self.heard, self.end):
            return self
        self.answers, self.interims, self.heard, self.end = [], [], client.heard, client.end
        rest = client.heard
        try:
            for method in self._methods:
                answer, rest = read_answer(rest, method, client.end)
                while answer is not None and answer.status < 200 and not answer.is_raw:
                    self.interims.append(answer)
                    answer, rest = read_answer(rest, method, client.end)
                self.answers += [answer] if answer is not None else []
        except MalformedError as error:
            self.error = str(error)
        self.unread = rest
        return self

    @property
    def answer(self) -> Message | None:
        """The case's own answer."""
        return self.answers[self._index] if len(self.answers) > self._index else None

    @property
    def others(self) -> list[bytes]:
        """The bodies of the answers before and after it."""
        return [one.body for one in self.answers[: self._index] + self.answers[self._index + 1 :]]

    def has_heard(self) -> bool:
        """Whether the client knows the head of each answer."""
        return len(self.answers) == len(self._methods)

    def is_answered(self) -> bool:
        """Whether the client has each whole answer."""
        return self.has_heard() and all(one.is_whole for one in self.answers)

    def is_over(self) -> bool:
        """Whether there is nothing more to come for the client."""
        if self.end is not None or self.error:
            return True
        return self.case.got.end is End.KEPT and self.is_answered()


class Stage:
    """The two ends of one proxy."""

    def __init__(self, backend: socket.socket, proxy: tuple[str, int]) -> None:
        self._selector = selectors.DefaultSelector()
        self._backend = backend
        self._backend.setblocking(False)
        self._selector.register(backend, selectors.EVENT_READ)
        self._proxy = proxy
        self._queue: deque[Scene] = deque()
        self._scenes: dict[socket.socket, Scene | None] = {}
        """Connections to the backend, and what was last played on each."""
        self._over: list[socket.socket] = []
        """Connections that the proxy has ended; what is left of their scenes is still played."""
        self._client: Player | None = None
        self._strays = b""

    def close(self) -> None:
        for sock in list(self._scenes):
            self._forget(sock)
        self._selector.close()

    # Playing

    def play(self, case: Case, cut: Cut, *, between: bool = False) -> Performance:
        """Play one case; `between`: pipelined between two good requests, or behind one where none can follow."""
        before = [Scene(GOOD_ANSWERED, whole)] if between else []
        after = [Scene(GOOD_ANSWERED, whole)] if between and case.may_be_followed else []
        seen = Performance(case, [b"GET"] * len(before) + [case.method] + [b"GET"] * len(after))
        waits = {
            Act.HEARD: lambda: seen.read(client).has_heard(),
            Act.ANSWERED: lambda: seen.read(client).is_answered(),
        }
        own = Scene(case.backend, whole if case.answer_whole else cut, waits)
        self._clear()
        self._queue = deque([*before, *([] if case.received is Unsent.NOTHING else [own]), *after])
        first, *others = case.client
        steps = [GOOD * len(before) + first + GOOD * len(after), *others]
        client = self._begin(self._connect(), steps, cut, {Act.HEARD: lambda: own.request is not None})

        def is_over() -> bool:
            seen.read(client)
            is_answered = client.is_closed or (client.is_done and seen.is_over())
            return is_answered and (own.is_done or not isinstance(case.received, Sent))

        if not self._run(is_over):
            seen.error = "it did not come to its end"
        seen.has_left = client.is_closed
        seen.scene = own if own.player is not None else None
        self._sing(seen, client)
        self._leave(client)
        seen.strays = self._strays
        return seen

    def _clear(self) -> None:
        """Leave nothing of the last case, also where it failed."""
        if self._client is not None:
            self._leave(self._client)
        unfinished = [sock for sock, scene in self._scenes.items() if scene is not None and not scene.is_done]
        for sock in [*self._over, *unfinished]:
            self._forget(sock)
        self._over.clear()
        self._strays = b""

    def _sing(self, seen: Performance, client: Player) -> None:
        """Send the canary: on the client's connection where it is kept, else on a new one."""
        canary = Scene(CANARY_ANSWERED, whole)
        self._queue = deque([canary])
        is_kept = seen.case.got.end is End.KEPT and client.end is None and not client.is_closed and not seen.error
        singer = self._begin(client.sock if is_kept else self._connect(), [CANARY], whole)
        song = Performance(seen.case, [b"GET"])

        def is_over() -> bool:
            song.read(singer)
            return song.end is not None or bool(song.error) or song.is_answered()

        self._run(is_over)
        heard = [(one.status, one.body) for one in song.answers]
        if heard != [(200, b"canary")] or song.unread or not canary.heard.startswith(CANARY[:-2]):
            seen.canary = f"the client heard {singer.heard!r}, the backend {canary.heard!r}"
        own = seen.scene.player if seen.scene is not None else None
        seen.is_upstream_kept = own is not None and canary.player is not None and own.sock is canary.player.sock
        if singer.sock is not client.sock:
            self._leave(singer)

    # Sockets

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._proxy)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return sock

    def _begin(
        self, sock: socket.socket, steps: Sequence[Step], cut: Cut, waits: Mapping[Act, Callable[[], bool]] = NO_WAITS
    ) -> Player:
        """A client plays on this connection."""
        if sock.fileno() not in self._selector.get_map():
            self._selector.register(sock, selectors.EVENT_READ)
        self._client = Player(sock, steps, cut, waits)
        return self._client

    def _leave(self, client: Player) -> None:
        self._client = None
        self._forget(client.sock)

    def _run(self, is_over: Callable[[], bool]) -> bool:
        """Let both ends play until it is over; False if it does not come to that."""
        until = monotonic() + PATIENCE
        while monotonic() < until:
            players = [player for player in self._players() if not player.is_closed]
            for player in players:
                player.advance()
                if player.is_closed:
                    self._hang_up(player.sock)
            if is_over():
                return True
            busy = [player for player in players if player.wants_to_send and not player.is_closed]
            for player in busy:
                player.send()
            for key, _ in self._selector.select(0 if busy else until - monotonic()):
                self._hear(key.fileobj)
        return False

    def _players(self) -> list[Player]:
        backends = [scene.player for scene in self._scenes.values() if scene is not None and scene.player is not None]
        return [*backends, *([self._client] if self._client is not None else [])]

    def _hear(self, sock: object) -> None:
        assert isinstance(sock, socket.socket)
        if sock is self._backend:
            connection, _ = self._backend.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._scenes[connection] = None
            self._selector.register(connection, selectors.EVENT_READ)
        elif sock in self._scenes:
            self._hear_backend(sock)
        elif self._client is not None and sock is self._client.sock:
            data = self._client.hear()
            self._client.heard += data
            if self._client.end is not None:
                self._selector.unregister(sock)

    def _hear_backend(self, sock: socket.socket) -> None:
        """What comes behind a whole request begins the next scene."""
        scene = self._scenes[sock]
        player = scene.player if scene is not None and scene.player is not None else Player(sock, [], whole)
        data = player.hear()
        if scene is not None:
            data = scene.take(data)
        if data and self._queue:
            scene = self._scenes[sock] = self._queue.popleft()
            scene.begin(sock)
            scene.take(data)
        elif data:
            self._strays += data
        if player.end is not None:
            self._selector.unregister(sock)
            self._over.append(sock)

    def _hang_up(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            if sock.fileno() in self._selector.get_map():
                self._selector.unregister(sock)
            sock.close()

    def _forget(self, sock: socket.socket) -> None:
        self._hang_up(sock)
        self._scenes.pop(sock, None)
