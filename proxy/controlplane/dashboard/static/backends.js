// The backends of one pool. A small pool shows all of them in the order of the config. A large one shows those that
// are out and a few of the others: what is not shown costs nothing to draw, however many there are.

import { Backend, Heading } from "./backend.js";
import { count, number } from "./format.js";
import { backendState, isOut } from "./states.js";
import { html, useState } from "./view.js";

const SMALL = 12;
const FEW = 6;
const MORE = 50;
const NO_SERIES = Object.freeze({});

export function Backends({ pool, store, now, desk }) {
  const [shown, setShown] = useState(0);
  const [wanted, setWanted] = useState("");
  const isLarge = pool.backends.length > SMALL;
  const { rows, left } = isLarge ? pick(pool.backends, wanted, shown) : { rows: pool.backends, left: 0 };
  return html`
    ${isLarge && html`<${Overview} backends=${pool.backends} />`}
    ${isLarge && html`<${Search} pool=${pool} wanted=${wanted} search=${setWanted} />`}
    <${Heading} />
    <ul class="backends" role="list">
      ${rows.map((backend) => html`<${Row} key=${backend.name} pool=${pool} backend=${backend} store=${store} now=${now} desk=${desk} />`)}
    </ul>
    ${left > 0 && html`<button type="button" class="button more" onClick=${() => setShown(shown + MORE)}>Show ${number(Math.min(left, MORE))} more of ${number(left)}</button>`}
    ${isLarge && rows.length === 0 && html`<p class="none">No backend of ${pool.name} has “${wanted}” in its name.</p>`}
  `;
}

/** Hands on only what a row draws, so that a row to which nothing happened is left alone. */
function Row({ pool, backend, store, now, desk }) {
  const second = isOut(backend) ? Math.floor(now / 1000) * 1000 : 0;
  const series = store.history.of(pool.name, backend.name) ?? NO_SERIES;
  return html`<${Backend} pool=${pool.name} backend=${backend} series=${series} tick=${store.history.ticks} now=${second} desk=${desk} />`;
}

function pick(backends, wanted, shown) {
  const text = wanted.trim().toLowerCase();
  const matching = text ? backends.filter((one) => `${one.name} ${one.region} ${one.url}`.toLowerCase().includes(text)) : backends;
  const out = matching.filter(isOut);
  const others = matching.filter((one) => !isOut(one));
  const all = [...out, ...others];
  const most = (text ? MORE : Math.min(out.length, MORE) + FEW) + shown;
  return { rows: all.slice(0, most), left: Math.max(0, all.length - most) };
}

/** How many are in each state: a bar, and the same in words. */
function Overview({ backends }) {
  const groups = new Map();
  for (const backend of backends) {
    const state = backendState(backend);
    const group = groups.get(state.word) ?? { ...state, n: 0 };
    groups.set(state.word, { ...group, n: group.n + 1 });
  }
  const sorted = [...groups.values()].sort((a, b) => b.n - a.n);
  return html`
    <div class="overview">
      <div class="bar" aria-hidden="true">
        ${sorted.map((group) => html`<span key=${group.word} class=${group.tone} style=${{ flexGrow: group.n }}></span>`)}
      </div>
      <p>${sorted.map((group, place) => html`<span key=${group.word} class="tally ${group.tone}">${place ? " · " : ""}${number(group.n)} ${group.word}</span>`)}</p>
    </div>
  `;
}

const Search = ({ pool, wanted, search }) => html`
  <label class="search">
    <span class="hidden">Find a backend of ${pool.name}</span>
    <input type="search" placeholder="Find among ${count(pool.backends.length, "backend")}" value=${wanted} onInput=${(event) => search(event.target.value)} />
  </label>
`;
