// The first look: one sentence that says how things stand, the figures of all pools together, and what needs a person.

import { duration, number } from "./format.js";
import { Icon } from "./icons.js";
import { anchor } from "./pool.js";
import { POOL_STATES, isUrgent, poolState, spoken, worst } from "./states.js";
import { html } from "./view.js";

export function Banner({ store, pools, now }) {
  const state = POOL_STATES[worst(pools)];
  const isTroubled = store.about.problems.length > 0 || store.about.readiness !== "ready";
  const tone = isTroubled && state.tone === "good" ? "warn" : state.tone;
  return html`
    <section class="banner ${tone} ${store.isStale ? "stale" : ""}" aria-label="How things stand">
      <span class="sign"><${Icon} name=${state.icon} /></span>
      <div>
        <div role="status" aria-live="polite" aria-atomic="true"><h1><${Sentence} text=${spoken(sentenceOf(pools))} /></h1></div>
        <${Attention} store=${store} pools=${pools} now=${now} />
      </div>
      <${Figures} store=${store} pools=${pools} />
    </section>
  `;
}

/** What matters most is said first, and large. */
function Sentence({ text }) {
  const [first, ...facts] = text.split("; ");
  const [, headline, names] = first.match(/^(.*?)(?: \((.*)\))?$/);
  const rest = [names, ...facts].filter(Boolean).join("; ");
  return html`${headline}${rest && html`<span class="hidden">; </span><span class="rest">${names ? rest : capital(rest)}</span>`}`;
}

/** Of one pool its own sentence; of several, that of the worst. The others are listed below. */
function sentenceOf(pools) {
  const worstPool = worstOf(pools);
  if (worstPool || pools.length === 1) return (worstPool ?? pools[0]).sentence;
  return `UP: ${pools.length === 2 ? "both" : `all ${pools.length}`} pools are well`;
}

/** The first of those in the worst state; undefined where all are up. */
const worstOf = (pools) => pools.find((pool) => pool.state !== "up" && pool.state === worst(pools));

function Attention({ store, pools, now }) {
  const { problems, readiness } = store.about;
  const items = [
    ...(readiness !== "ready" ? [html`<li key="readiness">The proxy is not ready: ${readiness}.</li>`] : []),
    ...problems.map((problem) => html`<li key=${problem}>${problem}</li>`),
    ...pools.filter(isUrgent).map((pool) => pendingItem(pool, now)),
    ...pools.filter((pool) => pool.state !== "up" && !isUrgent(pool) && pool !== worstOf(pools)).map(troubledItem),
  ];
  if (items.length === 0) return null;
  return html`<ul class="attention" role="list">${items}</ul>`;
}

const pendingItem = (pool, now) => html`
  <li key="pending ${pool.name}">
    <a href="#${anchor(pool.name)}">${pool.name}</a>: a ${pool.pending.cause} to ${pool.pending.to} has waited for your approval for ${duration((now - Date.parse(pool.pending.since)) / 1000)}.
  </li>
`;

const troubledItem = (pool) => html`
  <li key=${pool.name}><a href="#${anchor(pool.name)}">${pool.name}</a>: ${poolState(pool).word}, ${number(pool.available)} of ${number(pool.total)} serve.</li>
`;

function Figures({ store, pools }) {
  const backends = pools.flatMap((pool) => pool.backends);
  const total = (name) => backends.reduce((sum, backend) => sum + (backend[name] ?? 0), 0);
  const hour = [...store.availability.entries()].filter(([key]) => key.startsWith("pool ")).map(([, one]) => one.windows["1h"]);
  const inTheHour = (name) => (hour.length ? number(hour.reduce((sum, one) => sum + (one?.[name] ?? 0), 0)) : "–");
  const shown = [
    ["requests/s", number(total("requests_per_second"))],
    ["in flight", number(total("in_flight"))],
    ["failed, last hour", inTheHour("bad")],
    ["saved, last hour", inTheHour("saved")],
  ];
  return html`<dl class="figures">${shown.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
