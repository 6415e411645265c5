"""A soak: mixed traffic, aborts and kills for minutes, and a look at what is left in the proxy's processes."""
