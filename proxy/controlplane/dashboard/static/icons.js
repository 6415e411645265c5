// Small pictures, drawn in the colour of the text beside them. Each stands beside a word, so it says nothing itself.

import { html } from "./view.js";

const PATHS = {
  check: "M3.5 8.5l3 3 6-6.5",
  cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
  alert: "M8 2.2l6.3 11.1H1.7zM8 6.4v3.2M8 11.4v.4",
  bolt: "M9 1.8L3.8 9h3.6L7 14.2 12.2 7H8.6z",
  trial: "M8 2.2a5.8 5.8 0 1 0 5.8 5.8M8 5v3.2l2.2 1.4M11 2.4l2.8.2-.4 2.8",
  standby: "M8 2.4a5.6 5.6 0 1 0 0 11.2a5.6 5.6 0 1 0 0-11.2",
  drain: "M8 2.5v8.2M4.6 7.6L8 11l3.4-3.4M3 13.6h10",
  wrench: "M10.2 2.3a3.6 3.6 0 0 0-3.9 4.9l-4 4a1.5 1.5 0 0 0 2.2 2.2l4-4a3.6 3.6 0 0 0 4.9-3.9l-2.1 2.1-2-.4-.4-2z",
  full: "M2.6 4h10.8v8H2.6zM5 6.4v3.2M8 6.4v3.2M11 6.4v3.2",
  outlier: "M2 11.5h4M10 11.5h4M8 3v5M6 6l2-3 2 3",
  wave: "M1.8 8c1.6-4.4 3.2-4.4 4.2 0s2.6 4.4 4 0 2.6-4.4 4.2 0",
  clock: "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 1 0 8 2.2M8 4.8V8l2.2 1.6",
  swap: "M3 5.5h9M9.6 3L12.2 5.5 9.6 8M13 10.5H4M6.4 8L3.8 10.5 6.4 13",
  person: "M8 2.6a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5M3.2 13.6c.4-3 2.4-4.2 4.8-4.2s4.4 1.2 4.8 4.2",
  gear: "M8 5.6a2.4 2.4 0 1 0 0 4.8a2.4 2.4 0 1 0 0-4.8M8 1.8v2M8 12.2v2M1.8 8h2M12.2 8h2M3.6 3.6L5 5M11 11l1.4 1.4M12.4 3.6L11 5M5 11l-1.4 1.4",
  moon: "M12.8 9.8A5.6 5.6 0 0 1 6.2 3.2a5.6 5.6 0 1 0 6.6 6.6z",
  chevron: "M4.5 6.2L8 9.8l3.5-3.6",
};

export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${PATHS[name] ?? PATHS.standby} /></svg>
`;

/** State as icon and word, with a colour that only repeats what they say. */
export const Chip = ({ state, title }) => html`<span class="chip ${state.tone}" title=${title || null}><${Icon} name=${state.icon} />${state.word}</span>`;
