// Asks an API in JSON, with every digit of its numbers, and keeps answers up to date.

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
    this.code = body?.code;
    /** Whether the shop itself has refused, and not a server in between. */
    this.isOurs = body?.success === false;
  }
}

/** No answer came from the shop. Whether a change was made is not known. */
export class NoAnswer extends Error {
  constructor(method, said = "No answer came") {
    super(method === "GET" ? said : `${said}. Whether it was done is not known: look before you do it again`);
  }
}

/** The server-sent event in an answer, its data read as JSON; `undefined` where there is none. */
function event(text) {
  const said = (field) => text.split("\n").filter((line) => line.startsWith(field)).map((line) => line.slice(field.length));
  const [id] = said("id: ");
  return id && { id, data: parse(said("data: ").join("\n")) };
}

/** The statuses with which a server in between, or a store, says that it got no answer itself. */
const UNANSWERED = [502, 503, 504];

/** How long an answer may take beyond the time for which it was asked to wait, in milliseconds. */
const PATIENCE = 30_000;

/**
 * Asks, and returns what the answer says: the value of its JSON, its event, or `null` if it has no content. What throws has `wait`, the milliseconds after which the API wants to be asked again, or 0.
 * `wait` is for how many seconds the API is asked to wait.
 *
 * @throws {Refused} The answer refuses.
 * @throws {NoAnswer} None came from the shop.
 */
export async function ask(method, url, { body, headers, wait = 0 } = {}) {
  const all = body === undefined ? headers : { "content-type": "application/json", ...headers };
  let response, text;
  try {
    response = await fetch(url, { method, headers: all, body, signal: AbortSignal.timeout(PATIENCE + wait * 1000) });
    text = await response.text();
  } catch {
    throw Object.assign(new NoAnswer(method), { wait: 0 });
  }
  let read;
  try {
    const isEvent = response.headers.get("content-type")?.startsWith("text/event-stream");
    read = text === "" ? null : isEvent ? event(text) : parse(text);
  } catch {
    // What stands in between has answered, or cut the answer off.
    if (response.ok) throw Object.assign(new NoAnswer(method, "What came is no answer of the shop"), { wait: 0 });
    read = null;
  }
  const { status } = response;
  if (status < 400) return read;
  const refused = new Refused(status, read);
  // A refusal with a code of its own is an answer of the shop.
  const unanswered = UNANSWERED.includes(status) && refused.code === undefined;
  const after = Number(response.headers.get("retry-after")) * 1000 || 0;
  throw Object.assign(unanswered ? new NoAnswer(method, refused.message) : refused, { status, wait: after });
}

// ---- Answers that are kept up to date

const CHANGED = new EventTarget();

/** The longest pause after failed requests, in milliseconds, unless the API names a longer one. */
const LONGEST = 60_000;

/** Has everything that is shown asked for anew, because something was done. */
export const changed = () => CHANGED.dispatchEvent(new Event("changed"));

/**
 * Asks again and again, `every` milliseconds after the last answer, while the page is looked at. `every` may be a function of the answer.
 * Without a path it asks nothing. An answer stays while the next one fails: the error's `since` is when it came. Each failure doubles the
 * pause. `asking` is how it asks: a function of the path and of the last answer.
 */
export function useAnswer(path, every, asking) {
  const [shown, show] = useState({ path, data: undefined, error: undefined });
  const again = useRef(() => {});
  const pause = useRef(every);
  pause.current = every;
  useEffect(() => {
    if (path === null) return undefined;
    let timer, last, since, failures = 0, busy = false, over = false;
    const ask = async () => {
      if (busy) return;
      busy = true;
      clearTimeout(timer);
      let wait = 0;
      try {
        const data = await asking(path, last);
        last = data;
        since = Date.now();
        failures = 0;
        if (!over) show({ path, data, error: undefined });
      } catch (error) {
        failures += 1;
        wait = error.wait ?? 0;
        error.since = since;
        if (!over) show((before) => ({ path, data: before.path === path ? before.data : undefined, error }));
      }
      busy = false;
      const every = typeof pause.current === "function" ? pause.current(last) : pause.current;
      if (!over && every && !document.hidden) timer = setTimeout(ask, Math.max(every, wait, Math.min(every * 2 ** failures, LONGEST)));
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
