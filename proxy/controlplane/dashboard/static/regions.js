// Where the traffic of a pool goes: requests per second by region.

import { number, part } from "./format.js";
import { html } from "./view.js";

export function Regions({ pool }) {
  const { regions } = pool;
  if (regions.length < 2) return null;
  return html`
    <section class="regions" aria-label="Traffic of ${pool.name} by region">
      <h3>Traffic by region</h3>
      <ul role="list">
        ${regions.map((region) => html`<${Region} key=${region.region} region=${region} isOwn=${region.region === pool.region} />`)}
      </ul>
    </section>
  `;
}

const Region = ({ region: { region, share, available, total, requests_per_second: rate }, isOwn }) => html`
  <li>
    <span class="name">${region || "no region"}${isOwn ? html` <small>here</small>` : ""}</span>
    <span class="bar" aria-hidden="true"><span style=${{ width: `${100 * (share ?? 0)}%` }}></span></span>
    <span class="value">${share === null ? "–" : part(share)}</span>
    <span class="value">${number(rate)}/s</span>
    <span class=${available ? "value" : "value alarm"}>${available} of ${total} serving</span>
  </li>
`;
