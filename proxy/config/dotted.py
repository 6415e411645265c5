"""How a user's own code is named in a config file, alone or in place of a word. Whether it is there sees `own_code`."""

from __future__ import annotations

from proxy.config.quantities import Quantity, choice, text
from proxy.core.pools.balancer import ALGORITHMS

OWN_CODE = text(
    "`module:name`",
    "the dotted path of own code",
    r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*",
    "shop.routing:NearestWarehouse",
)


BUILT_IN = choice("'balance'", list(ALGORITHMS))


def read_balancer(value: object) -> str:
    """A name of `ALGORITHMS`, or own code."""
    return str((OWN_CODE if isinstance(value, str) and ":" in value else BUILT_IN).read(value))


BALANCER = Quantity(
    f"{BUILT_IN.name.replace(' or ', ', ')} or `module:name`",
    read_balancer,
    {"anyOf": [BUILT_IN.schema, OWN_CODE.schema]},
)
