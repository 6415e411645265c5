// Who is active and who stands by, in a pool where one backend serves at a time; and the switch that waits for a person.

import { lasting } from "./format.js";
import { Icon } from "./icons.js";
import { isOut, isUrgent, spoken } from "./states.js";
import { html } from "./view.js";

export function Place({ pool, now, desk }) {
  if (pool.mode !== "active-passive") return null;
  const others = pool.backends.filter((backend) => backend.name !== pool.active);
  return html`
    <div class="place">
      <dl class="lane">
        <div class=${isActiveOut(pool) ? "active out" : "active"}><dt>Active</dt><dd>${pool.active ?? `nobody: switching to ${pool.switching_to ?? "…"}`}${pool.pinned ? html` <small>put there by hand</small>` : ""}</dd></div>
        <div><dt>Standby</dt><dd>${others.map((backend) => backend.name).join(", ") || "none"}</dd></div>
      </dl>
      <div class="switches">
        <button type="button" class="button" onClick=${() => desk.askFailover(pool)}>Fail over …</button>
        <button type="button" class="button" onClick=${() => desk.askFailback(pool)}>Fail back …</button>
      </div>
    </div>
    ${pool.pending && html`<${Pending} pool=${pool} now=${now} desk=${desk} />`}
  `;
}

/** Whether the one that should serve is out, or nobody is the one. */
const isActiveOut = (pool) => pool.backends.filter((one) => one.name === pool.active && !isOut(one)).length === 0;

const Pending = ({ pool, now, desk }) => html`
  <div class="pending ${isUrgent(pool) ? "warn" : "idle"}">
    <${Icon} name="person" />
    <p>
      <strong>${capital(pool.pending.cause)} to ${pool.pending.to} waits for your approval</strong>, ${lasting(pool.pending.since, now)} now.
      ${pool.pending.evidence && html`<span class="evidence"> ${capital(spoken(pool.pending.evidence))}.</span>`}
    </p>
    <button type="button" class="button ${isUrgent(pool) ? "primary" : ""}" onClick=${() => desk.askApproval(pool)}>Approve …</button>
  </div>
`;

const capital = (text) => text && text[0].toUpperCase() + text.slice(1);
