"""`GET /v1/events`: what changes, as server-sent events, to whoever keeps the answer open.

A second's changes are worked out once for all readers, in the supervisor and only while there are any: workers are
never asked. What a reader has not taken is bounded; one that is too slow is let go, and comes back by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterator

from aiohttp import web

from proxy.controlplane.admin import sheet
from proxy.controlplane.admin.operations import Answer, Control, Operation, Parameter, problem
from proxy.controlplane.admin.pools import own_state, pools_document
from proxy.controlplane.admin.problems import Problem, sealed
from proxy.controlplane.admin.view import View
from proxy.core.telling.journal import Kept, Query
from proxy.logs import say

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks at what has changed."""
READERS = 64
"""More at a time get 503."""
ROOM = 2 * 1024 * 1024
"""Bytes that may wait for one reader behind what is written next, which may be larger."""
SILENCE = 2.0
"""Seconds after which something is sent, so that either side soon notices if the other has gone."""
PATIENCE = 30.0
"""Seconds in which a reader must take what is written."""
RESUMED = 1000
"""Entries of the journal that one who comes back is told at the most, as far as half the room holds them."""
HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
ABOUT = """Server-sent events. First a `snapshot` (as `/v1/pools`), and another whenever pools or backends come or go.
Then at most once a second `pools`, with the pools that have changed and those of their backends that have; `proxy` when
its readiness, its problems or what is cut off from a split change; and each new entry of the journal at once, as
`journal`, with its number as `id`. Whoever names the last `id` gets the entries since."""
DIGITS = 18
"""Of a number that anybody may name."""
ID = {"type": "integer", "minimum": 0, "maximum": 10**DIGITS - 1}


def event(name: str, data: bytes, number: int | None = None) -> bytes:
    """One event as it is written; `data` is JSON, which has no line breaks."""
    numbered = b"" if number is None else b"id: %d\n" % number
    return b"%bevent: %b\ndata: %b\n\n" % (numbered, name.encode(), data)


class Reader:
    """One who reads: what waits for it."""

    def __init__(self, drop: Callable[[], None]) -> None:
        self._drop = drop
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self.is_over = False

    def put(self, data: bytes) -> None:
        """Have this written soon; where there is no room, the reader is let go."""
        if self._waiting and self._size - len(self._waiting[0]) + len(data) > ROOM:
            self.end()
            self._drop()
            return
        self._waiting.append(data)
        self._size += len(data)
        self._news.set()

    def end(self) -> None:
        """Nothing more comes."""
        self.is_over = True
        self._waiting.clear()
        self._news.set()

    async def next(self) -> bytes | None:
        """What is to be written next: a comment where nothing is, None at the end."""
        if not self._waiting and not self.is_over:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), SILENCE)
        if self.is_over:
            return None
        if not self._waiting:
            return b":\n\n"
        data = self._waiting.popleft()
        self._size -= len(data)
        return data


