// What asks before something is done that cannot be taken back.

import { html } from "./common.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";

/** A button that asks first. `yes` and `no` are the words of the answers. */
export function Confirm({ button, title, says, yes, no, onConfirm }) {
  const [asks, ask] = useState(false);
  const dialog = useRef();
  useEffect(() => {
    if (asks) dialog.current.showModal();
  }, [asks]);
  const submit = (event) => {
    event.preventDefault();
    dialog.current.close();
    onConfirm();
  };
  return html`
    <button onClick=${() => ask(true)}>${button}…</button>
    ${asks && html`
      <dialog ref=${dialog} aria-labelledby="confirm-title" onClose=${() => ask(false)}>
        <form onSubmit=${submit}>
          <h2 id="confirm-title">${title}</h2>
          ${says.map((text) => html`<p>${text}</p>`)}
          <p>This cannot be taken back.</p>
          <div class="buttons">
            <button class="first bad">${yes}</button>
            <button type="button" onClick=${() => dialog.current.close()} autofocus>${no}</button>
          </div>
        </form>
      </dialog>`}`;
}
