// All that the page knows. Objects are replaced, never changed, where something in them has changed: so a component
// that got the same object as before has nothing to draw.

import { get, hasToken } from "./api.js";
import { openFeed } from "./feed.js";
import { History } from "./history.js";

const ENTRIES_KEPT = 400;
const AVAILABILITY_EVERY = 10_000;
/** Milliseconds of silence after which the page says that what it shows is old. */
const STALE = 5_000;
/** Milliseconds by which this machine's clock must differ from the proxy's to be put right; `Date` has whole seconds. */
const CLOCK_STEP = 2_000;

export class Store {
  constructor(changed) {
    this.changed = changed;
    this.history = new History();
    this.link = "connecting";
    this.problem = "";
    this.heardAt = 0;
    this.skew = 0;
    this.about = null;
    this.pools = null;
    this.journal = [];
    this.journalProblem = "";
    this.availability = new Map();
    this.stop = () => {};
    this.turn = 0;
  }

  /** The proxy's wall clock, in milliseconds. */
  now() {
    return Date.now() + this.skew;
  }

  get isStale() {
    return this.link !== "live" || Date.now() - this.heardAt > STALE;
  }

  async open() {
    this.stop();
    const turn = ++this.turn;
    await this.loadJournal();
    if (turn !== this.turn) return;
    const close = openFeed({
      lastId: () => (this.journal.length ? String(this.journal[this.journal.length - 1].id) : ""),
      event: (name, data) => this.take(name, data),
      heard: (date) => this.heard(date),
      lost: (why) => this.lost(why),
    });
    const polling = setInterval(() => this.loadAvailability(), AVAILABILITY_EVERY);
    this.loadAvailability();
    this.stop = () => {
      close();
      clearInterval(polling);
    };
  }

  // What the feed says

  heard(date) {
    this.heardAt = Date.now();
    if (date === null) return;
    const skew = date.getTime() - Date.now();
    this.skew = Math.abs(skew) > CLOCK_STEP ? skew : 0;
  }

  lost(why) {
    const locked = why?.status === 401;
    this.link = locked ? "locked" : "lost";
    this.problem = locked && hasToken() ? "The proxy does not know this token." : (why?.message ?? "");
    if (locked) this.stop();
    this.changed();
  }

  take(name, data) {
    if (name === "snapshot") this.takeSnapshot(data);
    else if (name === "pools") this.takePools(data);
    else if (name === "proxy") this.about = { ...this.about, ...data };
    else if (name === "journal") this.takeEntries([data]);
    this.changed();
  }

  takeSnapshot({ pools, ...about }) {
    if (this.link !== "live") this.loadAvailability();
    if (this.link === "lost") this.loadJournal();
    this.link = "live";
    this.problem = "";
    this.about = about;
    const before = this.pools;
    this.pools = new Map(pools.map((pool) => [pool.name, replace(before?.get(pool.name), pool)]));
    this.history.keepOnly(this.pools);
  }

  /** Pools that have changed, with those of their backends that have; who comes and goes is told by a snapshot. */
  takePools({ pools }) {
    this.pools = new Map(this.pools);
    for (const changed of pools) this.pools.set(changed.name, merge(this.pools.get(changed.name), changed));
  }

  /** What an order was answered with is shown at once. */
  takeBackend(document) {
    const pool = this.pools.get(document.pool);
    if (!pool) return;
    this.pools = new Map(this.pools).set(pool.name, merge(pool, { ...pool, backends: [document] }));
    this.changed();
  }

  takePool(document) {
    this.pools = new Map(this.pools).set(document.name, merge(this.pools.get(document.name), document));
    this.changed();
  }

  /** The newest entries. A proxy that remembers nothing numbers them from 1 again: then what is here is of another one. */
  takeJournal({ entries, last_id: lastId }) {
    const times = new Map(entries.map((entry) => [entry.id, entry.time]));
    const isAnother = this.journal.some((entry) => entry.id > lastId || (times.get(entry.id) ?? entry.time) !== entry.time);
    // What came while the answer was under way is later than all of it.
    const newest = entries.at(-1)?.time ?? "";
    if (isAnother) this.journal = this.journal.filter((entry) => entry.time >= newest && !times.has(entry.id));
    this.takeEntries(entries);
  }

  takeEntries(entries) {
    const known = new Set(this.journal.map((entry) => entry.id));
    const fresh = entries.filter((entry) => !known.has(entry.id));
    if (fresh.length === 0) return;
    const all = [...this.journal, ...fresh].sort((a, b) => a.id - b.id);
    this.journal = all.slice(-ENTRIES_KEPT);
  }

  // What is asked for

  async loadJournal() {
    try {
      this.takeJournal(await get(`v1/journal?limit=${ENTRIES_KEPT}`));
      this.journalProblem = "";
    } catch (error) {
      this.journalProblem = error.message;
    }
    this.changed();
  }

  async loadAvailability() {
    try {
      const { pools, routes } = await get("v1/availability");
      this.availability = new Map([
        ...pools.map((one) => [`pool ${one.name}`, one]),
        ...routes.map((one) => [`route ${one.name}`, one]),
      ]);
    } catch {
      return;
    }
    this.changed();
  }
}

/** A pool as a snapshot tells it. */
function replace(before, pool) {
  const known = (name) => before?.backends[before.index.get(name)];
  const backends = pool.backends.map((backend) => withProbes(known(backend.name), backend));
  return { ...pool, backends, index: new Map(backends.map((backend, place) => [backend.name, place])) };
}

const PROBES_KEPT = 12;

/** The API tells the last few probes; those before them are kept here. */
function withProbes(before, backend) {
  const { health } = backend;
  const oldest = health.last[0]?.at ?? "";
  const earlier = before?.health.last.filter((probe) => probe.at < oldest) ?? [];
  if (earlier.length === 0) return backend;
  return { ...backend, health: { ...health, last: [...earlier, ...health.last].slice(-PROBES_KEPT) } };
}

/** A pool with some of its backends replaced; order stays, newcomers come last. */
function merge(pool, changed) {
  if (!pool) return replace(null, changed);
  const backends = [...pool.backends];
  const index = new Map(pool.index);
  for (const backend of changed.backends) {
    if (!index.has(backend.name)) index.set(backend.name, backends.length);
    const place = index.get(backend.name);
    backends[place] = withProbes(backends[place], backend);
  }
  return { ...pool, ...changed, backends, index };
}
