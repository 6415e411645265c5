// Reads /v1/events for as long as the page is open. EventSource can't send a bearer token, so this reads the stream of
// a fetch; what is lost is only what EventSource would do by itself, and that is done here: it connects again, says
// from which entry on it needs the journal, and notices a connection on which nothing comes any more.

import { request } from "./api.js";

const FIRST_WAIT = 250;
const LONGEST_WAIT = 5_000;
/** Milliseconds without one byte after which a connection is taken for dead. */
const SILENCE = 9_000;

/**
 * @param {{lastId: () => string, event: (name: string, data: any, id: string) => void,
 *          heard: (at: Date | null) => void, lost: (why: Error | null) => void}} listener
 */
export function openFeed(listener) {
  let stopped = false;
  let wait = FIRST_WAIT;
  let current = null;

  async function once() {
    const watchdog = (current = silenceBreaker());
    try {
      const headers = { Accept: "text/event-stream" };
      const lastId = listener.lastId();
      if (lastId) headers["Last-Event-ID"] = lastId;
      const answer = await request("v1/events", { headers, signal: watchdog.signal });
      const date = answer.headers.get("Date");
      listener.heard(date ? new Date(date) : null);
      const parser = new Parser((name, data, id) => {
        wait = FIRST_WAIT;
        listener.event(name, JSON.parse(data), id);
      });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        watchdog.reset();
        listener.heard(null);
        parser.feed(value);
      }
    } finally {
      watchdog.end();
    }
  }

  async function run() {
    while (!stopped) {
      let why = null;
      try {
        await once();
      } catch (error) {
        why = error;
      }
      if (stopped) return;
      listener.lost(why);
      if (why?.status === 401) return;
      await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
  }

  run();
  return () => {
    stopped = true;
    current?.end();
    current?.abort();
  };
}

/** Aborts a request on which nothing has come for `SILENCE`. */
function silenceBreaker() {
  const controller = new AbortController();
  let timer;
  const reset = () => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(new Error("nothing has come for too long")), SILENCE);
  };
  reset();
  return { signal: controller.signal, reset, end: () => clearTimeout(timer), abort: () => controller.abort() };
}

/** The event stream format of the HTML standard, as far as our server uses it. */
export class Parser {
  constructor(dispatch) {
    this.dispatch = dispatch;
    this.rest = "";
    this.begin();
  }

  begin() {
    this.name = "message";
    this.data = [];
    this.id = "";
  }

  feed(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  line(line) {
    if (line === "") {
      if (this.data.length) this.dispatch(this.name, this.data.join("\n"), this.id);
      this.begin();
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.name = value;
    else if (field === "data") this.data.push(value);
    else if (field === "id") this.id = value;
  }
}
