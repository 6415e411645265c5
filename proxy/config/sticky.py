"""The block of a config file that keeps clients where they are. Whether it fits is seen in `placing`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from proxy.config.names import COOKIE, COOKIE_PATH, HASH_ON, SERVER_NAME
from proxy.config.policies import Block
from proxy.config.quantities import FLAG, choice, duration_from, or_word
from proxy.config.secret import AnySecret
from proxy.core.settings import HashOn, StickyPolicy

STICKY = StickyPolicy()


class Sticky(Block):
    """Keeps each client on one backend, and in one pool of a split, by a signed cookie."""

    cookie: Annotated[str | None, COOKIE] = None
    """The cookie's name. Backends don't see it. Routes of one host need different names if their pools differ."""
    hash_on: Annotated[HashOn | None, HASH_ON] = None
    """In place of a cookie, and in a split alone: the pool follows from this. Within a pool that is `balance: hash`."""
    ttl: Annotated[float, duration_from(1)] = STICKY.ttl
    """A cookie counts so long, and is renewed once half of it has passed."""
    path: Annotated[str, COOKIE_PATH] = STICKY.path
    """To which paths browsers send it."""
    domain: Annotated[str, SERVER_NAME] = STICKY.domain
    """The domain with all below it; without one, the host that was asked."""
    secure: Annotated[bool | None, or_word(FLAG, "auto")] = STICKY.secure
    """Whether browsers send it over TLS alone; `auto`: if it was given over TLS."""
    http_only: Annotated[bool, FLAG] = STICKY.http_only
    """Whether scripts in a page can't read it."""
    same_site: Annotated[str, choice("'same_site'", ["lax", "strict", "none"])] = STICKY.same_site
    """Whether it goes along with requests that other sites cause."""
    sign_with: AnySecret = Field(default_factory=lambda: None)
    """The key that signs it, and perhaps the one before, which is still good: separated by a space or a line's end.
    Without it, the key in `state_dir`, which is made once."""
