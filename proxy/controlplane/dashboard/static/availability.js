// What a pool has kept of its promise: the share of good requests over three windows, and what is left of the budget.

import { number, part, share } from "./format.js";
import { html, memo } from "./view.js";

const WINDOWS = [
  ["1h", "1 hour"],
  ["24h", "24 hours"],
  ["30d", "30 days"],
];

export const Availability = memo(({ name, title = "Availability", figures }) => {
  if (!figures) return null;
  return html`
    <section class="availability" aria-label="Availability of ${name}">
      <h3>${title}${figures.slo ? html` <small>promised: ${share(figures.slo)}</small>` : ""}</h3>
      <ul role="list">
        ${WINDOWS.map(([key, label]) => html`<${Window} key=${key} label=${label} one=${figures.windows[key]} />`)}
      </ul>
    </section>
  `;
});

/** The same for each route that has had requests, where there are several. */
export function Routes({ store }) {
  const routes = [...store.availability.entries()]
    .filter(([key, one]) => key.startsWith("route ") && one.windows["30d"].availability !== null)
    .map(([, one]) => one);
  if (routes.length < 2) return null;
  return html`
    <section class="card routes" aria-labelledby="routes-title">
      <header><h2 id="routes-title">Routes</h2></header>
      ${routes.map((one) => html`<${Availability} key=${one.name} name="route ${one.name}" title=${one.name} figures=${one} />`)}
    </section>
  `;
}

function Window({ label, one }) {
  if (!one) return null;
  const counted = [
    one.bad && html`<span class="alarm">${number(one.bad)} bad</span>`,
    one.unknown && html`<span class="alarm">${number(one.unknown)} unknown</span>`,
    one.saved && html`<span>${number(one.saved)} saved</span>`,
  ].filter(Boolean);
  return html`
    <li>
      <span class="label">${label}</span>
      <span class="value">${share(one.availability)}</span>
      <span class="note">${one.availability === null ? "no requests" : nines(one)}${counted.map((text) => html` · ${text}`)}</span>
      ${one.budget && html`<${Budget} left=${one.budget.left_share} />`}
    </li>
  `;
}

const nines = ({ availability, nines }) =>
  availability === 1 || nines === null ? "nothing failed" : `${nines.toFixed(1)} nines`;

function Budget({ left }) {
  const tone = left > 0.5 ? "good" : left > 0 ? "warn" : "bad";
  const text = left > 0 ? `${part(left)} of the error budget left` : "error budget spent";
  return html`
    <span class="budget ${tone}">
      <span class="bar" aria-hidden="true"><span style=${{ width: `${Math.max(0, Math.min(1, left)) * 100}%` }}></span></span>
      ${text}
    </span>
  `;
}
