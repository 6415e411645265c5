"""Active probes of the Backends, and what they say of certificates."""
