// The cart: what it costs, who buys, and how the payment goes.

import { html, Title } from "./common.js";
import { Quantity, Trouble } from "./products.js";
import { buy, money, put, setCustomer, useCards, useProducts, useQuote, useShop } from "./shop.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";

/** The cards as buttons of a form, each named for what it simulates. `as` is the word before the name. */
export function Cards({ disabled, as }) {
  const { data } = useCards();
  return html`
    <div class="cards" aria-busy=${data ? undefined : "true"}>
      ${data?.map(({ token, name, what }) => html`
        <button key=${token} class="card-button" name="card" value=${token} disabled=${disabled}><strong><span class="hidden">${as}: </span>${name}</strong><span>${what}</span></button>`)}
    </div>`;
}

function Line({ line, quoted, currency }) {
  const product = { id: line.product_id, name: line.name };
  const remove = () => {
    // The button goes, and the focus needs a place.
    document.querySelector("main h1").focus();
    put(product, 0);
  };
  return html`
    <tr>
      <th scope="row">${line.name}</th>
      <td class="number">${quoted && money(quoted.price)}</td>
      <td><${Quantity} product=${product} quantity=${line.quantity} /></td>
      <td class="number">${quoted && html`${money(quoted.line_total)}<span class="hidden"> ${currency}</span>`}</td>
      <td><button class="plain" onClick=${remove}>Remove<span class="hidden"> ${line.name}</span></button></td>
    </tr>`;
}

/** The last quote, until the next one is there. */
function useLast(quote) {
  const last = useRef();
  if (quote.data) last.current = quote.data;
  return quote.data ?? (quote.error ? undefined : last.current);
}

export function Cart() {
  const { cart, customer, purchase } = useShop();
  const quote = useQuote(cart);
  const shown = useLast(quote);
  // So that a line has its product's name of today.
  const { data: products } = useProducts();
  const cards = useCards();
  const [isPaying, pay] = useState(false);
  useEffect(() => {
    if (!purchase) pay(false);
  }, [purchase]);
  if (cart.length === 0 && !purchase) {
    return html`<${Title} title="Cart">Your cart is empty</><p><a class="button first" href="/">To the products</a></p>`;
  }
  const nameOf = (line) => products?.find((product) => product.id === line.product_id)?.name ?? line.name;
  const submit = (event) => {
    event.preventDefault();
    const card = cards.data?.find(({ token }) => token === event.submitter?.value);
    if (!card || !quote.data || quote.error) return;
    pay(true);
    buy(quote.data, card);
  };
  // It would press the first of the buttons, and buy.
  const noEnter = (event) => event.key === "Enter" && event.preventDefault();
  const change = (name) => (event) => setCustomer({ [name]: event.target.value });
  return html`
    <${Title} title="Cart">Your cart</>
    <div class="columns">
      <section class="card" aria-label="What you buy">
        <table class="lines">
          <caption class="hidden">The lines of your cart</caption>
          <thead><tr><th scope="col">Product</th><th scope="col" class="number">Price</th><th scope="col">Units</th><th scope="col" class="number">Sum</th><th scope="col"><span class="hidden">Remove</span></th></tr></thead>
          <tbody>
            ${cart.map((line) => html`<${Line} key=${line.product_id} line=${{ ...line, name: nameOf(line) }} currency=${shown?.currency}
              quoted=${shown?.items.find((item) => item.product_id === line.product_id)} />`)}
          </tbody>
        </table>
        <${Trouble} error=${quote.error} what="So we cannot say what your cart costs." />
        ${shown && html`
          <dl class="totals">
            <dt>Goods</dt><dd>${money(shown.subtotal)}</dd>
            <dt>Tax</dt><dd>${money(shown.tax)}</dd>
            <dt>Shipping</dt><dd>${money(shown.shipping)}</dd>
            <dt class="total">Total</dt><dd class="total"><span role="status">${money(shown.total)} ${shown.currency}</span></dd>
          </dl>`}
      </section>
      <form class="card" aria-label="Payment" onSubmit=${submit}>
        <h2>Who buys</h2>
        <div class="who">
          <label>Name <input name="name" required maxlength="100" autocomplete="name" value=${customer.name} onInput=${change("name")} onKeyDown=${noEnter} /></label>
          <label>E-mail <input name="email" type="email" required maxlength="254" autocomplete="email" value=${customer.email} onInput=${change("email")} onKeyDown=${noEnter} /></label>
        </div>
        <h2>Pay, and say how it goes</h2>
        <p class="hint">The gateway is simulated, and no card is charged. Each button pays with a card that behaves as it says.</p>
        <${Cards} as="Pay" disabled=${!quote.data || quote.error || purchase || isPaying} />
      </form>
    </div>`;
}
