// One backend: what it is called now, why, what ends that, how it does, and the three orders that a person has for it.

import { lasting, milliseconds, number } from "./format.js";
import { Chip } from "./icons.js";
import { LatencySpark, Probes, RateSpark } from "./spark.js";
import { backendState, ends, isOut, why, whyStandby } from "./states.js";
import { Hidden, html, memo } from "./view.js";

const ORDERS = [
  ["ready", "Ready", "serve"],
  ["drain", "Drain", "finish what runs, take nothing new"],
  ["maint", "Maint", "out, and not even probed"],
];

export const Heading = () => html`
  <div class="row heading" aria-hidden="true">
    <span>Backend</span><span>State</span><span>Probes</span><span class="figure">In flight</span>
    <span class="figure">Requests/s</span><span class="figure">p50 · p99</span><span>Orders</span>
  </div>
`;

/** `second` changes each second for a row that counts down, `tick` each time its sparklines have a new point. */
export const Backend = memo(({ pool, backend, series, now, desk }) => {
  const state = backendState(backend);
  const cause = why(backend);
  const end = ends(backend, now);
  return html`
    <li class="row backend ${isOut(backend) ? `out ${state.tone}` : ""}">
      <div class="who">
        <strong>${backend.name}</strong>
        <span class="where">${[backend.region, backend.tier > 1 && `tier ${backend.tier}`, weight(backend), address(backend)].filter(Boolean).join(" · ")}</span>
      </div>
      <div class="state">
        <${Chip} state=${state} title=${whyStandby(backend)} />
        ${isOut(backend) && html`<span class="since">${lasting(backend.since, now)}</span>`}
      </div>
      <div class="cell"><span class="label">Probes</span><${Probes} last=${backend.health.last} /></div>
      <${Figure} label="In flight" value=${number(backend.in_flight)} />
      <${Figure} label="Requests/s" value=${number(backend.requests_per_second)} alarm=${backend.failures_per_second > 0 && `${number(backend.failures_per_second)} failed/s`}>
        <${RateSpark} values=${series?.requests} />
      <//>
      <${Figure} label="p50 · p99" value=${latency(backend)}>
        <${LatencySpark} p50=${series?.p50} p99=${series?.p99} />
      <//>
      <${Orders} pool=${pool} backend=${backend} desk=${desk} />
      ${(cause || end) && html`<p class="why">${capital(cause)}${cause && "."} <span class="ends">${end}</span></p>`}
    </li>
  `;
});

const Figure = ({ label, value, alarm, children }) => html`
  <div class="cell figure">
    <span class="label">${label}</span>
    <span class="value">${value}</span>
    ${children}
    ${alarm && html`<span class="alarm">${alarm}</span>`}
  </div>
`;

function Orders({ pool, backend, desk }) {
  return html`
    <div class="orders" role="group" aria-label="Orders for ${backend.name}">
      ${ORDERS.map(
        ([word, label, meaning]) => html`
          <button
            key=${word}
            type="button"
            title=${`${label}: ${meaning}`}
            aria-pressed=${backend.admin_state === word ? "true" : "false"}
            onClick=${() => backend.admin_state !== word && desk.order(pool, backend, word)}
          >
            ${label}<${Hidden}> ${backend.name}<//>
          </button>
        `,
      )}
    </div>
  `;
}

const address = (backend) => {
  const shown = backend.url.replace(/^https?:\/\//, "");
  return shown === backend.name ? "" : shown;
};
const weight = (backend) => (backend.weight === 1 ? "" : `weight ${backend.weight}`);
const latency = ({ latency_ms: { p50, p99 } }) =>
  p50 === null ? "–" : `${number(p50)} · ${milliseconds(p99)}`;
const capital = (text) => text && text[0].toUpperCase() + text.slice(1);
