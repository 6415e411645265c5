// The orders that a person gives: carried out at once where nothing can break by them, asked about where something can.

import { failback, failover, setState } from "./api.js";
import { html } from "./view.js";
import { isOut, spoken, why } from "./states.js";

const DOING = { ready: "serves again", drain: "takes nothing new", maint: "is out for maintenance" };

/** @param {{store: import("./store.js").Store, ask: (question: any) => void,
 *           tell: (text: string, tone?: string) => void}} parts */
export function makeDesk({ store, ask, tell }) {
  const poolOf = (name) => store.pools.get(name);

  async function carryOut(pool, backend, word) {
    store.takeBackend(await setState(pool, backend.name, word));
    tell(`${pool}/${backend.name} ${DOING[word]}.`);
  }

  async function switchTo(pool, to, force) {
    const document = await failover(pool.name, to, force);
    store.takePool(document);
    tell(`${pool.name}: ${document.active ?? "nobody yet"} is the active one now.`);
  }

  return {
    async order(name, backend, word) {
      const warning = word === "ready" ? null : objection(poolOf(name), backend, word);
      if (warning) {
        ask({ ...warning, act: () => carryOut(name, backend, word) });
        return;
      }
      try {
        await carryOut(name, backend, word);
      } catch (error) {
        tell(error.message, "bad");
      }
    },

    askFailover(pool) {
      const others = pool.backends.filter((backend) => backend.name !== pool.active);
      ask({
        title: `Fail ${pool.name} over?`,
        text: html`<p>New requests go to the backend that you choose, from the next one on. What <b>${pool.active ?? "the active one"}</b> has under way is finished there. The choice stays until that backend fails or someone says otherwise.</p>`,
        options: others.map((one) => ({ name: one.name, note: notReady(one) || "ready to take over" })),
        force: (to) => forced(others.find((one) => one.name === to)),
        action: "Fail over to {}",
        tone: "danger",
        act: (to, force) => switchTo(pool, to, force),
      });
    },

    askApproval(pool) {
      const { to, cause, evidence } = pool.pending;
      ask({
        title: `Approve the ${cause} of ${pool.name} to ${to}?`,
        text: html`<p>${evidence ? `The reason: ${spoken(evidence)}. ` : ""}New requests go to <b>${to}</b> from the next one on.</p>`,
        action: `Make ${to} the active one`,
        tone: "primary",
        act() {
          const pending = poolOf(pool.name)?.pending;
          if (pending?.to !== to || pending.cause !== cause) throw new Error("What waits for approval has changed meanwhile: look again.");
          return switchTo(pool, null, false);
        },
      });
    },

    askFailback(pool) {
      ask({
        title: `Fail ${pool.name} back?`,
        text: html`<p>The first in line that is well becomes the active one. What <b>${pool.active ?? "the active one"}</b> has under way is finished there.</p>`,
        action: "Fail back",
        tone: "primary",
        async act() {
          const document = await failback(pool.name);
          store.takePool(document);
          tell(`${pool.name}: ${document.active ?? "nobody yet"} is the active one now.`);
        },
      });
    },
  };
}

/** What stands against an order; null where it can do no harm. */
function objection(pool, backend, word) {
  const verb = word === "drain" ? "Drain" : "Take out";
  if (pool.active === backend.name) {
    return {
      title: `${verb} ${backend.name}, the active backend of ${pool.name}?`,
      text: html`<p>Another backend has to become the active one; where none is well, requests fail.</p>`,
      action: `${verb} it`,
      tone: "danger",
    };
  }
  if (backend.available && pool.available <= 1) {
    return {
      title: `${verb} the last backend of ${pool.name} that serves?`,
      text: html`<p>Nobody is left to answer: new requests to this pool will fail.</p>`,
      action: `${verb} it all the same`,
      tone: "danger",
    };
  }
  return null;
}

/** Why a backend should not become the active one; empty if nothing but its turn is missing. */
const notReady = (backend) => (backend && isOut(backend) ? why(backend) : "");

function forced(backend) {
  const reason = notReady(backend);
  return reason ? `${backend.name} looks as if it were out (${reason}). Make it the active one all the same.` : "";
}
