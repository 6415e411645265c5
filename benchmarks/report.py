"""Tables in the terminal."""

from __future__ import annotations

from statistics import median

from benchmarks.runner import Measurement


def cpu_us(each: Measurement) -> float:
    assert each.load
    return each.load.cpu_ns / each.load.requests / 1000


def table(measurements: list[Measurement]) -> str:
    peers = list(dict.fromkeys(m.peer for m in measurements))
    good = {(m.peer, m.round): m for m in measurements if m.load and m.load.requests}
    out = []
    for p in peers:
        ms = [m for (q, _), m in good.items() if q == p]
        if not ms:
            out.append(f"{p:10} {next(m.trouble for m in measurements if m.peer == p)}")
            continue
        values = [cpu_us(m) for m in ms]
        ratios = [cpu_us(m) / cpu_us(good["haproxy", m.round]) for m in ms if ("haproxy", m.round) in good]
        lats = {k: median(m.load.latency_us[k] for m in ms) for k in ("p50", "p99", "p99.9")}
        errors: dict[str, int] = {}
        for m in ms:
            for k, v in m.load.errors.items():
                errors[k] = errors.get(k, 0) + v
        out.append(f"{p:10} {median(values):7.2f} ({min(values):.2f}-{max(values):.2f}) x{median(ratios) if ratios else 0:.2f}  "
          f"{median(m.load.requests/m.load.seconds for m in ms):8.0f}/s client {median(m.load.client_cpu for m in ms):.2f} {lats} {errors}")
    return "\n".join(out)
