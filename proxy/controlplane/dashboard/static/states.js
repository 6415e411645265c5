// The words for states: an icon, a word and a tone for each. Why a backend is out and what ends it is told by the API;
// this only puts it into words that count down. A reason that the table does not know is shown by its own name.

import { clock, secondsUntil, words } from "./format.js";

/** Tones: good, warm (on its way), idle (not its turn), human (a person said so), warn, bad. */
const SERVING = { icon: "check", word: "serving", tone: "good" };

/** The strongest first: what a Backend is called by where several reasons hold. */
const REASONS = {
  maint: { icon: "wrench", word: "maintenance", tone: "human", ends: "Back when" },
  drain: { icon: "drain", word: "draining", tone: "human", ends: "Back when" },
  failed_probes: { icon: "cross", word: "down", tone: "bad", ends: "Back after" },
  breaker_open: { icon: "bolt", word: "breaker open", tone: "bad", ends: "Back after" },
  outlier: { icon: "outlier", word: "ejected", tone: "bad", ends: "Back after" },
  damped: { icon: "wave", word: "damped", tone: "warn", ends: "Back after" },
  full: { icon: "full", word: "full", tone: "warn", ends: "Takes more when" },
  unchecked: { icon: "clock", word: "unchecked", tone: "warn", ends: "Serves after" },
  not_leader: { icon: "standby", word: "follower", tone: "idle" },
  lagging: { icon: "clock", word: "lagging", tone: "warn", ends: "Back when" },
  standby: { icon: "standby", word: "standby", tone: "idle" },
};
const ORDER = Object.keys(REASONS);
const CALM = new Set(["standby", "not_leader", "full"]);
const TRIED = new Set(["breaker_open", "outlier"]);

export const POOL_STATES = {
  up: { icon: "check", word: "up", tone: "good" },
  degraded: { icon: "alert", word: "degraded", tone: "warn" },
  panic: { icon: "alert", word: "panic", tone: "bad" },
  down: { icon: "cross", word: "down", tone: "bad" },
};
const RANK = ["up", "degraded", "panic", "down"];

export const poolState = (pool) => POOL_STATES[pool.state] ?? { icon: "alert", word: words(pool.state), tone: "warn" };

/** The worst state of all pools. */
export function worst(pools) {
  return pools.reduce((worse, pool) => (RANK.indexOf(pool.state) > RANK.indexOf(worse) ? pool.state : worse), "up");
}

const NAMED = new RegExp(`\\b(${ORDER.filter((reason) => reason.includes("_")).join("|")})\\b`, "g");

const DATE = /\d{4}-\d\d-\d\dT[\d:.]+Z/g;

/** A sentence of the API with its names of reasons as words, and its dates as times of the day. */
export const spoken = (sentence) => sentence.replace(NAMED, words).replace(DATE, clock);

/** Whether a switch waits for a person while the active backend is out; a failback can wait as long as it likes. */
export const isUrgent = (pool) => pool.pending !== null && pool.pending.cause === "failover";

/** Whether a person should look at it: out for another reason than that it is not its turn, or that it has its fill. */
export const isOut = (backend) => backend.reasons.some((reason) => !CALM.has(reason));

/** What a Backend is called now. */
export function backendState(backend) {
  const reason = mainReason(backend);
  if (!reason) return backend.weight_share < 1 ? warming(backend) : SERVING;
  const known = REASONS[reason] ?? { icon: "alert", word: words(reason), tone: "warn" };
  if (reason === "drain" && backend.drained) return { ...known, word: "drained" };
  if (isTried(backend, reason)) return { ...known, icon: "trial", word: "on trial", tone: "warn" };
  return known;
}

/** Half-open: requests are let through, one at a time, to see whether it is well. */
const isTried = (backend, reason) => TRIED.has(reason) && backend.breaker.state !== "open";

const warming = (backend) => ({ icon: "clock", word: `at ${Math.round(backend.weight_share * 100)} %`, tone: "warm" });

const mainReason = (backend) => ORDER.find((reason) => backend.reasons.includes(reason)) ?? backend.reasons[0];

const mainVeto = (backend) => backend.vetoes.find((veto) => veto.reason === mainReason(backend));

/** Why a Backend gets no new request, in the words of what decided it; empty where it serves or it is not its turn. */
export const why = (backend) => causes(backend, (veto) => veto.reason !== "standby");

/** Why it is not its turn. */
export const whyStandby = (backend) => causes(backend, (veto) => veto.reason === "standby");

const causes = (backend, chosen) =>
  backend.vetoes
    .filter(chosen)
    .map((veto) => veto.cause)
    .join("; ");

/** What ends the strongest reason, and when; empty where nothing has to end. */
export function ends(backend, now) {
  const veto = mainVeto(backend);
  if (!veto || veto.reason === "standby") return "";
  if (veto.until !== null) return counted(veto, now);
  if (veto.reason === "drain" && backend.clients_until) return `Cookies keep clients there until ${clock(backend.clients_until)}.`;
  const begin = REASONS[veto.reason]?.ends;
  return begin ? `${begin} ${veto.ends_by}.` : `Ends by: ${veto.ends_by}.`;
}

function counted(veto, now) {
  const seconds = secondsUntil(veto.until, now);
  const what = TRIED.has(veto.reason) ? "First trial" : "Back";
  return seconds > 0 ? `${what} in ${seconds} s.` : `${what} any moment.`;
}
