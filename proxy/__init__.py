"""failover-proxy: a Layer-7 reverse proxy that keeps services reachable while parts of them fail."""

__version__ = "0.1.0"
