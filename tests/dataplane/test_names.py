"""Names that clients ask for in a TLS handshake, where a Listener has several certificates."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import pytest

from proxy.contexts import overlook_bad_names, server_context
from proxy.core.tls import Certificate, ListenerTls, PrivateKey
from tests.certificates import Authority


def _hello(name: bytes) -> bytes:
    """The first words of a client that asks for this name, whatever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="x" * len(name))
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read().replace(b"x" * len(name), name)


@pytest.mark.parametrize("name", [b"\xff\xfe\x80abcdef", b"xn--\xc3\xa9xyz"])
def test_a_name_that_is_no_ascii_is_refused_without_a_traceback_in_the_log(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path / "ca")
    pairs = [authority.issue(host) for host in ("one.example", "two.example")]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    certificates = tuple(Certificate(pair.cert.read_text(), PrivateKey(pair.key.read_text())) for pair in pairs)
    context = server_context(ListenerTls(certificates))
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(_hello(name))
    monkeypatch.setattr(sys, "unraisablehook", overlook_bad_names)

    with pytest.raises(ssl.SSLError):
        server.do_handshake()

    assert (b"\x15", "") == (outgoing.read()[:1], capsys.readouterr().err)


class Clumsy:
    """Makes a mistake where nobody can catch it."""

    def __del__(self) -> None:
        raise ValueError("ours")


def test_any_other_mistake_that_nobody_can_catch_is_still_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", overlook_bad_names)

    Clumsy()

    assert "ValueError: ours" in capsys.readouterr().err
