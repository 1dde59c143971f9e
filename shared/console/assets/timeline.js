// What happened when, to scale: a row for each step. Where nothing runs for long, the time is folded, and the fold says how much.

import { clock, duration, html, relative, word } from "./parts.js";
import { useLayoutEffect, useRef, useState } from "./vendor/hooks.js";

const ROW = 26;
const HEAD = 30;
const FOLD = 54;

/** The narrowest bar that can be seen. */
const THIN = 3;

const LABELS = 150;

const REASONS = {
  queue: "waits for a worker",
  backoff: "waits before its next attempt",
  redrive: "waits for a redrive",
  omitted: "attempts that are not kept in full",
};

const OUTCOMES = {
  in_progress: ["runs", "in_progress"],
  complete: ["done", "complete"],
  retryable_error: ["failed, may be tried again", "error"],
  permanent_error: ["failed for good", "error"],
  lost: ["lost: its worker died", "error"],
};

/** What an entry of the timeline says in words. */
export function told(entry) {
  switch (entry.kind) {
    case "started": return "The task was started";
    case "attempt": return `Attempt ${entry.number}: ${OUTCOMES[entry.outcome]?.[0] ?? entry.outcome}${entry.code ? `, ${entry.code}` : ""}`;
    case "wait": {
      const why = entry.code ? ` after ${entry.code}` : "";
      return entry.reason === "omitted" ? `${entry.attempts} ${REASONS.omitted}` : `It ${REASONS[entry.reason] ?? entry.reason}${why}`;
    }
    case "action": return `${entry.what} by ${entry.who}: ${entry.why}`;
    case "refusal": return `The cancellation was refused: ${entry.code}`;
    case "ended": return `The task is ${word(entry.status)}`;
    default: return entry.kind;
  }
}

/**
 * The scale from moments to pixels: `at` of a moment, and the stretches of time, of which some are folded. Between two moments at which something begins or ends, either something runs or nothing does. A stretch
 * without an attempt that takes longer than all attempts together is folded.
 */
export function scaleOf(entries, width, end) {
  const moments = new Set(entries.flatMap(({ from, until, kind: of }) => (of === "wait" ? [from] : [from, until ?? end])));
  moments.add(end);
  const sorted = [...moments].sort((one, other) => one - other);
  const runs = entries.filter(({ kind: of }) => of === "attempt" || of === "omitted");
  const stretches = sorted.slice(1).map((to, place) => {
    const from = sorted[place];
    return { from, to, busy: runs.some((run) => run.from < to && (run.until ?? end) > from) };
  });
  const busy = stretches.filter((one) => one.busy).reduce((sum, { from, to }) => sum + to - from, 0);
  const most = Math.max(busy, 20);
  for (const one of stretches) one.folded = !one.busy && one.to - one.from > most;
  const folds = stretches.filter((one) => one.folded).length;
  const rest = stretches.filter((one) => !one.folded).reduce((sum, { from, to }) => sum + to - from, 0);
  const fold = folds === 0 ? 0 : Math.min(FOLD, (width * 0.6) / folds);
  const pixels = (width - folds * fold) / Math.max(rest, 1);
  let x = 0;
  for (const one of stretches) {
    one.x = x;
    one.width = one.folded ? fold : (one.to - one.from) * pixels;
    x += one.width;
  }
  const at = (moment) => {
    const stretch = stretches.find(({ to }) => moment <= to) ?? stretches.at(-1);
    if (!stretch) return 0;
    const part = stretch.to === stretch.from ? 0 : (moment - stretch.from) / (stretch.to - stretch.from);
    return stretch.x + Math.min(Math.max(part, 0), 1) * stretch.width;
  };
  return { at, stretches };
}

function Bar({ entry, at, y, end }) {
  const from = at(entry.from);
  const to = at(entry.until ?? end);
  const title = `${entry.step ?? "task"}: ${told(entry)}, ${duration((entry.until ?? end) - entry.from)}`;
  if (entry.kind === "wait") {
    return html`<g class="wait ${entry.reason}"><title>${title}</title><line x1=${from} x2=${Math.max(to, from + 1)} y1=${y + ROW / 2} y2=${y + ROW / 2} /></g>`;
  }
  const width = Math.max(to - from, THIN);
  const of = OUTCOMES[entry.outcome]?.[1] ?? "in_progress";
  return html`
    <g class="attempt ${of}">
      <title>${title}</title>
      <rect x=${from} y=${y + 4} width=${width} height=${ROW - 8} rx="2" />
      ${width > 18 && html`<text x=${from + width / 2} y=${y + ROW / 2 + 4}>${of === "error" ? "✕ " : ""}${entry.number}</text>`}
    </g>`;
}

