"""Measures this proxy beside others in one run; `python -m benchmarks --help`. No part of the product imports it."""
