"""TLS handshakes: what clients must show and get, how Backends are trusted, who waits for the end and what is counted.

The bytes are moved by `tls`, below a Downstream or an Upstream. Made anew by the worker with each Settings.
"""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import TYPE_CHECKING, Any

from proxy.contexts import client_context, is_alert, reason_of, server_context
from proxy.core.tls import BackendTls, ListenerTls, subject_text
from proxy.core.wire.headers import Forwarding
from proxy.dataplane.transport.tls import TlsTransport

if TYPE_CHECKING:
    import socket

    from proxy.core.settings import Address
    from proxy.dataplane.backends.upstream import Upstream
    from proxy.dataplane.clients.downstream import Downstream
    from proxy.dataplane.worker import Worker

ALERT_LINGER = 1.0
"""Seconds in which a client whose handshake failed may read why, while what it still sends is thrown away."""


# Clients


class TlsListener:
    """How the clients of a Listener are let in. Made anew with each Settings, so that new files count from then on."""

    __slots__ = ("_context", "_worker", "settings")

    def __init__(self, worker: Worker, settings: ListenerTls) -> None:
        self._worker = worker
        self._context = server_context(settings)
        self.settings = settings

    def admit(self, client: Downstream) -> TlsTransport:
        """What accepts in place of the client itself."""
        context = self._context
        handshake = ClientHandshake(self._worker, client, self.settings)
        transport = TlsTransport(client, handshake, lambda i, o: context.wrap_bio(i, o, server_side=True))
        handshake.transport = transport
        return transport


class ClientHandshake:
    """The handshake of one client: in time, counted, and its certificate vouched for."""

    __slots__ = ("_client", "_settings", "_until", "_worker", "transport")

    transport: TlsTransport
    _until: float

    def __init__(self, worker: Worker, client: Downstream, settings: ListenerTls) -> None:
        self._worker = worker
        self._client = client
        self._settings = settings

    def begun(self) -> None:
        """From here on it counts as a connection, and has so many seconds."""
        client = self._client
        client.forwarding = Forwarding(client.client, b"https", is_trusted=client.forwarding.is_trusted)
        self._until = monotonic() + self._settings.handshake_timeout
        client.arm(self._until)

    def ended(self, error: Exception | None) -> None:
        """Count it. A client that was refused may read why."""
        client = self._client
        is_late = monotonic() >= self._until
        self._worker.stats.shook_hands("success" if error is None else _result(error, is_late=is_late))
        if error is not None:
            client.arm(monotonic() + ALERT_LINGER)
            return
        client.arm(monotonic() + self._worker.timeouts.client_idle)
        auth = self._settings.client_auth
        if auth is not None:
            shown: dict[str, Any] | None = self.transport.get_extra_info("ssl_object").getpeercert()
            if shown:
                client.forwarding.vouch(auth.header, subject_text(shown["subject"]))

    def gone(self, connection: ssl.SSLObject) -> None:
        """Nothing is kept of a client."""


RESULTS = {
    "HTTP_REQUEST": "plain_http",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_certificate",
    "UNSUPPORTED_PROTOCOL": "version",
    "NO_SHARED_CIPHER": "ciphers",
    "WRONG_VERSION_NUMBER": "not_tls",
}
"""OpenSSL's reasons with our names for them; others are `protocol`: a label needs a bound."""


def _result(error: Exception, *, is_late: bool) -> str:
    """Why a client's handshake failed, as a metric's label."""
    if is_late:
        return "timeout"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if not isinstance(error, ssl.SSLError):
        return "left"
    return "alert" if is_alert(error) else RESULTS.get(reason_of(error), "protocol")


# Backends


class BackendHandshakes:
    """How connections to one Backend are made secure. Keeps its last session: the next handshake costs less with it."""

    __slots__ = ("_address", "_context", "_session", "settings")

    def __init__(self, context: ssl.SSLContext, settings: BackendTls, address: Address) -> None:
        self._context = context
        self._address = address
        self.settings = settings
        self._session: ssl.SSLSession | None = None

    async def open(self, upstream: Upstream, sock: socket.socket | None = None) -> None:
        """Connect, or go on with `sock`, and shake hands. Raises OSError (ssl.SSLError is one); the caller cancels."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        # Nobody may be left to ask.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        transport = TlsTransport(upstream, BackendHandshake(self, future), self._wrap)
        try:
            if sock is None:
                await loop.create_connection(lambda: transport, self._address.host, self._address.port)
            else:
                await loop.create_connection(lambda: transport, sock=sock)
            await future
        except BaseException:
            future.cancel()
            transport.let_go()
            raise

    def _wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        name = self.settings.server_name or self._address.host
        return self._context.wrap_bio(incoming, outgoing, server_hostname=name, session=self._session)

    def keep_session(self, session: ssl.SSLSession | None) -> None:
        """For the next connection."""
        if session is not None and session.has_ticket:
            self._session = session


class BackendHandshake:
    """The handshake with a Backend for one connection."""

    __slots__ = ("_home", "future")

    def __init__(self, home: BackendHandshakes, future: asyncio.Future[None]) -> None:
        self._home = home
        self.future = future

    def begun(self) -> None:
        """Whoever waits for the future bounds the time."""

    def ended(self, error: Exception | None) -> None:
        """Tell who waits for it."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)

    def gone(self, connection: ssl.SSLObject) -> None:
        """By now the Backend has sent what the next handshake can begin with."""
        self._home.keep_session(connection.session)


class Contexts:
    """For one application of Settings: Backends with the same ones share one, as the system's authorities are large."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[BackendTls, ssl.SSLContext] = {}

    def handshakes(self, tls: BackendTls, address: Address, now: BackendHandshakes | None) -> BackendHandshakes | None:
        """How connections to a Backend are made secure: as now, where nothing has changed. None: not at all."""
        if not address.tls:
            return None
        if now is not None and now.settings == tls:
            return now
        if tls not in self._made:
            self._made[tls] = client_context(tls)
        return BackendHandshakes(self._made[tls], tls, address)
