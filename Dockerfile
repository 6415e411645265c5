# One image for the proxy and for the sample backends.
FROM python:3.13-slim

WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: -r requirements.lock
COPY proxy ./proxy
RUN python -m compileall -q proxy

# A number and not a name, so that Kubernetes can tell that it is not root.
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-m", "proxy", "status", "--ready"]
ENTRYPOINT ["python", "-m", "proxy"]
CMD ["run", "/etc/failover-proxy.yaml"]
