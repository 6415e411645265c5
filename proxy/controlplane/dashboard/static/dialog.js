// A question that is asked before something is done. The browser's own dialog keeps the focus inside, closes on Escape
// and gives the focus back to the button that had it.

import { html, useEffect, useRef, useState } from "./view.js";

/** @param {{question: {title: string, text: any, action: string, options?: {name: string, note: string}[],
 *           force?: (name: string) => string, tone?: string, act: (choice: string, force: boolean) => Promise<void>},
 *           close: () => void}} props */
export function Question({ question, close }) {
  const dialog = useRef(null);
  const [choice, choose] = useState(question.options?.[0]?.name ?? "");
  const [isForced, force] = useState(false);
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  useEffect(() => dialog.current.showModal(), []);
  const objection = question.force?.(choice) ?? "";

  async function act(event) {
    event.preventDefault();
    if (isBusy || (objection && !isForced)) return;
    setBusy(true);
    setProblem("");
    try {
      await question.act(choice, Boolean(objection) && isForced);
      dialog.current?.close();
    } catch (error) {
      setProblem(error.message);
      setBusy(false);
    }
  }

  return html`
    <dialog ref=${dialog} class="question" aria-labelledby="question-title" onClose=${close}>
      <form onSubmit=${act}>
        <h2 id="question-title">${question.title}</h2>
        <div class="text">${question.text}</div>
        ${question.options?.length > 1 && html`<${Choices} options=${question.options} choice=${choice} choose=${choose} />`}
        ${objection &&
        html`<label class="check">
          <input type="checkbox" checked=${isForced} onChange=${(event) => force(event.target.checked)} />
          <span>${objection}</span>
        </label>`}
        <p class="problem" role="alert">${problem}</p>
        <div class="buttons">
          <button type="button" class="button" autofocus onClick=${() => dialog.current.close()}>Cancel</button>
          <button type="submit" class="button ${question.tone ?? "primary"}" aria-disabled=${isBusy || (Boolean(objection) && !isForced)}>
            ${isBusy ? "One moment …" : question.action.replace("{}", choice)}
          </button>
        </div>
      </form>
    </dialog>
  `;
}

const Choices = ({ options, choice, choose }) => html`
  <fieldset class="choices">
    <legend>To which backend?</legend>
    ${options.map(
      (option) => html`
        <label key=${option.name}>
          <input type="radio" name="choice" value=${option.name} checked=${option.name === choice} onChange=${() => choose(option.name)} />
          <span>${option.name} <small>${option.note}</small></span>
        </label>
      `,
    )}
  </fieldset>
`;
