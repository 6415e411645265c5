"""As much of RFC 6455 as it takes to open a WebSocket and send one message through it."""

from __future__ import annotations

import base64
import hashlib

from benchmarks.traffic import request

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = base64.b64encode(b"0123456789abcdef").decode()

OPENING = request(
    "GET",
    "/ws",
    {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": _KEY},
)
"""The request of a client that opens a WebSocket."""

MESSAGE = b"\x82\x85\x00\x00\x00\x00hello"
"""A binary message of five bytes, masked with zeros as a client's must be; the backend sends it back as it came."""


def accept_answer(key: bytes) -> bytes:
    """The answer that opens it."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
