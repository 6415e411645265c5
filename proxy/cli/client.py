"""The command line's side of the admin API: one request, one JSON answer.

Only the standard library, so that a command answers at once.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

DEFAULT_ADMIN = "127.0.0.1:9900"
TIMEOUT = 5.0
"""Seconds to wait for the admin endpoint."""


class Refused(Exception):  # noqa: N818 - says what became of the request
    """The admin endpoint said no; the problem document says why."""

    def __init__(self, status: int, document: Any) -> None:
        super().__init__(document.get("detail", ""))
        self.status = status
        self.document = document


class Unreachable(Exception):  # noqa: N818 - says what the admin endpoint is
    """The admin endpoint gave no usable answer; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the admin endpoint is: host and port, or the path of a Unix socket."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"http://{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """`host:port`, `http://host:port` or `unix:/path`."""
    if text.startswith("unix:/"):
        return Endpoint("localhost", 0, text.removeprefix("unix:"))
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "http" or not parts.hostname or port is None or parts.path.strip("/"):
        raise click.UsageError(f"--admin: {text} is not an address; write host:port, http://host:port or unix:/path")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Endpoint(host, port)


def read_token(path: Path | None) -> str:
    """From a file, or from the environment."""
    source = "FAILOVER_PROXY_TOKEN" if path is None else f"--token-file {path}"
    try:
        token = os.environ.get("FAILOVER_PROXY_TOKEN", "") if path is None else path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(f"{source}: it can't be read") from None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise click.UsageError(f"{source}: a token is one line of ASCII letters, digits and signs, without spaces")
    return token


@dataclass(frozen=True, slots=True)
class Caller:
    """A person who may ask an admin endpoint."""

    endpoint: Endpoint
    token: str

    def ask(self, method: str, target: str, document: object = None, timeout: float = TIMEOUT) -> Any:
        """Send one request; the JSON of the answer, or Refused. Ends the command where nobody answers."""
        try:
            return self.try_to_ask(method, target, document, timeout)
        except Unreachable as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)

    def try_to_ask(self, method: str, target: str, document: object = None, timeout: float = TIMEOUT) -> Any:
        """The same, for who can go on where nobody answers. Raises Refused or Unreachable."""
        status, answer = exchange(self.endpoint, method, target, self.token, document, timeout=timeout)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(status, answer)
        return answer

    def saying(self, refused: Refused) -> str:
        """What was answered, and by whom."""
        return f"the admin endpoint {self.endpoint} answers {refused.status}: {refused}"


def admin_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options by which a command finds its admin endpoint; it gets a Caller."""

    @click.option(
        "--admin",
        envvar="FAILOVER_PROXY_ADMIN",
        default=DEFAULT_ADMIN,
        show_default=True,
        metavar="ADDRESS",
        help="The admin endpoint: host:port, a URL, or unix:/path. Also by FAILOVER_PROXY_ADMIN.",
    )
    @click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with the bearer token. Also by FAILOVER_PROXY_TOKEN.",
    )
    @wraps(command)
    def with_caller(*arguments: Any, admin: str, token_file: Path | None, **options: Any) -> None:
        command(Caller(parse_endpoint(admin), read_token(token_file)), *arguments, **options)

    return with_caller


def exchange(
    endpoint: Endpoint, method: str, target: str, token: str, document: object, *, timeout: float = TIMEOUT
) -> tuple[int, Any]:
    """Send one request; status and JSON of the answer, whatever it says, or Unreachable."""
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = None if document is None else json.dumps(document)
    connection = _connection(endpoint, timeout)
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        text = answer.read()
    except TimeoutError as error:
        done = "" if method == "GET" else "; the order may have been carried out all the same"
        raise Unreachable(f"the admin endpoint {endpoint} did not answer within {timeout:g} s{done}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else error
        raise Unreachable(
            f"the admin endpoint {endpoint} can't be reached: {reason}\n"
            "Is the proxy running? Say where with --admin ADDRESS or FAILOVER_PROXY_ADMIN."
        ) from error
    finally:
        connection.close()
    return answer.status, _parse(endpoint, answer.status, text)


def _parse(endpoint: Endpoint, status: int, text: bytes) -> Any:
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise Unreachable(
            f"the admin endpoint {endpoint} wants a token: give it with --token-file FILE or FAILOVER_PROXY_TOKEN"
        )
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict) or (status >= http.HTTPStatus.BAD_REQUEST and "detail" not in document):
        raise Unreachable(f"{endpoint} answers, but is not the admin endpoint of a failover-proxy")
    return document


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    if endpoint.path:
        return _UnixConnection(endpoint.path, timeout)
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)
