"""Certificates for tests, made by the openssl command: an authority, and what it signs."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*arguments: str | Path, stdin: str = "") -> str:
    """Run openssl; what it prints."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    @property
    def files(self) -> dict[str, str]:
        """As a config names them."""
        return {"cert": str(self.cert), "key": str(self.key)}

    def bundle(self) -> Path:
        """Both in one file."""
        file = self.cert.with_suffix(".pem")
        file.write_text(self.cert.read_text() + self.key.read_text())
        return file

    def context(self, ca: Path | None = None, **attributes: Any) -> ssl.SSLContext:
        """For a server with it; with `ca`, clients must show certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        if ca is not None:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
        for name, value in attributes.items():
            setattr(context, name, value)
        return context


class Authority:
    """Signs certificates; its own is `cert`."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.cert, self._key = folder / "ca.crt", folder / "ca.key"
        subject = ("-subj", f"/CN={name}", "-days", "30")
        openssl("req", "-x509", *CURVE, "-keyout", self._key, "-out", self.cert, *subject)

    def issue(
        self,
        *names: str,
        subject: str = "/O=Shop/CN=test",
        days: int = 30,
        file: str = "",
        extensions: str | None = None,
    ) -> Pair:
        """A certificate for these names, or for `localhost` and 127.0.0.1; with `days=-1` it expired yesterday."""
        stem = file or (names[0] if names else "localhost").replace("*", "any")
        pair = Pair(self._folder / f"{stem}.crt", self._folder / f"{stem}.key")
        request, added = self._folder / f"{stem}.csr", self._folder / f"{stem}.ext"
        alternative = ",".join(f"DNS:{name}" for name in names) or "DNS:localhost,IP:127.0.0.1"
        added.write_text(f"subjectAltName={alternative}\n" if extensions is None else extensions)
        openssl("req", *CURVE, "-keyout", pair.key, "-out", request, "-subj", subject, "-utf8")
        signer = ("-CA", self.cert, "-CAkey", self._key, "-days", str(days))
        openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-out",
            pair.cert,
            *signer,
            *(("-extfile", added) if added.stat().st_size else ()),
        )
        return pair

    def trusting(self, pair: Pair | None = None, **attributes: Any) -> ssl.SSLContext:
        """For a client that believes this authority and, with `pair`, shows a certificate."""
        context = ssl.create_default_context(cafile=self.cert)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        for name, value in attributes.items():
            setattr(context, name, value)
        return context
