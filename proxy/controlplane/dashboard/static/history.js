// The last five minutes of each backend, as far as this page has seen them: what the sparklines draw.

const POINTS = 150;
/** Milliseconds between two points. */
export const EVERY = 2_000;

export class History {
  constructor() {
    this.series = new Map();
    this.ticks = 0;
  }

  /** Note where all backends stand now. */
  sample(pools) {
    this.ticks += 1;
    for (const pool of pools.values()) for (const backend of pool.backends) this.note(pool.name, backend);
  }

  note(pool, backend) {
    const key = `${pool}/${backend.name}`;
    let one = this.series.get(key);
    if (!one) this.series.set(key, (one = { requests: [], p50: [], p99: [] }));
    push(one.requests, backend.requests_per_second ?? null);
    push(one.p50, backend.latency_ms?.p50 ?? null);
    push(one.p99, backend.latency_ms?.p99 ?? null);
  }

  of(pool, backend) {
    return this.series.get(`${pool}/${backend}`);
  }

  /** Forget backends that are gone. */
  keepOnly(pools) {
    for (const key of this.series.keys()) {
      const [pool, ...rest] = key.split("/");
      if (!pools.get(pool)?.index.has(rest.join("/"))) this.series.delete(key);
    }
  }
}

function push(values, value) {
  values.push(value);
  if (values.length > POINTS) values.shift();
}
