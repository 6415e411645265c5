"""The supervisor process: it binds, starts and replaces workers, probes Backends, and answers the administrator.

No request of a client passes through here. The planes never import each other; they share `proxy.core.messages`.
"""
