// The parts that the pages of all applications are made of.

import { useEffect, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";
import { Component, h } from "./vendor/preact.js";

export const html = htm.bind(h);

// ---- Addresses

const places = new Set();

/** Goes to a page. */
export function go(path, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", path);
  for (const place of places) place();
}

/** Where the browser is, as it changes. */
export function usePlace() {
  const [place, set] = useState(() => new URL(location));
  useEffect(() => {
    const look = () => set(new URL(location));
    places.add(look);
    addEventListener("popstate", look);
    return () => {
      places.delete(look);
      removeEventListener("popstate", look);
    };
  }, []);
  return place;
}

/** The query of an address with these fields; those without a value are left out. */
export function query(fields) {
  const said = Object.entries(fields).filter(([, value]) => value);
  return said.length === 0 ? "" : `?${new URLSearchParams(said)}`;
}

/** The form of an id, as the source of a regular expression. */
export const ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}";

/** Has links to these addresses change the page without loading it anew. */
export function followLinks(selector) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(selector);
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });
}

/** Has a page that is opened begin at its title, for the eyes and for a screen reader. Returns what `main` needs as its `ref`. */
export function useFocusAtTitle({ pathname }) {
  const main = useRef();
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    main.current.querySelector("h1")?.focus({ preventScroll: true });
  }, [pathname]);
  return main;
}

// ---- Texts

/** A duration in words: two units at most. */
export function duration(ms) {
  const rounded = Math.round(ms);
  if (rounded < 1000) return `${rounded} ms`;
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`;
  const units = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
  let rest = Math.round(ms / 1000);
  const parts = [];
  for (const [unit, seconds] of units) {
    const count = Math.floor(rest / seconds);
    rest -= count * seconds;
    if (count > 0) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.slice(0, 2).join(" ");
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** A text with the point at its end, unless it has an end. */
export const sentence = (text) => (/[.?!]$/.test(text) ? text : `${text}.`);

/** How many attempts a step has made, with those that are not kept in full. */
export const attemptsOf = (step) => Object.values(step.omitted_attempts ?? {}).reduce((sum, count) => sum + count, step.attempts.length);

/** A moment as a time of this day, or with its date. */
export function clock(moment) {
  const date = new Date(moment);
  const time = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString()
    ? time
    : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}, ${time}`;
}

/** How long ago a moment was, or how long it is until then. */
export function relative(moment, now) {
  const ms = now - new Date(moment);
  if (Math.abs(ms) < 1000) return "now";
  if (Math.abs(ms) < 60_000) return ms > 0 ? `${Math.floor(ms / 1000)} s ago` : `in ${Math.ceil(-ms / 1000)} s`;
  // Seconds say nothing of what is minutes old.
  return ms > 0 ? `${duration(Math.floor(ms / 60_000) * 60_000)} ago` : `in ${duration(Math.ceil(-ms / 1000) * 1000)}`;
}

/** The time, which moves on each second. */
export function useNow() {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** A moment: how long ago, and on demand when exactly, in UTC. */
export function Time({ at, now }) {
  return html`<time datetime=${at} title=${at}>${relative(at, now)}</time>`;
}

/** A text with `code` in it. */
export function Prose({ text }) {
  return html`${text.split("`").map((part, place) => (place % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}

/** A name that may break after its underscores. */
export function Name({ text }) {
  const parts = text.split("_");
  return html`${parts.map((part, place) => (place < parts.length - 1 ? html`${part}_<wbr />` : part))}`;
}

// ---- States

/** The picture of each state, drawn on 16 by 16: no two differ by their colour alone. */
const PICTURES = {
  done: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM5 8.2l2.2 2.2L11.2 6",
  failed: "M5.3 1.5h5.4l3.8 3.8v5.4l-3.8 3.8H5.3l-3.8-3.8V5.3ZM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4",
  runs: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM6.5 5.3l4.2 2.7-4.2 2.7Z",
  waits: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM8 4.5V8l2.4 1.6",
  undone: "M2 6.5h7.5a4 4 0 0 1 0 8H6M5 3.3 1.8 6.5 5 9.7",
  stopped: "M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM3.6 3.6l8.8 8.8",
  byHand: "M8 1.5 9.8 6.2 14.5 8 9.8 9.8 8 14.5 6.2 9.8 1.5 8l4.7-1.8Z",
  idle: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11Z",
  person: "M8 7.5a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM2.5 14.3c.4-3 2.6-4.8 5.5-4.8s5.1 1.8 5.5 4.8",
};

/** What each status of a task and each state of a step is called, and its picture. */
const STATES = {
  pending: ["not begun", "idle"],
  in_progress: ["running", "runs"],
  retrying: ["waiting", "waits"],
  complete: ["complete", "done"],
  error: ["failed", "failed"],
  compensating: ["compensating", "undone"],
  cancelled: ["cancelled", "stopped"],
  resolved_manually: ["resolved by hand", "byHand"],
  person: ["needs a person", "person"],
};

export const word = (state) => STATES[state]?.[0] ?? state;
export const kind = (state) => STATES[state]?.[1] ?? "idle";
export const picture = (state) => PICTURES[kind(state)];

export function Picture({ state }) {
  return html`<svg class="picture" viewBox="0 0 16 16" aria-hidden="true"><path d=${picture(state)} /></svg>`;
}

/** A state as a word with its picture. */
export function State({ state, text }) {
  return html`<span class="state ${kind(state)}"><${Picture} state=${state} />${text ?? word(state)}</span>`;
}

// ---- Messages

/** That an answer has not come, or refuses, and of when the one is that is still shown. */
export function Problem({ error }) {
  return error ? html`<p class="problem" role="alert"><${Picture} state="error" /> ${sentence(error.message)}${error.since && ` What is shown is from ${clock(error.since)}.`}</p>` : null;
}

/** The title of a page, which gets the focus when the page is opened. */
export function Title({ children, title }) {
  useEffect(() => {
    document.title = `${title} – Stepwell`;
  }, [title]);
  return html`<h1 tabindex="-1">${children}</h1>`;
}

/** A page, or that it is broken, and what helps: then the rest of the frame goes on. */
export class Boundary extends Component {
  componentDidCatch(error) {
    console.warn(error);
    this.setState({ error });
  }

  componentDidUpdate({ place }) {
    if (this.state.error && place !== this.props.place) this.setState({ error: undefined });
  }

  render({ children, help }, { error }) {
    return error ? html`<${Title} title="Broken">This page is broken</><${Problem} error=${error} />${help}` : children;
  }
}
