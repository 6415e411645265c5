"""Programs that show the proxy at work: a sample backend with faults on demand, the quickstart, the demo.

Nothing of the proxy imports this package.
"""
