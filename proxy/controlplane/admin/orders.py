"""What a person may order of an active-passive Pool over the admin API, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass

from proxy.controlplane.admin.problems import Problem

EXAMPLE = '{"to": "backup"}, or nothing to approve what is pending'


@dataclass(frozen=True, slots=True)
class FailoverOrder:
    """Who is to be the active one."""

    to: str | None = None
    """None: whoever waits for approval."""
    force: bool = False
    """Though it looks as if it were out."""


def parse_failover(body: bytes) -> FailoverOrder:
    """The order of a request's body. Raises Problem."""
    try:
        document = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Problem(400, f"the body is not JSON; send {EXAMPLE}") from None
    if not isinstance(document, dict) or not document.keys() <= {"to", "force"}:
        raise Problem(400, f'the body must be an object with "to", perhaps "force", and nothing else: {EXAMPLE}')
    to, force = document.get("to"), document.get("force", False)
    if not isinstance(to, str | None):
        raise Problem(400, '"to" must be the name of a backend')
    if not isinstance(force, bool):
        raise Problem(400, '"force" must be true or false')
    if force and to is None:
        raise Problem(400, '"force" needs "to"')
    return FailoverOrder(to, force)
