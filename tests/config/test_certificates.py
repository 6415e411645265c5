"""The files of `tls` blocks: what can be used, and how what can't is named, with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config import ConfigError
from proxy.config.loader import loads
from proxy.core.settings import Settings
from proxy.core.tls import BackendTls
from tests.certificates import Authority, openssl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates, keys and what only looks like them, beside a config file."""
    folder = tmp_path_factory.mktemp("config")
    authority = Authority(folder)
    for stem, pair in {
        "a": authority.issue("a.example", file="a"),
        "b": authority.issue("*.b.example", file="b"),
    }.items():
        pair.bundle().rename(folder / f"{stem}.pem")
    authority.issue("old.example", days=-1, file="old")
    openssl("pkey", "-in", folder / "a.key", "-aes128", "-passout", "pass:x", "-out", folder / "pkcs8.key")
    openssl("ec", "-in", folder / "a.key", "-aes128", "-passout", "pass:x", "-out", folder / "old-style.key")
    (folder / "text").write_text("nothing of that kind\n")
    (folder / "broken.crt").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    (folder / "broken.key").write_text("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n")
    (folder / "named.crt").write_text("# Autorité\n" + (folder / "ca.crt").read_text())
    return folder


@pytest.fixture
def read(folder: Path) -> Callable[[str], Settings]:
    return lambda text: loads(text, str(folder / "proxy.yaml"), {})


def listener(tls: str) -> str:
    return f"listeners: {{web: {{address: a:1, tls: {tls}}}}}\npools: {{app: [b:1]}}\n"


def pool(tls: str, backend: str = "https://b") -> str:
    return f"listeners: [a:1]\npools: {{app: {{backends: ['{backend}'], tls: {tls}}}}}\n"


def test_a_certificate_and_its_key_are_read_with_the_config(read: Callable[[str], Settings], folder: Path) -> None:
    (found,) = read(listener("{cert: a.crt, key: a.key}")).listeners
    assert found.tls is not None
    (certificate,) = found.tls.certificates

    assert (("a.example",), "a.example") == (certificate.names, certificate.title)
    assert (folder / "a.key").read_text().strip() == certificate.key.pem


def test_another_certificate_in_the_same_file_makes_other_settings(
    read: Callable[[str], Settings], folder: Path
) -> None:
    """So a reload sees that something has changed."""
    text = listener("{cert: now.pem}")
    (folder / "now.pem").write_text((folder / "a.pem").read_text())
    first, again = read(text), read(text)
    (folder / "now.pem").write_text((folder / "b.pem").read_text())

    assert first == again
    assert first != read(text)


def test_everything_a_listener_may_say_is_heeded(read: Callable[[str], Settings]) -> None:
    auth = "{ca: named.crt, mode: optional, header: X-Who}"
    settings = read(
        listener(
            f"{{cert: a.pem, certificates: [{{cert: b.crt, key: b.key}}], min_version: 1.3, ciphers: ECDHE+AESGCM, "
            f"client_auth: {auth}, handshake_timeout: 2s}}"
        )
    )
    tls = settings.listeners[0].tls
    assert tls is not None
    assert tls.client_auth is not None

    assert [("a.example",), ("*.b.example",)] == [one.names for one in tls.certificates]
    assert ("1.3", "ECDHE+AESGCM", 2.0) == (tls.min_version, tls.ciphers, tls.handshake_timeout)
    assert (False, "X-Who", True) == (
        tls.client_auth.is_required,
        tls.client_auth.header,
        tls.client_auth.ca.isascii(),
    )


def test_the_authority_alone_asks_for_certificates(read: Callable[[str], Settings]) -> None:
    tls = read(listener("{cert: a.pem, client_auth: ca.crt}")).listeners[0].tls

    assert tls is not None
    assert tls.client_auth is not None
    assert (True, "X-Client-Cert-Subject") == (tls.client_auth.is_required, tls.client_auth.header)


def test_everything_a_pool_may_say_is_heeded(read: Callable[[str], Settings]) -> None:
    (found,) = read(pool("{ca: ca.crt, server_name: B.internal, cert: a.pem, min_version: '1.3'}")).pools
    tls = found.tls
    assert tls.certificate is not None

    assert (True, "b.internal", "1.3", "a.example") == (
        tls.verify,
        tls.server_name,
        tls.min_version,
        tls.certificate.title,
    )
    assert "BEGIN CERTIFICATE" in tls.ca
    assert BackendTls(verify=False) == read(pool("{verify: false}")).pools[0].tls
    assert BackendTls() == read("listeners: [a:1]\npools: {app: ['https://b']}\n").pools[0].tls


