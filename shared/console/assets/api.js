// Asks the operators' API, and tells how the connection stands.

import { useCallback, useEffect, useRef, useState } from "./vendor/hooks.js";

/** A number whose digits JavaScript would change, such as 14.50. It is shown as it was written. */
export class Exact {
  constructor(text) {
    this.text = text;
  }
}

/** Reads JSON, and keeps every digit of a number where the browser says how it was written. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source !== undefined && context.source !== String(value) ? new Exact(context.source) : value);
}

/** Writes JSON on indented lines, every number as it was read. */
export function write(value, indent = "") {
  if (value instanceof Exact) return value.text;
  const inner = `${indent}  `;
  const list = (open, parts, close) =>
    parts.length === 0 ? open + close : `${open}\n${parts.map((part) => inner + part).join(",\n")}\n${indent}${close}`;
  if (Array.isArray(value)) return list("[", value.map((part) => write(part, inner)), "]");
  if (value !== null && typeof value === "object") {
    return list("{", Object.entries(value).map(([key, part]) => `${JSON.stringify(key)}: ${write(part, inner)}`), "}");
  }
  return JSON.stringify(value);
}

/** An answer that refuses. Its message is a sentence for people. */
export class Refused extends Error {
  constructor(status, body) {
    const details = (body?.details ?? []).map(({ path, message }) => `${path || "/"} ${message}`);
    const said = body?.error ?? body?.message ?? `The API answered ${status}`;
    super([said, ...details].join("; "));
    this.status = status;
  }
}

/** No answer came. Whether a change was made is not known. */
export class NoAnswer extends Error {
  constructor() {
    super("No answer came. Whether it was done is not known: look before you do it again");
  }
}

// ---- The connection and the session ------------------------------------------------------------------------------------

/** `session` is `undefined` before it was asked for, and `null` if there is none. `answered` is when the last answer came. */
let state = { session: undefined, takesToken: false, answered: Date.now(), lost: false };
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

/** How long an answer may take, in milliseconds. */
const PATIENCE = 30_000;

async function exchange(method, url, body, headers = {}) {
  const all = { "x-stepwell-console": "1", ...headers };
  if (state.session?.may_rename) all["x-operator"] = bytes(state.session.operator);
  if (body !== undefined) all["content-type"] = "application/json";
  let status, text;
  try {
    const response = await fetch(url, { method, headers: all, body, signal: AbortSignal.timeout(PATIENCE) });
    status = response.status;
    text = await response.text();
  } catch {
    change({ lost: true });
    throw new NoAnswer();
  }
  change({ lost: false, answered: Date.now() });
  let read;
  try {
    read = text === "" ? null : parse(text);
  } catch {
    read = null;
  }
  if (status === 401) change({ session: null });
  if (status >= 400) throw new Refused(status, read);
  return read;
}

/** Asks the API. A space is written as AWS signs it. */
export const get = (path) => exchange("GET", `/api${path.replaceAll("+", "%20")}`);

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

/** Asks whether there is a session. */
export async function resume() {
  try {
    const { session, takes_token: takesToken } = await exchange("GET", "/console/session");
    change({ session: named(session), takesToken });
  } catch {
    // What went wrong is in the state.
  }
}

/** Logs in with `{code}` or `{token}`. */
export async function logIn(credentials) {
  change({ session: named(await exchange("POST", "/console/session", JSON.stringify(credentials))) });
}

export async function logOut() {
  await exchange("DELETE", "/console/session");
  await resume();
}

// ---- Answers that are kept up to date ----------------------------------------------------------------------------------

const CHANGED = new EventTarget();

/** How long after a lost answer it is asked again, in milliseconds. */
const RETRY = 2_000;

/** Has everything that is shown asked for anew, because something was done. */
export const changed = () => CHANGED.dispatchEvent(new Event("changed"));

/**
 * Asks again and again, `every` milliseconds after the last answer, while the page is looked at. `every` may be a function of the answer.
 * Without a path it asks nothing. An answer stays while the next one fails. `asking` is how it asks.
 */
export function useAnswer(path, every, asking = get) {
  const [shown, show] = useState({ path, data: undefined, error: undefined });
  const again = useRef(() => {});
  const pause = useRef(every);
  pause.current = every;
  useEffect(() => {
    if (path === null) return undefined;
    let timer, last, busy = false, over = false;
    const ask = async () => {
      if (busy) return;
      busy = true;
      clearTimeout(timer);
      try {
        const data = await asking(path);
        last = data;
        if (!over) show({ path, data, error: undefined });
      } catch (error) {
        if (!over) show((before) => ({ path, data: before.path === path ? before.data : undefined, error }));
      }
      busy = false;
      const wait = state.lost ? RETRY : typeof pause.current === "function" ? pause.current(last) : pause.current;
      if (!over && wait && !document.hidden) timer = setTimeout(ask, wait);
    };
    const look = () => document.hidden || ask();
    again.current = ask;
    CHANGED.addEventListener("changed", ask);
    document.addEventListener("visibilitychange", look);
    addEventListener("online", look);
    ask();
    return () => {
      over = true;
      clearTimeout(timer);
      CHANGED.removeEventListener("changed", ask);
      document.removeEventListener("visibilitychange", look);
      removeEventListener("online", look);
    };
  }, [path]);
  const reload = useCallback(() => again.current(), []);
  return shown.path === path ? { ...shown, reload } : { path, data: undefined, error: undefined, reload };
}

// ---- The error codes ---------------------------------------------------------------------------------------------------

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
