"""Serves the dashboard's files, which are part of the package.

They hold nothing that anybody must not see, so they need no token: the page asks for it, and sends it with each
question to the API. Nothing is put together here: what the files show comes from `/v1/…`, in the browser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from aiohttp import web

PREFIX = "/dashboard/"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
"""No script and no style but those of the package, no page around ours, and nowhere to send anything else."""
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


class File(NamedTuple):
    """One file as it is sent."""

    body: bytes
    media_type: str

    def response(self) -> web.Response:
        """It is stored nowhere: after a replacement of the program its page is the right one at once."""
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "Vary": "Accept"}
        return web.Response(body=self.body, content_type=self.media_type, charset="utf-8", headers=headers)


class Dashboard:
    """The files by their path below `PREFIX`, read once."""

    def __init__(self) -> None:
        self.files: Mapping[str, File] = dict(_read(files(__package__) / "static"))

    def page(self) -> web.Response:
        """The page itself."""
        return self.files["index.html"].response()

    def route(self) -> web.RouteDef:
        """Where its files are."""
        return web.get(f"{PREFIX}{{file:.+}}", self._get_file)

    async def _get_file(self, request: web.Request) -> web.Response:
        """One of its files; a path that is not known leads nowhere."""
        found = self.files.get(request.match_info["file"])
        if found is None:
            raise web.HTTPNotFound
        return found.response()


def is_for_all(request: web.Request) -> bool:
    """Whether this asks for the page or one of its files, which need no token."""
    return request.path.startswith(PREFIX) or (request.path == "/" and wants_page(request))


def wants_page(request: web.Request) -> bool:
    """Whether a browser asks; whoever takes anything, as curl does, gets plain text."""
    return "text/html" in request.headers.get("Accept", "").lower()


def _read(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, File]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif (suffix := f".{entry.name.rpartition('.')[2]}") in TYPES:
            yield f"{prefix}{entry.name}", File(entry.read_bytes(), TYPES[suffix])
