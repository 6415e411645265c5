"""A request's body on its way from the client to a Backend: kept while small, for another Attempt, then streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.settings import PoolSettings
from proxy.core.wire.chunked import ChunkedDecoder, ChunkError, chunk, last_chunk
from proxy.core.wire.grammar import CHUNKED
from proxy.core.wire.http1 import RequestHead
from proxy.errors import RequestError

if TYPE_CHECKING:
    from proxy.dataplane.backends.upstream import Upstream
    from proxy.dataplane.clients.downstream import Downstream


class Upload:
    """The body of one request. What comes before a Backend is there is kept; so is all of it, up to `keep` bytes."""

    __slots__ = (
        "_client",
        "_decoder",
        "_keep",
        "_kept",
        "_left",
        "_limit",
        "_target",
        "error",
        "is_complete",
        "is_whole",
        "passed",
        "size",
    )

    def __init__(self, client: Downstream, request: RequestHead, *, keep: int, limit: int | None) -> None:
        if limit is not None and request.length > limit:
            raise RequestError(413, "the body is too large")
        self._client = client
        self._decoder = ChunkedDecoder() if request.body is CHUNKED else None
        self._left = request.length
        self._keep = keep
        self._limit = limit
        self._kept: list[bytes] = []
        self._target: Upstream | None = None
        self.size = 0
        self.passed = 0
        """Bytes that have gone to the Backend of this Attempt behind what went with the head."""
        self.is_complete = False
        self.is_whole = True
        """Whether all that has come is still here, so that it can be sent again."""
        self.error: RequestError | None = None

    def __repr__(self) -> str:
        return f"<Upload {self.size} bytes{' complete' if self.is_complete else ''}>"

    def feed(self, data: bytes) -> bytes:
        """Take in bytes from the client; what is left over belongs to the next request."""
        if self._decoder is None:
            pieces, rest = [data[: self._left]], data[self._left :]
            self._left -= len(pieces[0])
            self.is_complete = not self._left
        else:
            pieces, rest = self._decode(self._decoder, data)
        self.size += sum(map(len, pieces))
        if self._limit is not None and self.size > self._limit:
            self.error = RequestError(413, "the body is too large")
        if self.error is not None:
            # Its end has not been sent on: neither connection may carry another request.
            self.is_complete = False
            return b""
        if self.is_whole:
            self._kept += pieces
        self._send(pieces)
        if self.size > self._keep and self.is_whole:
            self._stop_keeping()
        return rest

    def _decode(self, decoder: ChunkedDecoder, data: bytes) -> tuple[list[bytes], bytes]:
        try:
            pieces = decoder.feed(data)
        except ChunkError as error:
            self.error = RequestError(400, str(error))
            return [], b""
        self.is_complete = decoder.is_complete
        if decoder.trailer and self.is_complete and self._client.worker.is_forged(decoder.trailer):
            self.error = RequestError(400, "a trailer field that only the proxy may set")
        return pieces, decoder.rest

    def _send(self, pieces: list[bytes]) -> None:
        target = self._target
        if target is None:
            return
        if not target.is_sent:
            # The head goes first; where it can't, the body may have another target by now, and that has all of it.
            self._client.worker.outbox.flush()
        if target is not self._target or target.is_lost:
            return
        data = b"".join(self._framed(pieces))
        if data:
            self.passed += len(data)
            target.transport.write(data)

    def _framed(self, pieces: list[bytes]) -> list[bytes]:
        if self._decoder is None:
            return pieces
        return chunk(pieces) + ([last_chunk(self._decoder.trailer)] if self.is_complete else [])

    def _stop_keeping(self) -> None:
        """Too large to send again; without a Backend yet, stop reading until there is one."""
        if self._target is None:
            self._client.pause_reading()
        else:
            self.is_whole = False
            self._kept = []

    def attach(self, target: Upstream) -> list[bytes]:
        """From now on bytes go to `target`; returns those that have come already."""
        self._target = target
        self.passed = 0
        data = self._framed(self._kept)
        if self.size > self._keep:
            self._stop_keeping()
        self._client.resume_reading()
        return data

    def whole(self) -> bytes:
        """The body, once all of it is here."""
        return b"".join(self._kept)

    def detach(self) -> None:
        """The Attempt is over."""
        self._target = None


def begin_upload(client: Downstream, request: RequestHead, settings: PoolSettings) -> Upload:
    """From now on what `client` sends is the body of `request`. Raises RequestError if it can't be used."""
    upload = Upload(client, request, keep=settings.retries.buffer_body, limit=settings.limits.body)
    client.upload = upload
    early, client.buffer = client.buffer, b""
    if early:
        client.data_received(early)
    if upload.error is not None:
        raise upload.error
    return upload
