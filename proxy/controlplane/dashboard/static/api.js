// Talks to the admin API of the proxy that this page came from. The token stays in this tab and in one header: it is
// never part of a URL, and never in storage that outlives the tab.

const KEPT = "failover-proxy-token";
let token = "";
try {
  token = sessionStorage.getItem(KEPT) ?? "";
} catch {
  // Without storage the token is asked for again after each reload.
}

/** What the API refuses, in its own words (RFC 9457). */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const hasToken = () => token !== "";

export function useToken(given) {
  token = given;
  try {
    if (given) sessionStorage.setItem(KEPT, given);
    else sessionStorage.removeItem(KEPT);
  } catch {
    // As above.
  }
}

/** fetch with the token; a Problem if the answer is not a good one. */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const answer = await fetch(path, { cache: "no-store", credentials: "omit", ...options, headers });
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

async function problemOf(answer) {
  const document = await answer.json().catch(() => ({}));
  return new Problem(answer.status, document.detail ?? `the proxy answers ${answer.status}`);
}

const PATIENCE = 10_000;
/** A failover is answered when every worker has followed, for which the proxy waits ten seconds itself. */
const PATIENCE_WITH_ORDERS = 15_000;

export async function get(path) {
  const answer = await request(path, { signal: AbortSignal.timeout(PATIENCE) });
  return answer.json();
}

async function send(method, path, document) {
  const body = document === undefined ? undefined : JSON.stringify(document);
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  try {
    const answer = await request(path, { method, body, headers, signal: AbortSignal.timeout(PATIENCE_WITH_ORDERS) });
    return await answer.json();
  } catch (error) {
    throw error.name === "TimeoutError" ? new Error("The proxy did not answer: the order may have been carried out all the same.") : error;
  }
}

const poolPath = (pool) => `v1/pools/${encodeURIComponent(pool)}`;

export const setState = (pool, backend, state) =>
  send("PATCH", `${poolPath(pool)}/backends/${encodeURIComponent(backend)}`, { state });
export const failover = (pool, to, force) =>
  send("POST", `${poolPath(pool)}/failover`, to === null ? {} : force ? { to, force } : { to });
export const failback = (pool) => send("POST", `${poolPath(pool)}/failback`);
