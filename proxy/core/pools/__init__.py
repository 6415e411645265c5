"""Backends and Pools: who may serve, and who of them serves."""
