// The journal as a timeline, the newest first: what happened, why, which rule decided it, and what a failover cost.

import { ago, clock, day, measured, number, words } from "./format.js";
import { Icon } from "./icons.js";
import { spoken } from "./states.js";
import { html, memo, useState } from "./view.js";

const ICONS = {
  pool: "alert",
  breaker: "bolt",
  failover: "swap",
  split: "swap",
  config: "gear",
  worker: "gear",
  certificate: "alert",
  process: "gear",
  write: "alert",
};
const BAD = new Set(["down", "open", "true", "damped", "ejected", "panic", "out", "rejected", "died", "unknown", "degraded"]);
const WARN = new Set(["half_open", "half-open", "draining"]);
const HUMAN = new Set(["drain", "maint"]);
const GOOD = new Set(["up", "closed", "ready", "serving"]);
const OF_TONE = { good: "check", bad: "cross", human: "person" };
const SHOWN = 60;

export function Journal({ entries, problem, pools, now }) {
  const [pool, setPool] = useState("");
  const [kind, setKind] = useState("");
  const [most, setMost] = useState(SHOWN);
  const kinds = [...new Set(entries.map((entry) => entry.kind))].sort();
  const chosen = entries.filter((entry) => (!pool || entry.pool === pool) && (!kind || entry.kind === kind)).reverse();
  return html`
    <section class="card journal" aria-labelledby="journal-title">
      <header>
        <h2 id="journal-title">Journal</h2>
        <${Choice} label="Pool" all="all pools" options=${pools} value=${pool} choose=${setPool} />
        <${Choice} label="Kind" all="all kinds" options=${kinds} value=${kind} choose=${setKind} />
      </header>
      ${problem && html`<p class="problem">${problem}</p>`}
      <div class="scroll" tabindex="0" role="region" aria-label="Journal entries, the newest first">
        <ol role="list">${chosen.slice(0, most).map((entry, place) => html`<${Entry} key=${entry.id} entry=${entry} isNewDay=${isNewDay(entry, chosen[place - 1])} now=${Math.floor(now / 5_000) * 5_000} />`)}</ol>
        ${chosen.length === 0 && html`<p class="none">Nothing has happened yet.</p>`}
        ${chosen.length > most && html`<button type="button" class="button more" onClick=${() => setMost(most + SHOWN)}>Show older entries</button>`}
      </div>
    </section>
  `;
}

const Choice = ({ label, all, options, value, choose }) => html`
  <label class="choice">
    <span class="hidden">${label}</span>
    <select value=${value} onChange=${(event) => choose(event.target.value)}>
      <option value="">${all}</option>
      ${options.map((option) => html`<option key=${option} value=${option}>${option}</option>`)}
    </select>
  </label>
`;

const isNewDay = (entry, before) => !before || day(before.time) !== day(entry.time);

const Entry = memo(
  ({ entry, isNewDay, now }) => html`
    <li class="entry ${tone(entry)}">
      ${isNewDay && html`<h3 class="day">${day(entry.time)}</h3>`}
      <span class="mark"><${Icon} name=${icon(entry)} /></span>
      <div class="told">
        <p class="sentence">${spoken(entry.sentence)}</p>
        <p class="when"><time datetime=${entry.time} title=${entry.time}>${clock(entry.time)}</time> · ${ago(entry.time, now)}${by(entry)}</p>
        ${entry.cost && html`<${Cost} cost=${entry.cost} />`}
        <${Evidence} entry=${entry} />
      </div>
    </li>
  `,
);

function tone(entry) {
  if (BAD.has(entry.to)) return "bad";
  if (HUMAN.has(entry.to)) return "human";
  if (WARN.has(entry.to) || entry.kind === "failover") return "warn";
  return GOOD.has(entry.to) ? "good" : "idle";
}

/** Of a backend, what has become of it; of anything else, what it is. */
const icon = (entry) => (entry.kind === "backend" ? OF_TONE[tone(entry)] : ICONS[entry.kind]) ?? "standby";

function by(entry) {
  if (entry.who === "person") return " · by a person";
  return entry.rule ? html` · rule <code>${entry.rule}</code>` : "";
}

const COUNTS = ["failed", "retried", "saved", "held", "unknown"];

const Cost = memo(({ cost }) => {
  const seconds = [
    cost.detect_s !== null && cost.detect_s !== undefined && `detected in ${measured(cost.detect_s)}`,
    cost.switch_s !== null && cost.switch_s !== undefined && `switched in ${measured(cost.switch_s)}`,
  ].filter(Boolean);
  const counts = COUNTS.filter((name) => Number.isFinite(cost[name])).map((name) => `${number(cost[name])} ${name}`);
  return html`<p class="cost">${[seconds.join(", "), counts.join(", ")].filter(Boolean).join(" · ")}</p>`;
});

const Evidence = memo(({ entry }) => {
  const known = Object.entries(entry.evidence ?? {}).filter(([, value]) => value !== null && value !== "");
  if (known.length === 0) return null;
  return html`
    <details>
      <summary>Evidence<span class="hidden"> for entry ${entry.id}</span></summary>
      <dl>${known.map(([name, value]) => html`<div key=${name}><dt>${words(name)}</dt><dd>${shown(value)}</dd></div>`)}</dl>
    </details>
  `;
});

/** Lists line by line; what is inside of them in one line each. */
const shown = (value) =>
  Array.isArray(value) && value.length > 1 ? html`<ul>${value.map((one, place) => html`<li key=${place}>${text(one)}</li>`)}</ul>` : text(value);

function text(value) {
  if (Array.isArray(value)) return value.map(text).join(", ");
  if (value === null || typeof value !== "object") return spoken(String(value));
  return Object.entries(value)
    .map(([name, one]) => `${words(name)} ${text(one)}`)
    .join(", ");
}
