"""One module for each command of `failover-proxy`; `proxy.__main__` names them and loads only what is asked for."""
