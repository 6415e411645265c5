"""Properties are about values, not about speed: a busy machine must not fail them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("core", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("core")
