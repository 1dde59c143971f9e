// What this browser keeps of the shop: the cart, who buys, an order on its way to the shop, and those that have arrived. And what the shop
// is asked.

import { ask, Exact, NoAnswer, useAnswer, write } from "./http.js";
import { useEffect, useState } from "./vendor/hooks.js";

// ---- What is kept ------------------------------------------------------------------------------------------------------

const NAME = "stepwell.shop";

/** `purchase` is the order on its way. It is sent until the shop has answered, with the same key, so it is never made twice. */
const NOTHING = { cart: [], customer: { name: "Ann Example", email: "ann@example.com" }, purchase: null, orders: [] };

/** The most orders that are kept. */
const MOST = 50;

function read() {
  try {
    return { ...NOTHING, ...JSON.parse(localStorage.getItem(NAME)) };
  } catch {
    return NOTHING;
  }
}

/** `refused` is why the last purchase was refused. It is not kept. */
let state = { ...read(), refused: undefined };
const listeners = new Set();

function tell(next) {
  state = next;
  for (const listener of listeners) listener(state);
}

function change(part) {
  tell({ ...state, ...part });
  const { refused, ...kept } = state;
  try {
    localStorage.setItem(NAME, JSON.stringify(kept));
  } catch {
    // A browser that keeps nothing can buy all the same, as long as the page is open.
  }
}

// Another tab has changed it.
addEventListener("storage", ({ key }) => key === NAME && tell({ ...read(), refused: state.refused }));

/** What is kept, as it changes. */
export function useShop() {
  const [shown, show] = useState(state);
  useEffect(() => {
    listeners.add(show);
    show(state);
    return () => listeners.delete(show);
  }, []);
  return shown;
}

/** Sets how many units of a product are in the cart. */
export function put(product, quantity) {
  const others = state.cart.filter((line) => line.product_id !== product.id);
  const line = { product_id: product.id, name: product.name, quantity };
  const isNew = others.length === state.cart.length;
  const cart = quantity === 0 ? others : isNew ? [...others, line] : state.cart.map((old) => (old.product_id === product.id ? line : old));
  change({ cart, refused: undefined });
}

export const setCustomer = (part) => change({ customer: { ...state.customer, ...part } });
export const fillCart = (items) => change({ cart: items.map(({ product_id, name, quantity }) => ({ product_id, name, quantity })), refused: undefined });
export const forgetOrders = () => change({ orders: [], customer: NOTHING.customer });

/** An order that this browser has made. */
export const orderOf = (id) => state.orders.find((order) => order.id === id);

/** The address of an order's page. The key stands behind the `#`, so that no request's address has it. */
export const orderPath = ({ id, key }) => `/shop/orders/${id}#${key}`;

/** An amount of money as the shop wrote it. */
export const money = (amount) => (amount instanceof Exact ? amount.text : Number(amount).toFixed(2));

// ---- Buying ------------------------------------------------------------------------------------------------------------

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Begins a purchase of what was quoted. `send` sends it. */
export function buy(quote, card) {
  if (state.purchase) return;
  const items = quote.items.map(({ product_id, quantity, price }) => ({ product_id, quantity, price }));
  const { name, email } = state.customer;
  const payment = { token: card.token, amount: quote.total, currency: quote.currency };
  const body = write({ checkout: { cart_items: items, payment_info: payment, customer_info: { email, name } } });
  const about = { items: quote.items.map(({ product_id, name, quantity }) => ({ product_id, name, quantity })), total: money(quote.total), currency: quote.currency };
  change({ purchase: { key: random(), body, about }, refused: undefined });
}

let sending = null;

/**
 * Sends the purchase that is on its way, and returns the order. It may be sent again until there is an answer.
 *
 * @throws {Refused} The shop has started nothing, and the purchase is over.
 * @throws {NoAnswer} It may have been made.
 */
export function send() {
  sending ??= sendOnce().finally(() => (sending = null));
  return sending;
}

async function sendOnce() {
  const { key, body, about } = state.purchase;
  try {
    const answer = await ask("POST", "/checkout", { body, headers: { "idempotency-key": key } });
    const order = { id: answer.task_id, key: answer.task_key, at: new Date().toISOString(), ...about };
    const others = state.orders.filter(({ id }) => id !== order.id);
    change({ purchase: null, cart: [], orders: [order, ...others].slice(0, MOST) });
    return order;
  } catch (error) {
    if (!(error instanceof NoAnswer)) change({ purchase: null, refused: error });
    throw error;
  }
}

// ---- What the shop is asked --------------------------------------------------------------------------------------------

/** How many pages of the catalogue are shown. */
const PAGES = 10;

async function askProducts() {
  const products = [];
  let next = "";
  for (let page = 0; page < PAGES && next !== undefined; page += 1) {
    const answer = await ask("GET", `/products${next && `?next=${next}`}`);
    products.push(...answer.products);
    next = answer.next;
  }
  return products.filter((product) => product.active);
}

/** The catalogue, as old as the shop lets it be. */
export const useProducts = () => useAnswer("products", 15_000, askProducts);

/** What the cart costs. The shop computes it, by the rules that the order is held to. */
export function useQuote(cart) {
  const items = cart.map(({ product_id, quantity }) => ({ product_id, quantity }));
  return useAnswer(items.length > 0 ? JSON.stringify({ cart_items: items }) : null, 15_000, (body) => ask("POST", "/quote", { body }));
}

/** The cards of the simulated gateway. */
export const useCards = () => useAnswer("/shop/cards.json", 0, (path) => ask("GET", path));

const withKey = (key) => ({ "x-task-key": key });

/** How an order stands, step by step. `wait` is for how many seconds the shop may wait for the end. */
export async function askOrder(id, key, wait) {
  const headers = withKey(key);
  const status = await ask("GET", `/order_status/${id}${wait > 0 ? `?wait=${wait}` : ""}`, { headers, wait });
  const isThere = !["unconfirmed", "not_started"].includes(status.status);
  const details = isThere ? await ask("GET", `/workflow_details/${id}`, { headers }) : undefined;
  return { status, details };
}

/** The word of an order's status. */
export const askWord = (id) => ask("GET", `/order_status/${id}`);

/** Has the failed step tried again now, with another card if there is one. */
export const retry = (id, key, token) =>
  ask("POST", `/retry_checkout/${id}`, { headers: withKey(key), body: token && JSON.stringify({ payment_info: { token } }) });

export const cancel = (id, key) => ask("POST", `/cancel_checkout/${id}`, { headers: withKey(key) });
