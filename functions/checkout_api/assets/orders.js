// The orders that this browser has made.

import { clock, html, State, Title } from "./common.js";
import { useAnswer } from "./http.js";
import { askWord, forget, orderPath, useShop } from "./shop.js";

/** Of how many orders the status is asked for. */
const ASKED = 10;

/** The word of each status for customers, and the state whose picture it has. */
const WORDS = {
  completed: ["confirmed", "complete"],
  failed: ["not completed", "error"],
  cancelled: ["cancelled", "cancelled"],
  processing: ["on its way", "in_progress"],
  unconfirmed: ["not known yet", "pending"],
  not_started: ["not started", "cancelled"],
};

function Status({ id }) {
  const { data } = useAnswer(id, ({ status } = {}) => (status === "processing" ? 5_000 : 0), askWord);
  if (!data) return null;
  const [text, state] = WORDS[data.status] ?? [data.status, "pending"];
  return html`<${State} state=${state} text=${text} />`;
}

export function Orders() {
  const { orders } = useShop();
  return html`
    <${Title} title="Your orders">Your orders</>
    ${orders.length === 0
      ? html`<p>This browser has made none yet. <a href="/">To the products</a></p>`
      : html`
        <ul class="orders">
          ${orders.map((order, place) => html`
            <li key=${order.id} class="card">
              <a href=${orderPath(order)}>${clock(order.at)}</a>
              <span class="what">${order.items.map(({ name, quantity }) => `${quantity} × ${name}`).join(", ")}</span>
              <span class="number">${order.total} ${order.currency}</span>
              <span class="status">${place < ASKED && html`<${Status} id=${order.id} />`}</span>
            </li>`)}
        </ul>
        <p class="hint">Only this browser knows that ${orders.length === 1 ? "this order is" : `these ${orders.length} orders are`} yours: it keeps the keys, without which nobody can open them.</p>
        <p><button onClick=${forget}>Forget these orders in this browser</button></p>`}`;
}
