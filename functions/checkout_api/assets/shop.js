// What this browser keeps of the shop: the cart, who buys, an order on its way to the shop, and those that have arrived. And what the shop
// is asked.

import { ask, Exact, NoAnswer, useAnswer, write } from "./http.js";
import { useEffect, useState } from "./vendor/hooks.js";

// ---- What is kept

const NAME = "stepwell.shop";

/**
 * `purchase` is the order on its way. It is sent until it is known what became of it, with the same key, so it is never made twice. `isSent` says
 * that it has left for the shop: it may have been made, whatever a later answer says.
 */
const NOTHING = { cart: [], customer: { name: "", email: "" }, purchase: null, orders: [] };

/** The most orders that are kept. */
const MOST = 50;

/** Whether the browser keeps what it is given. Then another page goes on with a purchase, and all tabs know of it. */
let isKept = true;

/** What is kept, or `undefined` where the browser keeps nothing. */
function read() {
  try {
    return { ...NOTHING, ...JSON.parse(localStorage.getItem(NAME)) };
  } catch {
    return undefined;
  }
}

/** `refused` is why the last purchase was refused. It is not kept. */
let state = { ...NOTHING, ...read(), refused: undefined };
const listeners = new Set();

function tell(next) {
  state = next;
  for (const listener of listeners) listener(state);
}

/** Changes what is kept: what other tabs have kept meanwhile stays. `part` is made of the newest state. */
function change(part) {
  const newest = { ...state, ...(isKept ? read() : undefined) };
  const { refused, ...kept } = { ...newest, ...part(newest) };
  try {
    localStorage.setItem(NAME, JSON.stringify(kept));
  } catch {
    // It can buy all the same, as long as the page is open.
    isKept = false;
  }
  tell({ ...kept, refused });
}

// Another tab has changed it.
addEventListener("storage", ({ key }) => key === NAME && tell({ ...NOTHING, ...read(), refused: state.refused }));

// No other page would know of the order, or that it may have been made.
addEventListener("beforeunload", (event) => !isKept && (state.purchase || state.orders.length > 0) && event.preventDefault());

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
  const line = { product_id: product.id, name: product.name, quantity };
  const isIt = (old) => old.product_id === product.id;
  const changed = (cart) => {
    if (quantity === 0) return cart.filter((old) => !isIt(old));
    return cart.some(isIt) ? cart.map((old) => (isIt(old) ? line : old)) : [...cart, line];
  };
  change(({ cart }) => ({ cart: changed(cart), refused: undefined }));
}

/** A cart without what was bought of it. */
function without(cart, items) {
  const bought = new Map(items.map(({ product_id, quantity }) => [product_id, quantity]));
  const left = cart.map((line) => ({ ...line, quantity: line.quantity - (bought.get(line.product_id) ?? 0) }));
  return left.filter(({ quantity }) => quantity > 0);
}

export const setCustomer = (part) => change(({ customer }) => ({ customer: { ...customer, ...part } }));
export const fillCart = (items) =>
  change(() => ({ cart: items.map(({ product_id, name, quantity }) => ({ product_id, name, quantity })), refused: undefined }));

/** Forgets everything but a purchase of which it is not known what became of it. */
export const forget = () => change(({ purchase }) => ({ ...NOTHING, purchase }));

/** An order that this browser has made. */
export const orderOf = (id) => state.orders.find((order) => order.id === id);

/** The address of an order's page. The key stands behind the `#`, so that no request's address has it. */
export const orderPath = ({ id, key }) => `/shop/orders/${id}#${key}`;

/** An amount of money as the shop wrote it. */
export const money = (amount) => (amount instanceof Exact ? amount.text : Number(amount).toFixed(2));

// ---- Buying

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The purchase that this tab has begun, also after it was loaded anew. */
const MINE = "stepwell.purchase";

/** The same, where the browser keeps nothing. */
let own;

function mine(key) {
  own = key ?? own;
  try {
    if (key !== undefined) sessionStorage.setItem(MINE, key);
    return sessionStorage.getItem(MINE) ?? own;
  } catch {
    return own;
  }
}

