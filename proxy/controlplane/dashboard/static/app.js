// The page: joins what is known (store), what is drawn (components) and what a person orders (desk).

import { hasToken, useToken } from "./api.js";
import { Routes } from "./availability.js";
import { Banner } from "./banner.js";
import { makeDesk } from "./desk.js";
import { Question } from "./dialog.js";
import { Header } from "./header.js";
import { EVERY } from "./history.js";
import { Journal } from "./journal.js";
import { Pool } from "./pool.js";
import { SignIn } from "./signin.js";
import { worst } from "./states.js";
import { Store } from "./store.js";
import { Tester } from "./tester.js";
import { Component, html, render } from "./view.js";

/** More pools than this begin folded where all is well. */
const UNFOLDED = 8;
const NOTICE_FOR = 6_000;

class App extends Component {
  constructor() {
    super();
    this.state = { question: null, notice: null };
    this.store = new Store(() => this.drawSoon());
    this.desk = makeDesk({
      store: this.store,
      ask: (question) => this.setState({ question }),
      tell: (text, tone = "good") => this.tell(text, tone),
    });
  }

  componentDidMount() {
    this.store.open();
    setInterval(() => this.drawSoon(), 1_000);
    setInterval(() => this.store.pools && !this.store.isStale && this.store.history.sample(this.store.pools), EVERY);
  }

  /** One drawing for all that happens in the same moment. Not a frame: hidden tabs have none, and still show a title. */
  drawSoon() {
    this.drawing ??= setTimeout(() => {
      this.drawing = null;
      this.setState({});
    }, 30);
  }

  tell(text, tone) {
    clearTimeout(this.hiding);
    this.setState({ notice: { text, tone } });
    this.hiding = setTimeout(() => this.setState({ notice: null }), NOTICE_FOR);
  }

  enter(token) {
    useToken(token);
    this.store.link = "connecting";
    this.store.open();
    this.drawSoon();
  }

  leave() {
    useToken("");
    location.reload();
  }

  render(_, { question, notice }) {
    const { store } = this;
    const isLocked = store.link === "locked";
    const leave = hasToken() && !isLocked ? () => this.leave() : null;
    announce(store);
    return html`
      <${Header} store=${store} leave=${leave} />
      ${isLocked
        ? html`<${SignIn} problem=${hasToken() ? store.problem : ""} enter=${(token) => this.enter(token)} />`
        : html`<${Page} store=${store} desk=${this.desk} />`}
      ${question && html`<${Question} question=${question} close=${() => this.setState({ question: null })} />`}
      <div class="notice" role="status">${notice && html`<p class=${notice.tone}>${notice.text}</p>`}</div>
    `;
  }
}

function Page({ store, desk }) {
  if (store.pools === null) {
    return html`<main id="main" class="waiting"><h1>${store.link === "lost" ? "The proxy does not answer" : "Asking the proxy how things stand …"}</h1><p>${store.problem}</p></main>`;
  }
  const pools = [...store.pools.values()];
  const now = store.now();
  return html`
    <${Banner} store=${store} pools=${pools} now=${now} />
    <div class="columns">
      <main id="main" tabindex="-1">
        ${pools.map((pool) => html`<${Pool} key=${pool.name} pool=${pool} store=${store} now=${now} desk=${desk} isFolded=${pools.length > UNFOLDED} />`)}
        <${Routes} store=${store} />
        <${Tester} />
      </main>
      <aside aria-label="What has happened">
        <${Journal} entries=${store.journal} problem=${store.journalProblem} pools=${pools.map((pool) => pool.name)} now=${now} />
      </aside>
    </div>
  `;
}

/** The tab says how things stand as well. */
function announce(store) {
  const isKnown = store.pools !== null && !store.isStale;
  const state = isKnown ? worst([...store.pools.values()]) : "idle";
  const title = isKnown ? `${state.toUpperCase()} · failover-proxy` : "failover-proxy";
  if (document.title !== title) document.title = title;
  const icon = document.getElementById("icon");
  const picture = `dashboard/icons/${state}.svg`;
  if (icon.getAttribute("href") !== picture) icon.setAttribute("href", picture);
}

const place = document.getElementById("app");
place.textContent = "";
render(html`<${App} />`, place);
