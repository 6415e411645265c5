// Asks the proxy where a request would go: the same code as the real path, run dry.

import { get } from "./api.js";
import { Explanation } from "./explanation.js";
import { html, useState } from "./view.js";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

export function Tester() {
  const [method, setMethod] = useState("GET");
  const [url, setUrl] = useState("");
  const [headers, setHeaders] = useState("");
  const [told, setTold] = useState(null);
  const [problem, setProblem] = useState("");

  async function ask(event) {
    event.preventDefault();
    const query = new URLSearchParams({ method, url });
    for (const line of headers.split("\n")) if (line.trim()) query.append("header", line.trim());
    setProblem("");
    try {
      setTold(await get(`v1/explain?${query}`));
    } catch (error) {
      setTold(null);
      setProblem(error.message);
    }
  }

  return html`
    <section class="card tester" aria-labelledby="tester-title">
      <header><h2 id="tester-title">Where would a request go?</h2></header>
      <form onSubmit=${ask}>
        <label class="method"><span>Method</span>
          <select value=${method} onChange=${(event) => setMethod(event.target.value)}>${METHODS.map((one) => html`<option key=${one} value=${one} selected=${one === method}>${one}</option>`)}</select>
        </label>
        <label class="url"><span>URL</span>
          <input type="text" inputmode="url" required placeholder="https://shop.example/pay/1" value=${url} onInput=${(event) => setUrl(event.target.value)} />
        </label>
        <label class="headers"><span>Headers, one a line</span>
          <textarea rows="2" placeholder="X-Canary: always" value=${headers} onInput=${(event) => setHeaders(event.target.value)}></textarea>
        </label>
        <button type="submit" class="button primary">Explain</button>
      </form>
      <div class="answer" role="status">
        ${problem && html`<p class="problem">${problem}</p>`}
        ${told && html`<${Explanation} told=${told} />`}
      </div>
    </section>
  `;
}
