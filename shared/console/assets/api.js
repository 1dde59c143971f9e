// Asks the operators' API, and tells how the connection stands.

import { ask, NoAnswer, useAnswer as useKept } from "./http.js";
import * as provider from "./login.js";
import { useEffect, useState } from "./vendor/hooks.js";

export { changed, Exact, parse, write } from "./http.js";

// ---- The connection and the session

/**
 * `session` is `undefined` before it was asked for, and `null` if there is none. `login` is where people log in, if that is at the pages of a
 * provider. `answered` is when the last answer came.
 */
let state = { session: undefined, takesToken: false, login: undefined, answered: Date.now(), lost: false };
const listeners = new Set();

function change(part) {
  state = { ...state, ...part };
  for (const listener of listeners) listener(state);
}

/** How the connection and the session stand. */
export function useConnection() {
  const [shown, show] = useState(state);
  useEffect(() => {
    listeners.add(show);
    show(state);
    return () => listeners.delete(show);
  }, []);
  return shown;
}

/** Has a function told how the connection and the session stand, at each change. */
export const watch = (listener) => listeners.add(listener);

addEventListener("offline", () => change({ lost: true }));

const NAME = "stepwell.operator";

/** Sets the name under which the audit trail keeps actions. */
export function rename(name) {
  localStorage.setItem(NAME, name);
  change({ session: named(state.session) });
}

function named(session) {
  const chosen = session?.may_rename && localStorage.getItem(NAME);
  return chosen ? { ...session, operator: chosen } : session;
}

/** The bytes of a text in UTF-8, as a header carries them. */
const bytes = (text) => String.fromCharCode(...new TextEncoder().encode(text));

/** The header with the operator's name. */
const signature = () => (state.session?.may_rename ? { "x-operator": bytes(state.session.operator) } : {});

/** The header with the token that a provider has given. Without one the API refuses. */
async function authorization() {
  const token = state.login && (await provider.token(state.login));
  return token && { authorization: `Bearer ${token}` };
}

async function exchange(method, url, body, headers = {}, wait = 0) {
  try {
    const own = { "x-stepwell-console": "1", ...signature(), ...(await authorization()) };
    const read = await ask(method, url, { body, wait, headers: { ...own, ...headers } });
    change({ lost: false, answered: Date.now() });
    return read;
  } catch (error) {
    change(error instanceof NoAnswer ? { lost: true } : { lost: false, answered: Date.now() });
    if (error.status === 401) {
      provider.forget();
      change({ session: null });
    }
    throw error;
  }
}

/** Asks the API. A space is written as AWS signs it. */
export const get = (path) => exchange("GET", `/api${path.replaceAll("+", "%20")}`);

/**
 * Asks for a task once it is another than in the event of this id, for so many seconds: an event with the task, `undefined` if it is the same
 * still, and `null` if nothing follows by itself.
 */
export const getEvent = (path, id, wait) => exchange("GET", `/api${path}/events?wait=${wait}`, undefined, id && { "last-event-id": id }, wait);

/** How many pages are asked for at most to find some tasks. */
const PAGES = 10;

/**
 * Asks for tasks until there are `want` of them. A page may be empty although a later one is not: the API looks at so many tasks for each.
 * After some pages the rest is left; `next` says that there is one.
 */
export async function find(path, want) {
  const url = new URL(path, location);
  const tasks = [];
  let next = null;
  for (let page = 0; page < PAGES && tasks.length < want; page += 1) {
    if (next !== null) url.searchParams.set("next", next);
    const answer = await get(url.pathname + url.search);
    tasks.push(...answer.tasks);
    next = answer.next;
    if (next === null) break;
  }
  return { tasks, count: tasks.length, next };
}

/** Sends a body: a value, or JSON as a text. */
export const post = (path, body, headers) =>
  exchange("POST", `/api${path}`, typeof body === "string" ? body : JSON.stringify(body), headers);

/** A `post` under the name that the operator has now, whatever it is by the time it is used. */
export function postAs() {
  const headers = signature();
  return (path, body, more) => post(path, body, { ...headers, ...more });
}

/** Asks whether there is a session, and ends the login that has led here. */
export async function resume() {
  const { session, takes_token: takesToken, login } = await exchange("GET", "/console/session");
  change({ takesToken, login });
  if (login === undefined) {
    change({ session: named(session) });
    return;
  }
  try {
    await provider.complete(login);
    change({ session: (await provider.token(login)) && (await get("/session")) });
  } catch (error) {
    change({ session: null });
    throw error;
  }
}

/** Logs in with `{code}` or `{token}`. */
export async function logIn(credentials) {
  change({ session: named(await exchange("POST", "/console/session", JSON.stringify(credentials))) });
}

export async function logOut() {
  if (state.login) {
    await provider.end(state.login);
    return;
  }
  await exchange("DELETE", "/console/session");
  await resume();
}

// ---- Answers that are kept up to date

/** How long lists and figures are shown before they are asked for again, in milliseconds. Where requests cost money, longer. */
export const usePace = () => (useConnection().session?.metered ? 30_000 : 5_000);

/** `useAnswer` of the operators' API. */
export const useAnswer = (path, every, asking = get) => useKept(path, every, asking);

// ---- The error codes

let codes;

/** The explanations of all error codes, by code. Empty until they are there. */
export function useCodes() {
  const [shown, show] = useState({});
  useEffect(() => {
    codes ??= fetch("/console/codes.json").then((answer) => answer.json()).catch(() => ({}));
    codes.then(show);
  }, []);
  return shown;
}
