// Sparklines and strips: small pictures of the last minutes. Each has a text that says the same.

import { clock, milliseconds, number } from "./format.js";
import { html } from "./view.js";

const WIDTH = 100;
const HEIGHT = 22;
/** Points in the width of a picture: few at first, so that something can be seen soon. */
const FEWEST = 30;

/** The path of a series that ends at the right edge; gaps where nothing was known. */
function path(values, top) {
  let drawn = "";
  let isDown = false;
  const step = WIDTH / (Math.max(FEWEST, values.length) - 1);
  const offset = WIDTH - (values.length - 1) * step;
  values.forEach((value, place) => {
    if (value === null) {
      isDown = false;
      return;
    }
    const y = HEIGHT - 1.5 - (top ? Math.min(1, value / top) : 0) * (HEIGHT - 4);
    drawn += `${isDown ? "L" : "M"}${(offset + place * step).toFixed(1)} ${y.toFixed(1)}`;
    isDown = true;
  });
  return drawn;
}

const highest = (values) => values.reduce((most, value) => Math.max(most, value ?? 0), 0);

const Picture = ({ label, children }) => html`
  <svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label}>
    <line class="ground" x1="0" x2=${WIDTH} y1=${HEIGHT - 0.5} y2=${HEIGHT - 0.5} />
    ${children}
  </svg>
`;

export function RateSpark({ values = [] }) {
  const top = highest(values);
  return html`
    <${Picture} label=${`requests per second, highest of the last minutes: ${number(top)}`}>
      <path class="line strong" d=${path(values, top)} />
    <//>
  `;
}

export function LatencySpark({ p50 = [], p99 = [] }) {
  const top = highest(p99);
  return html`
    <${Picture} label=${`latency, highest p99 of the last minutes: ${milliseconds(top || null)}`}>
      <path class="line faint" d=${path(p99, top)} />
      <path class="line strong" d=${path(p50, top)} />
    <//>
  `;
}

const SHOWN = 12;

/** The last probes, the newest at the right: a bar for a good one, a cross for a bad one. */
export function Probes({ last }) {
  const shown = last.slice(-SHOWN);
  const bad = shown.filter((probe) => !probe.ok).length;
  const label = shown.length ? `last ${shown.length} probes: ${bad ? `${bad} failed` : "all good"}` : "no probes yet";
  return html`
    <svg class="probes" viewBox="0 0 ${SHOWN * 7} 16" role="img" aria-label=${label}>
      ${shown.map((probe, place) => html`<${Mark} key=${probe.at} probe=${probe} x=${place * 7} />`)}
    </svg>
  `;
}

const Mark = ({ probe, x }) => html`
  <g class=${probe.ok ? "ok" : "failed"}>
    <title>${clock(probe.at)}: ${probe.ok ? "good" : "failed"}, ${milliseconds(probe.ms)}${probe.detail ? `, ${probe.detail}` : ""}</title>
    ${probe.ok
      ? html`<rect x=${x + 1} y="2.5" width="4" height="11" rx="1.5" />`
      : html`<path d="M${x + 0.8} 5.2l4.6 5.6M${x + 5.4} 5.2l-4.6 5.6" />`}
  </g>
`;
