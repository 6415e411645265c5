// The line on top: whose page it is, whether what it shows is live, light or dark, and the way out.

import { duration } from "./format.js";
import { Icon } from "./icons.js";
import { html, useState } from "./view.js";

const LINKS = { connecting: "connecting …", live: "live", lost: "reconnecting …", locked: "token needed" };
const NEXT = { auto: "light", light: "dark", dark: "auto" };

export const Header = ({ store, leave }) => html`
  <header class="top">
    <a class="skip" href="#main">Skip to the pools</a>
    <span class="brand">failover-proxy</span>
    <${Link} store=${store} />
    <${Theme} />
    ${leave && html`<button type="button" class="button quiet" onClick=${leave}>Sign out</button>`}
  </header>
`;

function Link({ store }) {
  const tone = store.link === "live" && !store.isStale ? "good" : store.link === "connecting" ? "idle" : "warn";
  const age = (Date.now() - store.heardAt) / 1000;
  const isOld = store.isStale && store.heardAt > 0;
  const word = store.link === "live" && isOld ? "nothing heard" : LINKS[store.link];
  return html`
    <span class="link ${tone}" role="status">
      <span class="dot" aria-hidden="true"></span>${word}
      ${isOld && html`<span aria-hidden="true"> what you see is ${duration(age)} old</span><span class="hidden">, what you see is old</span>`}
    </span>
  `;
}

function Theme() {
  const [chosen, choose] = useState(document.documentElement.dataset.theme ?? "auto");
  function turn() {
    const next = NEXT[chosen];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      if (next === "auto") localStorage.removeItem("theme");
      else localStorage.setItem("theme", next);
    } catch {
      // It holds until the page is loaded again.
    }
    choose(next);
  }
  return html`<button type="button" class="button quiet" onClick=${turn}><${Icon} name="moon" />Theme: ${chosen}</button>`;
}