/** Begins a purchase of what was quoted. `send` sends it. */
export function buy(quote, card) {
  const items = quote.items.map(({ product_id, quantity, price }) => ({ product_id, quantity, price }));
  const { name, email } = state.customer;
  const payment = { token: card.token, amount: quote.total, currency: quote.currency };
  const body = write({ checkout: { cart_items: items, payment_info: payment, customer_info: { email, name } } });
  const about = { items: quote.items.map(({ product_id, name, quantity }) => ({ product_id, name, quantity })), total: money(quote.total), currency: quote.currency };
  // One after the other, also of two tabs.
  change(({ purchase }) => (purchase ? {} : { purchase: { key: mine(random()), at: Date.now(), isSent: false, body, about }, refused: undefined }));
}

/** For how long a purchase is sent by itself, in milliseconds. Later its customer may have changed their mind. */
const BY_ITSELF = 5 * 60_000;

/** For how long it may be sent at all: a day less than the shop knows its key. Later it could be made a second time. */
const AT_ALL = 6 * 24 * 60 * 60_000;

/** What may be done about a purchase: `send` it by itself, `ask` its customer, or say that it is `over`. */
export const fateOf = ({ at }) => (Date.now() < at + BY_ITSELF ? "send" : Date.now() < at + AT_ALL ? "ask" : "over");

/** Whether an error says that the shop has started nothing: it has refused the first request that it got. Of a purchase that was sent before, nothing does. */
const isRefusal = (error, { isSent }) => !isSent && error.isOurs && (error.status < 500 || (error.status === 503 && error.code !== undefined));

/** Does something that no other tab does at the same time, where the browser can see to that. */
const alone = (act) => (navigator.locks ? navigator.locks.request(NAME, act) : act());

let sending = null;

/**
 * Sends the purchase of this key, and returns the order if this tab has begun it. It may be sent again until it is known what became of it.
 *
 * @throws {Error} It is not known, or the shop has started nothing: then the purchase is over.
 */
export function send(key) {
  sending ??= alone(() => sendOnce(key)).finally(() => (sending = null));
  return sending;
}

async function sendOnce(key) {
  const { purchase } = { ...state, ...(isKept ? read() : undefined) };
  // Another tab has done it.
  if (purchase?.key !== key || fateOf(purchase) === "over") return undefined;
  const isIt = (other) => other?.key === key;
  // Before it leaves: this page may be gone when the answer comes.
  change(({ purchase: newest }) => (isIt(newest) ? { purchase: { ...newest, isSent: true } } : {}));
  try {
    const answer = await ask("POST", "/checkout", { body: purchase.body, headers: { "idempotency-key": key } });
    if (!answer?.task_id) throw new NoAnswer("POST");
    const { about } = purchase;
    const order = { id: answer.task_id, key: answer.task_key, at: new Date(purchase.at).toISOString(), ...about };
    change(({ purchase: newest, cart, orders }) => ({
      purchase: isIt(newest) ? null : newest,
      cart: without(cart, about.items),
      orders: [order, ...orders.filter(({ id }) => id !== order.id)].slice(0, MOST),
    }));
    return mine() === key ? order : undefined;
  } catch (error) {
    const isOver = isRefusal(error, purchase);
    change(({ purchase: newest }) => (isIt(newest) && isOver ? { purchase: null, refused: error } : {}));
    throw error;
  }
}

/** Gives a purchase up. If it was made, it goes on, and this browser does not know of it. */
export const giveUp = () => change(() => ({ purchase: null }));

// ---- What the shop is asked

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

/** Whether an order's steps may go on while its status stays the same: it tells of none that begins, that is undone, or that sends an e-mail later. */
function mayDiffer(status, details) {
  if (details.status === "compensating") return true;
  const isAny = (...states) => details.steps.some((step) => states.includes(step.status));
  if (status.status === "completed") return isAny("pending", "in_progress", "retrying");
  return status.status === "processing" && !isAny("in_progress", "retrying");
}

/**
 * How an order stands, step by step. `wait` is for how many seconds the shop may wait for the end. `last` is the last answer: where the steps
 * cannot be others than then, they are not asked for.
 */
export async function askOrder(id, key, wait, last) {
  const headers = withKey(key);
  const status = await ask("GET", `/order_status/${id}${wait > 0 ? `?wait=${wait}` : ""}`, { headers, wait });
  if (last?.details && write(last.status) === write(status) && !mayDiffer(status, last.details)) return { status, details: last.details };
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
