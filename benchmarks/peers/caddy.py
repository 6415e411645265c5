"""Caddy, on one core's worth of Go."""

from __future__ import annotations

from benchmarks.peers.contract import Setup, version_of

TITLE = "Caddy"
INSTALL = "apt-get install caddy"

_CONFIG = """\
{{
    admin off
    auto_https off
    grace_period 1s
    log {{
        level ERROR
    }}
}}
{site} {{
    bind 127.0.0.1
    {tls}
    @known path {paths}
    reverse_proxy @known {{
        to {backends}
        lb_policy least_conn
        lb_retries 2
        health_uri /healthz
        health_interval {interval}s
        health_timeout 1s
        fail_duration 5s
        max_fails 5
        unhealthy_status 5xx
        header_up X-Request-Id {{http.request.uuid}}
        transport http {{
            dial_timeout 1s
            response_header_timeout {answer}s
            keepalive 30s
            keepalive_idle_conns 4096
            keepalive_idle_conns_per_host 2048
            compression off
        }}
    }}
}}
"""


def version() -> str | None:
    """What is installed."""
    return version_of(["caddy", "version"], r"(\d+\.\d+\S*)")


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    tls = f"tls {setup.certificate.chain} {setup.certificate.key}" if setup.certificate else ""
    paths = ["*"] if setup.routes == 1 else [f"/r{number}/*" for number in range(setup.routes)]
    config = setup.folder / "Caddyfile"
    config.write_text(
        _CONFIG.format(
            site=f"{'https' if setup.certificate else 'http'}://:{setup.port}",
            tls=tls,
            paths=" ".join(paths),
            backends=" ".join(f"127.0.0.1:{port}" for port in setup.backends),
            interval=setup.probe_interval,
            answer=setup.answer_timeout,
        )
    )
    home = f"HOME={setup.folder}"
    cores = f"GOMAXPROCS={setup.workers}"
    return ["env", home, cores, "caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
