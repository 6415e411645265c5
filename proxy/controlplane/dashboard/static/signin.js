// Asks for the admin token, once for each tab. It goes into a header and into the tab's own storage, nowhere else.

import { html, useState } from "./view.js";

export function SignIn({ problem, enter }) {
  const [token, setToken] = useState("");
  const [isOdd, setOdd] = useState(false);
  function submit(event) {
    event.preventDefault();
    const given = token.trim();
    const isSendable = /^[\x21-\x7e]+$/.test(given);
    setOdd(!isSendable);
    if (isSendable) enter(given);
  }
  return html`
    <main class="signin" id="main">
      <form class="card" onSubmit=${submit}>
        <h1>This proxy asks for its admin token</h1>
        <p>It is the <code>token</code> under <code>admin</code> in the config. This tab keeps it until it is closed.</p>
        <label>
          <span>Token</span>
          <input type="password" name="token" autocomplete="current-password" required autofocus value=${token} onInput=${(event) => setToken(event.target.value)} />
        </label>
        <p class="problem" role="alert">${isOdd ? "A token is one word of ASCII letters, digits and signs." : problem}</p>
        <button type="submit" class="button primary">Open</button>
      </form>
    </main>
  `;
}