export function Timeline({ task, now }) {
  const box = useRef();
  const [width, setWidth] = useState(900);
  useLayoutEffect(() => {
    const look = () => setWidth(Math.max(box.current.clientWidth - 2, 320));
    look();
    const watch = new ResizeObserver(look);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const entries = task.timeline.map((entry) => ({ ...entry, from: Date.parse(entry.from), until: entry.until === null ? null : Date.parse(entry.until) }));
  const goesOn = entries.some((entry) => entry.until === null && (entry.kind === "attempt" || ["queue", "backoff"].includes(entry.reason)));
  const last = Math.max(...entries.map(({ from, until }) => until ?? from));
  const end = goesOn ? Math.max(now, last) : last;
  const shown = entries.filter((entry) => goesOn || entry.until !== null);
  const steps = [...new Set(entries.filter(({ step, kind: of }) => step && of !== "action").map(({ step }) => step))];
  const labels = Math.min(LABELS, width * 0.34);
  const { at, stretches } = scaleOf(shown, width - labels - 12, end);
  const marks = shown.filter(({ kind: of }) => of === "action" || of === "refusal");
  // Above the rows there is room for what stands there.
  const head = marks.length > 0 || stretches.some(({ folded }) => folded) ? HEAD : 4;
  const height = head + steps.length * ROW + 4;
  const summary = `Timeline of ${duration(end - entries[0].from)}: ${steps.length} steps. The table below says the same.`;
  return html`
    <div class="timeline" ref=${box}>
      <svg width=${width} height=${height} role="img" aria-label=${summary}>
        ${steps.map((step, place) => html`
          <g key=${step}>
            <line class="lane" x1="0" x2=${width} y1=${head + place * ROW} y2=${head + place * ROW} />
            <text class="label" x="0" y=${head + place * ROW + ROW / 2 + 4}>${step.length > labels / 7.2 ? `${step.slice(0, labels / 7.2 - 1)}…` : step}</text>
          </g>`)}
        <g transform="translate(${labels + 6} 0)">
          ${stretches.filter(({ folded }) => folded).map(({ x, width: fold, from, to }) => html`
            <g class="fold">
              <rect x=${x} y=${head - 10} width=${fold} height=${height - head + 10} />
              <text x=${x + fold / 2} y="14">${duration(to - from)}</text>
              <path d="M${x + fold / 2 - 6} ${head - 4}l3 -5 6 5 3 -5" />
            </g>`)}
          ${marks.map((entry) => html`
            <g class="mark"><title>${told(entry)}</title>
              <line x1=${at(entry.from)} x2=${at(entry.from)} y1=${head - 10} y2=${height} /><path d="M${at(entry.from) - 5} ${head - 16}h10l-5 8Z" /></g>`)}
          ${steps.map((step, place) => shown.filter((entry) => entry.step === step && (entry.kind === "attempt" || entry.kind === "wait")).map((entry) =>
            html`<${Bar} entry=${entry} at=${at} y=${head + place * ROW} end=${end} />`))}
        </g>
      </svg>
    </div>
    <p class="legend">
      <span><i class="attempt complete"></i> done</span><span><i class="attempt error"></i> ✕ failed</span><span><i class="attempt in_progress"></i> runs</span>
      <span><i class="wait"></i> waits</span><span><i class="fold"></i> folded time, in which nothing ran</span>${marks.length > 0 && html`<span>▾ a person</span>`}
    </p>
    <details>
      <summary>As a table</summary>
      <div class="scroll" tabindex="0" role="group" aria-label="Timeline as a table">
        <table>
          <caption class="hidden">Timeline</caption>
          <thead><tr><th scope="col">When</th><th scope="col">Step</th><th scope="col">What</th><th scope="col">How long</th></tr></thead>
          <tbody>${entries.map((entry) => html`
            <tr>
              <td class="when"><time datetime=${new Date(entry.from).toISOString()}>${clock(entry.from)}.${String(entry.from % 1000).padStart(3, "0")}</time></td>
              <td>${entry.step ?? ""}</td>
              <td>${told(entry)}${entry.due && entry.until === null ? `, due ${relative(entry.due, now)}` : ""}</td>
              <td class="number">${entry.until === null ? "lasts" : ["attempt", "wait"].includes(entry.kind) ? duration(entry.until - entry.from) : ""}</td>
            </tr>`)}
          </tbody>
        </table>
      </div>
    </details>`;
}