def test_a_certificate_that_has_expired_is_no_mistake(read: Callable[[str], Settings]) -> None:
    """A proxy that did not start any more because of it would make matters worse. The log and `check` warn."""
    assert read(listener("{cert: old.crt, key: old.key}")).listeners[0].tls is not None


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("{}", "1:33: listeners.web.tls: needs 'cert' or 'certificates'"),
        ("{key: a.key}", "1:39: listeners.web.tls.key: does nothing without 'cert'"),
        ("{cert: missing.crt}", "1:45: listeners.web.tls.cert: can't be read: No such file or directory"),
        ("{cert: .}", "1:45: listeners.web.tls.cert: can't be read: Is a directory"),
        ("{cert: text, key: a.key}", "1:45: listeners.web.tls.cert: there is no certificate (PEM) in this file"),
        ("{cert: broken.crt, key: a.key}", "1:45: listeners.web.tls.cert: can't be used: not a certificate"),
        ("{cert: a.crt, key: missing}", "1:57: listeners.web.tls.key: can't be read: No such file or directory"),
        ("{cert: a.crt, key: text}", "1:57: listeners.web.tls.key: there is no private key (PEM) in this file"),
        (
            "{cert: a.crt}",
            "1:45: listeners.web.tls.cert: there is no private key (PEM) in this file, and 'key' names none",
        ),
        (
            "{cert: a.crt, key: b.key}",
            "1:57: listeners.web.tls.key: this key does not belong to the first certificate in 'cert'",
        ),
        ("{cert: a.crt, key: pkcs8.key}", "1:57: listeners.web.tls.key: this key is encrypted"),
        ("{cert: a.crt, key: old-style.key}", "1:57: listeners.web.tls.key: this key is encrypted"),
        ("{cert: a.crt, key: broken.key}", "1:57: listeners.web.tls.key: can't be used: no key that OpenSSL can read"),
        (
            "{cert: a.pem, certificates: [{cert: b.crt, key: a.key}]}",
            "1:86: listeners.web.tls.certificates[0].key: this key does not belong",
        ),
        ("{cert: a.pem, ciphers: NONSENSE}", "1:61: listeners.web.tls.ciphers: OpenSSL finds no cipher for this"),
        ("{cert: a.pem, min_version: 1.1}", "1:65: listeners.web.tls.min_version: expected 1.2 or 1.3, not 1.1"),
        (
            "{cert: a.pem, client_auth: missing}",
            "1:65: listeners.web.tls.client_auth: can't be read: No such file or directory",
        ),
        (
            "{cert: a.pem, client_auth: {ca: text}}",
            "1:70: listeners.web.tls.client_auth.ca: there is no certificate (PEM) in this file",
        ),
        (
            "{cert: a.pem, client_auth: {ca: broken.crt}}",
            "1:70: listeners.web.tls.client_auth.ca: there is something in this file that is no certificate",
        ),
        (
            "{cert: a.pem, client_auth: {ca: ca.crt, header: Host}}",
            "1:86: listeners.web.tls.client_auth.header: 'Host' has a meaning of its own; such as X-Client-Cert-Subject",
        ),
        (
            "{cert: a.pem, client_auth: {ca: ca.crt, header: Proxy_Authorization}}",
            "1:86: listeners.web.tls.client_auth.header: 'Proxy_Authorization' has a meaning of its own",
        ),
        ("{cert: a.pem, crt: x}", "1:52: listeners.web.tls.crt: unknown key; did you mean 'cert'?"),
    ],
)
def test_a_mistake_of_a_listener_is_named_with_its_place(
    read: Callable[[str], Settings], tls: str, expected: str
) -> None:
    (said,) = mistakes(read, listener(tls))

    assert said.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (pool("{}", "b:1"), "2:34: pools.app.tls: does nothing without a backend whose URL begins with https://"),
        (pool("{ca: missing}"), "2:50: pools.app.tls.ca: can't be read: No such file or directory"),
        (pool("{ca: ca.crt, verify: false}"), "2:46: pools.app.tls.ca: does nothing with 'verify: false'"),
        (pool("{key: a.key}"), "2:46: pools.app.tls.key: does nothing without 'cert'"),
        (pool("{cert: a.crt, key: b.key}"), "2:64: pools.app.tls.key: this key does not belong"),
        (pool("{server_name: 'a b'}"), "2:59: pools.app.tls.server_name: expected a name such as app.internal"),
    ],
)
def test_a_mistake_of_a_pool_is_named_with_its_place(read: Callable[[str], Settings], text: str, expected: str) -> None:
    (said,) = mistakes(read, text)

    assert said.startswith(expected)


def test_nothing_more_is_said_of_a_block_that_could_not_be_read(read: Callable[[str], Settings]) -> None:
    (said,) = mistakes(read, listener("{cert: 5}"))

    assert "1:45: listeners.web.tls.cert: expected a file's path" in said


def test_no_message_holds_any_of_a_key(read: Callable[[str], Settings], folder: Path) -> None:
    lines = [line for line in (folder / "b.key").read_text().splitlines() if "-----" not in line]
    said = " ".join(mistakes(read, listener("{cert: a.crt, key: b.key}")))

    assert not any(line in said for line in lines)


def mistakes(read: Callable[[str], Settings], text: str) -> list[str]:
    """What is said of a config, without the name of its file."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(one).partition("proxy.yaml:")[2].replace(" error:", "", 1) for one in caught.value.mistakes]
