"""Writes with a key: done once, and told the truth about."""
