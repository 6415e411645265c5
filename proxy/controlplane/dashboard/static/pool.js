// One pool: how it stands in a sentence, its figures, who is active, where the traffic goes, and its backends.

import { Availability } from "./availability.js";
import { Backends } from "./backends.js";
import { number, words } from "./format.js";
import { Chip, Icon } from "./icons.js";
import { Place } from "./place.js";
import { Regions } from "./regions.js";
import { poolState, spoken } from "./states.js";
import { html, useState } from "./view.js";

export const anchor = (name) => `pool-${encodeURIComponent(name)}`;

/** Where there are many pools, those that are well begin folded. */
export function Pool({ pool, store, now, desk, isFolded }) {
  const [choice, choose] = useState(null);
  const isOpen = choice ?? !(isFolded && pool.state === "up" && !pool.pending);
  const id = anchor(pool.name);
  return html`
    <article class="card pool ${poolState(pool).tone}" id=${id} aria-labelledby="${id}-name">
      <header>
        <h2 id="${id}-name">${pool.name}</h2>
        <${Chip} state=${poolState(pool)} />
        <span class="mode">${[pool.mode, pool.balance && pool.balance.replaceAll("_", " ")].filter(Boolean).join(" · ")}</span>
        <${Figures} pool=${pool} />
        <button type="button" class="fold" aria-expanded=${isOpen ? "true" : "false"} aria-controls="${id}-body" onClick=${() => choose(!isOpen)}>
          <${Icon} name="chevron" /><span class="hidden">Details of ${pool.name}</span>
        </button>
      </header>
      <p class="sentence">${plain(spoken(pool.sentence))}</p>
      <div id="${id}-body" class="body" hidden=${!isOpen}>${isOpen && html`<${Body} pool=${pool} store=${store} now=${now} desk=${desk} />`}</div>
    </article>
  `;
}

const Body = ({ pool, store, now, desk }) => html`
  <${Place} pool=${pool} now=${now} desk=${desk} />
  <${Backends} pool=${pool} store=${store} now=${now} desk=${desk} />
  <div class="beneath">
    <${Regions} pool=${pool} />
    <${Availability} name=${pool.name} figures=${store.availability.get(`pool ${pool.name}`)} />
  </div>
  <${Toll} pool=${pool} />
  ${pool.keys && html`<${Keys} keys=${pool.keys} />`}
`;

function Figures({ pool }) {
  const inFlight = pool.backends.reduce((sum, backend) => sum + backend.in_flight, 0);
  return html`
    <dl class="figures">
      <div><dt>requests/s</dt><dd>${number(pool.requests_per_second)}</dd></div>
      <div class=${pool.failures_per_second > 0 ? "alarm" : ""}><dt>failed tries/s</dt><dd>${number(pool.failures_per_second)}</dd></div>
      <div><dt>in flight</dt><dd>${number(inFlight)}</dd></div>
      ${pool.waiting_requests > 0 && html`<div class="alarm"><dt>waiting</dt><dd>${number(pool.waiting_requests)}</dd></div>`}
    </dl>
  `;
}

/** What failures have cost since the start, and what was done about them; what never happened is not said. */
function Toll({ pool }) {
  const counts = [
    [pool.retries_total, "retried"],
    [pool.saved_requests_total, "saved by another try"],
    [pool.held_requests_total, "held"],
    [pool.retry_budget_exhausted_total, "not retried for want of budget"],
    [pool.unknown_outcomes_total, "writes of unknown outcome"],
    ...Object.entries(pool.waits_total).map(([how, n]) => [n, `waited for room: ${words(how)}`]),
    ...Object.entries(pool.hedges_total).map(([how, n]) => [n, `hedged: ${words(how)}`]),
  ].filter(([n]) => n > 0);
  if (counts.length === 0) return null;
  return html`<p class="keys">Since the start: ${counts.map(([n, what]) => `${number(n)} ${what}`).join(" · ")}.</p>`;
}

const Keys = ({ keys }) => html`
  <p class="keys">
    Keyed writes: ${number(keys.kept)} kept, ${number(keys.running)} running, ${number(keys.queued)} queued,
    <span class=${keys.unknown ? "alarm" : ""}> ${number(keys.unknown)} unknown</span>.
  </p>
`;

/** Without the state that the chip beside it says. */
function plain(sentence) {
  const rest = sentence.replace(/^[A-Z]+: /, "");
  return rest[0].toUpperCase() + rest.slice(1) + (rest.endsWith(".") ? "" : ".");
}
