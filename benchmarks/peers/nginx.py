"""nginx, one worker. The free edition has no probes of its own: it learns of failures from its traffic alone."""

from __future__ import annotations

from benchmarks.peers.contract import Setup, version_of

TITLE = "nginx"
INSTALL = "apt-get install nginx-light"

_CONFIG = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
worker_processes {workers};
worker_rlimit_nofile 16000;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    server_tokens off;
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    client_body_buffer_size 128k;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream app {{
        zone app 4m;
        least_conn;
{servers}
        keepalive 2048;
        keepalive_requests 1000000000;
        keepalive_timeout 30s;
    }}
    server {{
        listen 127.0.0.1:{port}{tls} backlog=4096;
        {certificate}
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Request-Id $request_id;
        proxy_connect_timeout 1s;
        proxy_read_timeout {answer}ms;
        proxy_max_temp_file_size 0;
        proxy_next_upstream error timeout http_502 http_503 http_504;
        proxy_next_upstream_tries 3;
{routes}
    }}
}}
"""


def version() -> str | None:
    """What is installed."""
    return version_of(["nginx", "-v"], r"nginx/(\S+)")


def command(setup: Setup) -> list[str]:
    """Write the config; start it so."""
    routes = ["/"] if setup.routes == 1 else [f"/r{number}/" for number in range(setup.routes)]
    certificate = ""
    if setup.certificate:
        certificate = f"ssl_certificate {setup.certificate.chain}; ssl_certificate_key {setup.certificate.key};"
    config = setup.folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            folder=setup.folder,
            answer=int(setup.answer_timeout * 1000),
            workers=setup.workers,
            port=setup.port,
            tls=" ssl" if setup.certificate else "",
            certificate=certificate,
            routes="\n".join(f"        location {route} {{ proxy_pass http://app; }}" for route in routes),
            servers="\n".join(
                f"        server 127.0.0.1:{port} max_fails=5 fail_timeout=5s;" for port in setup.backends
            ),
        )
    )
    return ["nginx", "-p", str(setup.folder), "-e", str(setup.folder / "error.log"), "-c", str(config)]
