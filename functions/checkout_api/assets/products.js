// The products.

import { html, Title } from "./common.js";
import { NoAnswer } from "./http.js";
import { money, put, useProducts, useShop } from "./shop.js";
import { useEffect, useRef } from "./vendor/hooks.js";

/** The most units of a line that the shop takes. */
export const MOST_UNITS = 1_000;

/** From how few units on their number is told. */
const FEW = 10;

/** A drawing for each kind of product, on 48 by 48. The first whose word is in the name is taken. */
const DRAWINGS = [
  ["organizer", "M8 20h32v18H8ZM18 20v18M30 20v18M12 20v-9h3v9M23 20V8h3v12M34 20v-6h3v6"],
  ["mug", "M12 14h20v18a5 5 0 0 1-5 5H17a5 5 0 0 1-5-5ZM32 18h3a5 5 0 0 1 0 11h-3M17 9c0-2 2-2 2-4M24 9c0-2 2-2 2-4"],
  ["notebook", "M13 8h23v32H13ZM13 8v32M18 8v32M9 14h6M9 21h6M9 28h6M9 35h6M23 16h8M23 21h8"],
  ["lamp", "M18 8h12l6 14H12ZM24 22v16M16 40h16M30 22v6"],
  ["blanket", "M8 14h32v20H8ZM8 20h32M8 26h32M10 34v4M15 34v4M20 34v4M25 34v4M30 34v4M35 34v4"],
  ["bowl", "M7 20h34c0 9-6 15-13 16v3h-8v-3C13 35 7 29 7 20ZM7 20c0-3 34-3 34 0"],
  ["tote", "M11 18h26l3 22H8ZM17 23v-8a7 7 0 0 1 14 0v8"],
  ["candle", "M17 20h14v20H17ZM24 20v-4M24 5c4 4 4 8 0 9-4-1-4-5 0-9Z"],
  ["", "M8 16l16-7 16 7v17l-16 7-16-7ZM8 16l16 7 16-7M24 23v17"],
];

function Drawing({ name }) {
  const [, path] = DRAWINGS.find(([word]) => name.toLowerCase().includes(word));
  return html`<svg class="drawing" viewBox="0 0 48 48" aria-hidden="true"><path d=${path} /></svg>`;
}

/** How many units of a product are in the cart, with buttons to change it. */
export function Quantity({ product, quantity, most = MOST_UNITS }) {
  const set = (wanted) => put(product, Math.max(0, Math.min(MOST_UNITS, wanted)));
  // At each key: what is typed and not set would be lost when an answer draws the page anew.
  const type = (event) => {
    const wanted = Math.trunc(Number(event.target.value));
    if (wanted >= 1) set(wanted);
  };
  return html`
    <div class="quantity" role="group" aria-label="Units of ${product.name}">
      <button aria-label="One less of ${product.name}" onClick=${() => set(quantity - 1)}>−</button>
      <input aria-label="Units of ${product.name}" type="number" inputmode="numeric" min="1" max=${MOST_UNITS} value=${quantity} onInput=${type} />
      <button aria-label="One more of ${product.name}" disabled=${quantity >= most} onClick=${() => set(quantity + 1)}>+</button>
    </div>`;
}

function Stock({ stock }) {
  if (stock === 0) return html`<span class="stock none">Sold out</span>`;
  return stock <= FEW ? html`<span class="stock few">Only ${stock} left</span>` : html`<span class="stock">In stock</span>`;
}

function Product({ product, quantity }) {
  const item = useRef();
  const isFocused = useRef(false);
  // The button that was pressed is replaced by others.
  useEffect(() => {
    if (isFocused.current) item.current.querySelector("button:last-of-type").focus();
    isFocused.current = false;
  }, [quantity > 0]);
  const note = () => (isFocused.current = true);
  return html`
    <li class="product" ref=${item} onClick=${note}>
      <${Drawing} name=${product.name} />
      <h2>${product.name}</h2>
      <p class="line"><span class="price">$${money(product.price)}</span><${Stock} stock=${product.stock} /></p>
      ${quantity > 0
        ? html`<${Quantity} product=${product} quantity=${quantity} most=${product.stock} />`
        : html`<button class="first" aria-label="Add to cart: ${product.name}" disabled=${product.stock === 0} onClick=${() => put(product, 1)}>Add to cart</button>`}
    </li>`;
}

/** That the shop gives no answer, in words for customers; or what it says. */
export function Trouble({ error, what }) {
  if (!error) return null;
  if (!(error instanceof NoAnswer)) return html`<p class="problem" role="alert">${error.message}</p>`;
  return html`<p class="trouble" role="alert">The shop does not answer right now. ${what} It is asked again by itself.</p>`;
}

export function Products() {
  const { data, error } = useProducts();
  const { cart } = useShop();
  const quantity = (product) => cart.find((line) => line.product_id === product.id)?.quantity ?? 0;
  return html`
    <${Title} title="Products">Buy something, and have the payment fail</>
    <p class="lead">Fill a cart, choose how the payment goes, and watch the order: each step, each new attempt, and what a customer is told when something breaks.</p>
    <${Trouble} error=${error} what=${data ? "Prices and stock may be old." : "So there are no products to show."} />
    <ul class="products" aria-busy=${!data && !error ? "true" : undefined}>
      ${data?.map((product) => html`<${Product} key=${product.id} product=${product} quantity=${quantity(product)} />`)}
    </ul>
    ${data?.length === 0 && html`<p>Nothing is for sale right now.</p>`}
    ${cart.length > 0 && html`<p class="onward"><a class="button first" href="/shop/cart">To the cart and the payment</a></p>`}`;
}
