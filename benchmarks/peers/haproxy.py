"""HAProxy, one thread."""

from __future__ import annotations

from benchmarks.peers.contract import Setup, version_of

TITLE = "HAProxy"
INSTALL = "apt-get install haproxy"

_CONFIG = """\
global
    nbthread {workers}
    maxconn 6000
    # Else it gives up idle backend connections from 1,500 clients on, and pays for new ones twice over.
    tune.pool-low-fd-ratio 80
    tune.pool-high-fd-ratio 90
    ssl-server-verify none
    stats socket {folder}/haproxy.sock mode 600
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server {answer}ms
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout tunnel 1h
    option redispatch 1
    option forwardfor
    retries 2
    retry-on conn-failure empty-response response-timeout 502 503 504
    http-reuse always
frontend web
    bind 127.0.0.1:{port}{tls}
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    http-request disable-l7-retry if METH_POST
    unique-id-format %{{+X}}o%ci%cp%Ts%rt%pid
    unique-id-header X-Request-Id
{routes}
backend app
    balance leastconn
    option httpchk
    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host shop.example
    default-server check inter {interval}ms fastinter 500ms fall 3 rise 2
    default-server observe layer7 error-limit 5 on-error mark-down
{servers}
"""


def version() -> str | None:
    """What is installed."""
    return version_of(["haproxy", "-v"], r"version (\S+)")


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    routes = "    default_backend app"
    if setup.routes > 1:
        table = setup.folder / "routes.map"
        table.write_text("".join(f"/r{number}/ app\n" for number in range(setup.routes)))
        routes = f"    use_backend %[path,map_beg({table})]"
    config = setup.folder / "haproxy.cfg"
    config.write_text(
        _CONFIG.format(
            workers=setup.workers,
            folder=setup.folder,
            answer=int(setup.answer_timeout * 1000),
            interval=int(setup.probe_interval * 1000),
            port=setup.port,
            tls=f" ssl crt {setup.certificate.bundle}" if setup.certificate else "",
            scheme="https" if setup.certificate else "http",
            routes=routes,
            servers="\n".join(f"    server b{port} 127.0.0.1:{port}" for port in setup.backends),
        )
    )
    return ["haproxy", "-db", "-f", str(config)]
