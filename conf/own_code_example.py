"""What conf/own-code.yaml names: a balancer for a shop with a warehouse in each region (docs/extending.md)."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.core.extending import BackendView, RequestView

REGIONS = {"DE": "eu", "FR": "eu", "US": "us"}


class NearestWarehouse:
    """The least busy backend in the region of the client's country; None leaves the choice to `least_requests`."""

    def pick(self, request: RequestView, candidates: Sequence[BackendView]) -> BackendView | None:
        """Called for each request, with those backends that may serve it."""
        region = REGIONS.get(request.header("X-Country") or "")
        near = [one for one in candidates if one.region == region]
        return min(near, key=lambda one: one.in_flight, default=None)
