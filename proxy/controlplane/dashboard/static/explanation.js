// What would become of a request, as /v1/explain tells it: the route and why not an earlier one, the pool, every backend.

import { count, part, words } from "./format.js";
import { Chip } from "./icons.js";
import { backendState, poolState } from "./states.js";
import { html } from "./view.js";

const MOST = 12;

export const Explanation = ({ told }) => html`
  <p class="verdict">${told.sentence}.</p>
  ${told.route && html`<${Route} told=${told} />`}
  ${told.choices.map((choice) => html`<${Choice} key=${choice.pool} choice=${choice} />`)}
`;

const Route = ({ told: { route, earlier, earlier_left_out: left } }) => html`
  <section class="step">
    <h3>Route ${route}</h3>
    ${earlier.length === 0
      ? html`<p class="note">It is the first.</p>`
      : html`<ul class="earlier" role="list">
          ${earlier.map((one) => html`<li key=${one.route}><b>${one.route}</b> does not match: ${one.why_not}</li>`)}
          ${left > 0 && html`<li>and ${count(left, "other")} before it</li>`}
        </ul>`}
  </section>
`;

const Choice = ({ choice }) => html`
  <section class="step">
    <h3>
      Pool ${choice.pool}${choice.share < 1 ? html` <small>${part(choice.share)} of such requests</small>` : ""}
      ${choice.state && html` <${Chip} state=${poolState(choice)} />`}
    </h3>
    <p>${capital(choice.sentence)}. <span class="note">${capital(choice.repeats)}.</span></p>
    <ul class="candidates" role="list">
      ${choice.backends.slice(0, MOST).map((backend) => html`<${Candidate} key=${backend.name} backend=${backend} isPicked=${backend.name === choice.picked} />`)}
      ${choice.backends.length > MOST && html`<li class="note">and ${count(choice.backends.length - MOST, "other")}</li>`}
    </ul>
    <details>
      <summary>Timeouts and retries</summary>
      <dl>${Object.entries({ ...choice.timeouts, ...choice.retries }).map(([name, value]) => html`<div key=${name}><dt>${words(name)}</dt><dd>${shown(value)}</dd></div>`)}</dl>
    </details>
  </section>
`;

const Candidate = ({ backend, isPicked }) => html`
  <li class=${isPicked ? "picked" : ""}>
    <b>${backend.name}</b>
    <span class="note">${[backend.region, backend.tier > 1 && `tier ${backend.tier}`].filter(Boolean).join(" · ")}</span>
    <${Chip} state=${isPicked ? PICKED : backend.available ? POSSIBLE : outState(backend)} />
    <span class="note">${backend.chance > 0 ? `chance ${part(backend.chance)}` : ""}</span>
  </li>
`;

const PICKED = { icon: "check", word: "picked", tone: "good" };
const POSSIBLE = { icon: "standby", word: "could serve", tone: "idle" };

/** What the list of backends calls it as well. */
const outState = (backend) => backendState({ ...backend, drained: false, breaker: { state: "open" } });

const shown = (value) => (value === null ? "none" : Array.isArray(value) ? value.join(", ") : String(value));
const capital = (text) => text && text[0].toUpperCase() + text.slice(1);