class Events:
    """Serves all readers."""

    def __init__(self, control: Control, view: View) -> None:
        self._control = control
        self._view = view
        self._all: set[Reader] = set()
        """Those who have come."""
        self._readers: set[Reader] = set()
        """Those of them who know how things stand, and are told what changes."""
        self._sheet: sheet.Sheet | None = None
        self._own = b""
        self._drawing = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Events readers={len(self._readers)}>"

    def operations(self) -> list[Operation]:
        """What it answers."""
        streamed = Answer("The events, for as long as the connection lasts.", media_type="text/event-stream")
        return [
            Operation(
                "GET",
                "/v1/events",
                self._get,
                "What changes, as it changes.",
                {
                    200: streamed,
                    400: problem("`Last-Event-ID` is not a number."),
                    503: problem("There are too many readers, or the proxy ends."),
                },
                (
                    Parameter("Last-Event-ID", "The last entry of the journal that was seen.", ID, where="header"),
                    Parameter("last_event_id", "The same, for those who can't set a header.", ID),
                ),
                hint="what changes, as server-sent events; Last-Event-ID resumes the journal",
                about=ABOUT,
            )
        ]

    async def close(self) -> None:
        """End all answers."""
        self._is_closed = True
        self.end_all()
        self._rest()

    def end_all(self) -> None:
        """End all answers; whoever may come back may."""
        for reader in self._all:
            reader.end()

    # One reader

    async def _get(self, request: web.Request) -> web.StreamResponse:
        after = _last_id(request)
        if request.method == "HEAD":
            return web.Response(headers=HEADERS)
        if self._is_closed or len(self._all) >= READERS:
            raise Problem(503, "the proxy ends" if self._is_closed else f"there are {READERS} readers already")
        response = sealed(web.StreamResponse(headers=HEADERS))
        reader = Reader(lambda: _let_go(request))
        # Before the first wait: many may come at a time.
        self._all.add(reader)
        try:
            await response.prepare(request)
            await self._welcome(reader, after)
            while (data := await reader.next()) is not None:
                async with asyncio.timeout(PATIENCE):
                    await response.write(data)
            await response.write_eof()
        except TimeoutError:
            _let_go(request)
        except ConnectionError:
            log.debug("a reader of events has left")
        finally:
            self._all.discard(reader)
            self._readers.discard(reader)
            if not self._readers:
                self._rest()
        return response

    async def _welcome(self, reader: Reader, after: int | None) -> None:
        """Tell how things stand, and what was missed. From then on all that changes is told."""
        async with self._drawing:
            if self._sheet is None:
                self._sheet = await sheet.draw(self._control.registry, self._view)
        if reader.is_over:
            return
        reader.put(self._snapshot(self._sheet))
        for entry in [] if after is None else self._missed(after):
            reader.put(entry)
        self._readers.add(reader)
        if self._ticking is None:
            self._own = own_state(self._control)
            self._unsubscribe = self._control.journal.subscribe(self._take)
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    def _missed(self, after: int) -> Iterator[bytes]:
        """The entries of the journal since then, the oldest first, as far as there is room."""
        room = ROOM // 2
        for entry in self._control.journal.since(Query(after=after, limit=RESUMED)):
            told = event("journal", json.dumps(entry).encode(), entry["id"])
            room -= len(told)
            if room < 0:
                return
            yield told

    def _snapshot(self, drawn: sheet.Sheet) -> bytes:
        return event("snapshot", pools_document(drawn, self._control))

    # All of them

    def _take(self, kept: Kept) -> None:
        """The journal has a new entry."""
        self._tell(event("journal", kept.text.encode(), kept.id))

    def _tell(self, data: bytes) -> None:
        for reader in list(self._readers):
            reader.put(data)

    async def _tick(self) -> None:
        """Look once a second, until nobody reads."""
        try:
            while True:
                await asyncio.sleep(TICK)
                await self._look()
        except Exception:
            log.exception("events failed: their readers have to come back")
            for reader in self._readers:
                reader.end()
            self._readers.clear()
            self._ticking = None
            self._rest()

    async def _look(self) -> None:
        async with self._drawing:
            before, drawn = self._sheet, await sheet.draw(self._control.registry, self._view)
            self._sheet = drawn
        own = own_state(self._control)
        if own != self._own:
            self._own = own
            self._tell(event("proxy", own))
        if before is None or sheet.names(before) != sheet.names(drawn):
            self._tell(self._snapshot(drawn))
            return
        changed = sheet.difference(before, drawn)
        if changed is not None:
            self._tell(event("pools", changed))

    def _rest(self) -> None:
        """Nobody reads: look no more."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._sheet = None


def _last_id(request: web.Request) -> int | None:
    """The last entry that the reader has seen. Raises Problem."""
    text = request.headers.get("Last-Event-ID") or request.query.get("last_event_id", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise Problem(400, "Last-Event-ID must be the number of an entry of the journal")
    return int(text)


def _let_go(request: web.Request) -> None:
    """Too slow: what it has not taken can't be taken back, so the connection breaks."""
    say(log, logging.INFO, "a reader of events was too slow", client=request.remote)
    if request.transport is not None:
        request.transport.abort()
