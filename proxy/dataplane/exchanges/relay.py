"""Passing an answer on to the client: whole in one piece, or as a stream. What may be passed on `exchange` decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from proxy.core.wire.chunked import chunk, last_chunk
from proxy.core.wire.headers import downstream_head, interim_head, is_chunked_for
from proxy.core.wire.http1 import RequestHead
from proxy.core.wire.http1_answers import ResponseHead
from proxy.errors import ErrorKind

if TYPE_CHECKING:
    from proxy.dataplane.backends.upstream import Upstream
    from proxy.dataplane.clients.downstream import Downstream
    from proxy.dataplane.exchanges.upload import Upload


class ClientLeftError(Exception):
    """The client is gone: nothing can be told it any more."""


class Answer(NamedTuple):
    """A whole answer that is kept in case nothing better comes."""

    head: ResponseHead
    pieces: list[bytes]
    trailer: bytes
    note: bytes = b""
    """A field of ours that is added to its head."""


def whole(head: bytes, pieces: list[bytes], trailer: bytes, *, chunked: bool) -> list[bytes]:
    """All parts of an answer."""
    return [head, *chunk(pieces), last_chunk(trailer)] if chunked else [head, *pieces]


def again(answer: Answer, request: RequestHead, *, close: bool, proxy_status: bytes) -> bytes:
    """An answer that was kept, as it goes to a client."""
    head = downstream_head(request, answer.head, close=close, proxy_status=proxy_status)
    if answer.note:
        head = head[:-2] + answer.note + b"\r\n"
    return b"".join(whole(head, answer.pieces, answer.trailer, chunked=is_chunked_for(request, answer.head)))


def pass_interims(client: Downstream, upstream: Upstream, request: RequestHead) -> None:
    """1xx answers go on at once to a client that knows them; one that does not read them stops their sender."""
    for head in upstream.interims or ():
        if request.minor == 1:
            client.write(interim_head(head))
    upstream.interims = []
    if client.is_write_paused:
        upstream.pause_reading()


def begin_stream(client: Downstream, upstream: Upstream, head: bytes, *, chunked: bool) -> None:
    """Send the head and what is there of the body; from now on the Upstream passes on what comes."""
    upstream.stream = framed(client.write) if chunked else plain(client.write)
    client.write(b"".join((head, *(chunk(upstream.pieces) if chunked else upstream.pieces))))
    upstream.pieces = []
    if client.is_write_paused:
        upstream.pause_reading()
    else:
        upstream.resume_reading()


def stream_failure(client: Downstream, upstream: Upstream, upload: Upload | None) -> tuple[ErrorKind, str] | None:
    """Why a stream can't go on; None if it can. Raises ClientLeftError if it is the client who is gone or stuck."""
    if client.is_gone or (client.is_expired and client.is_write_paused) or _has_left(client, upstream, upload):
        raise ClientLeftError
    if upstream.error is not None:
        return upstream.error.kind, upstream.error.detail
    if upstream.is_lost or upstream.has_ended:
        return ErrorKind.HTTP_RESPONSE_INCOMPLETE, ""
    if client.is_expired:
        return ErrorKind.CONNECTION_READ_TIMEOUT, ""
    return None


def _has_left(client: Downstream, upstream: Upstream, upload: Upload | None) -> bool:
    """Whether what the client has done, or not done, can only mean that it does not go on.

    A stream of events has no end that a client could await, so one that has ended its side has left.
    """
    if upload is not None and not upload.is_complete:
        is_silent = client.is_expired and not upstream.is_write_paused
        return client.has_ended or is_silent or upload.error is not None
    return client.has_ended and upstream.head is not None and upstream.head.is_event_stream


def framed(write: Callable[[bytes], None]) -> Callable[[list[bytes]], None]:
    """Write pieces as one chunk."""
    return lambda pieces: write(b"".join(chunk(pieces)))


def plain(write: Callable[[bytes], None]) -> Callable[[list[bytes]], None]:
    """Write pieces as they are."""
    return lambda pieces: write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
