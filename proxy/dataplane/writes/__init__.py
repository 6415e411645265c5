"""Writes with an idempotency key, and those that are delivered later."""
