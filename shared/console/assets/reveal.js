// What a task was started with: personal data, which is fetched when somebody asks for it, kept nowhere, and gone with the page.

import { post, useConnection, write } from "./api.js";
import { html, Problem } from "./parts.js";
import { useEffect, useState } from "./vendor/hooks.js";

const CLOSED = {};

/** The button that shows the input of a task, and the input. */
export function Input({ id }) {
  const { session } = useConnection();
  const [{ revealed, error, busy }, set] = useState(CLOSED);
  useEffect(() => {
    // A browser may keep a page that is left as it was, to go back to it.
    const close = () => set(CLOSED);
    addEventListener("pagehide", close);
    return () => removeEventListener("pagehide", close);
  }, []);
  const show = async () => {
    set({ busy: true });
    try {
      set({ revealed: await post(`/tasks/${encodeURIComponent(id)}/reveal`) });
    } catch (failed) {
      set({ error: failed });
    }
  };
  return html`
    <section class="card">
      <h2>Input</h2>
      <p class="hint">What the task was started with is personal data of its customer. Each look is logged, with your name.${session?.may_write ? "" : " This console may only look at the rest."}</p>
      <${Problem} error=${error} />
      ${error?.status === 403 && html`<p class="hint">You may not see inputs. That takes the scope <code>tasks.reveal</code>, with AWS credentials the right to <code>POST /tasks/*/reveal</code>, or at the console of a stack the group <code>operators</code>.</p>`}
      ${session?.may_write && !revealed && html`<div class="buttons"><button disabled=${busy} onClick=${show}>Show the input</button></div>`}
      ${revealed && html`
        <pre tabindex="0" aria-label="Input">${write(revealed.input)}</pre>
        ${revealed.hidden.length > 0 && html`<p class="hint">Not shown, because the workflow file says so: ${revealed.hidden.map((at, place) => html`${place > 0 ? ", " : ""}<code>${at}</code>`)}.</p>`}
        <div class="buttons"><button onClick=${() => set(CLOSED)}>Hide it</button></div>`}
    </section>`;
}
