// Bulk actions: which there are, how far each is, and what became of each task.

import { Ask, begin } from "./actions.js";
import { get, post, useAnswer, useConnection } from "./api.js";
import { clock, html, plural, Problem, relative, short, State, TaskLink, Time, Title, useNow } from "./parts.js";
import { useEffect, useState } from "./vendor/hooks.js";

const EACH = 2_000;

/** The pictures of the statuses of a bulk action. */
const STATES = { running: "in_progress", stopping: "retrying", complete: "complete", stopped: "cancelled" };

const REFUSALS = {
  status: "somebody else was quicker",
  trail_full: "its audit trail is full",
  keeps_changing: "it kept changing",
  newer_format: "a newer version wrote it",
  not_found: "it has expired",
  failed: "it could not be read or written",
  stopped: "the bulk action was stopped",
};

const refusedOf = ({ refused }) => Object.values(refused).reduce((sum, count) => sum + count, 0);

const filterText = (filter) => Object.entries(filter).map(([field, value]) => `${field}=${value}`).join(" ");

export function BulkActions() {
  const now = useNow();
  const { data, error } = useAnswer("/tasks/bulk", EACH * 2);
  return html`
    <${Title} title="Bulk actions">Bulk actions</>
    <p class="hint">Of the last 90 days, the newest first. To begin one, show <a href="/console/tasks">those tasks</a> that it is about.</p>
    <${Problem} error=${error} />
    <section class="card" aria-busy=${!(data ?? error) || undefined}>
      ${data?.bulk_actions.length === 0 && html`<p class="empty">There was none.</p>`}
      ${data?.bulk_actions.length > 0 && html`
        <table>
          <caption class="hidden">Bulk actions</caption>
          <thead><tr><th scope="col">Action</th><th scope="col">Status</th><th scope="col">Started</th><th scope="col">Done</th><th scope="col">Refused</th><th scope="col">By</th><th scope="col">Why</th></tr></thead>
          <tbody>${data.bulk_actions.map((bulk) => html`
            <tr key=${bulk.bulk_id}>
              <td><a href="/console/bulk/${bulk.bulk_id}">${bulk.action} ${short(bulk.bulk_id)}</a></td>
              <td><${State} state=${STATES[bulk.status]} text=${bulk.status} /></td>
              <td class="when"><${Time} at=${bulk.started_at} now=${now} /></td>
              <td class="number">${bulk.done}</td><td class="number">${refusedOf(bulk)}</td><td>${bulk.who}</td><td>${bulk.why}</td>
            </tr>`)}
          </tbody>
        </table>`}
    </section>`;
}

function Results({ id, done }) {
  const [shown, show] = useState({ results: [], next: null });
  const [error, fail] = useState();
  const load = async (next) => {
    try {
      const page = await get(`/tasks/bulk/${id}/results${next ? `?next=${encodeURIComponent(next)}` : ""}`);
      show((before) => ({ results: next ? [...before.results, ...page.results] : page.results, next: page.next }));
      fail();
    } catch (refused) {
      fail(refused);
    }
  };
  useEffect(() => {
    load();
  }, [id, done]);
  return html`
    <section class="card">
      <h2>Each task</h2>
      <${Problem} error=${error} />
      ${shown.results.length === 0
        ? html`<p class="empty">None was reached yet.</p>`
        : html`
          <table>
            <caption class="hidden">What became of each task</caption>
            <thead><tr><th scope="col">Task</th><th scope="col">Result</th></tr></thead>
            <tbody>${shown.results.map(({ task_id: task, result, reason }, place) => html`
              <tr key=${place}>
                <td><${TaskLink} id=${task} /></td>
                <td><${State} state=${result === "done" ? "complete" : "error"} text=${result} />${reason && html` ${REFUSALS[reason] ?? reason}`}</td>
              </tr>`)}
            </tbody>
          </table>`}
      ${shown.next && html`<p><button onClick=${() => load(shown.next)}>Show more</button></p>`}
    </section>`;
}

export function BulkAction({ id }) {
  const now = useNow();
  const { session } = useConnection();
  const [asks, ask] = useState(false);
  const { data: bulk, error } = useAnswer(`/tasks/bulk/${id}`, (answer) => (answer && ["complete", "stopped"].includes(answer.status) ? 0 : EACH));
  if (!bulk) return html`<${Title} title="Bulk action">Bulk action</>${error ? html`<${Problem} error=${error} />` : html`<p class="hint" aria-busy="true">Asking …</p>`}`;
  const refused = refusedOf(bulk);
  const reached = bulk.done + refused;
  const atWork = ["running", "stopping"].includes(bulk.status);
  const all = Math.max(bulk.expected_count, reached, 1);
  const stop = (form) =>
    begin({
      what: `Stop the bulk action ${short(id)}`,
      perform: async () => {
        await post(`/tasks/bulk/${id}/stop`, { reason: form.get("reason") });
        return "it stops.";
      },
    });
  return html`
    <${Title} title="Bulk ${bulk.action}">Bulk ${bulk.action} of ${plural(bulk.expected_count, "task")}</>
    <${Problem} error=${error} />
    <section class="card">
      <div class="bar">
        <p role="status"><${State} state=${STATES[bulk.status]} text=${bulk.status} /></p>
        ${bulk.status === "running" && session?.may_write && html`<button onClick=${() => ask(true)}>Stop…</button>`}
      </div>
      <progress max=${all} value=${atWork ? reached : all} aria-label="Tasks reached"></progress>
      <p><strong>${bulk.done.toLocaleString("en")}</strong> done, <strong>${refused.toLocaleString("en")}</strong> refused, of ${bulk.expected_count.toLocaleString("en")} that were expected.
        ${atWork && bulk.expected_end && ` At its pace of ${bulk.pace} a minute it is over ${relative(bulk.expected_end, now)}. It goes on each minute.`}
        ${!atWork && bulk.finished_at && ` It was over at ${clock(bulk.finished_at)}.`}</p>
      ${refused > 0 && html`<ul>${Object.entries(bulk.refused).map(([reason, count]) => html`<li>${count} refused: ${REFUSALS[reason] ?? reason}</li>`)}</ul>`}
      <dl class="facts">
        <dt>Filter</dt><dd><code>${filterText(bulk.filter)}</code></dd>
        <dt>Started</dt><dd><${Time} at=${bulk.started_at} now=${now} /> by ${bulk.who}: ${bulk.why}</dd>
        ${bulk.stopped_by && html`<dt>Stopped</dt><dd>by ${bulk.stopped_by.who}: ${bulk.stopped_by.why}</dd>`}
      </dl>
    </section>
    <${Results} id=${id} done=${reached} />
    ${asks && html`
      <${Ask} title="Stop this bulk action?" button="Stop" bad close=${() => ask(false)} confirm=${stop}>
        <p>At most the 50 tasks at which it is are still acted on. Those that it has not reached stay as they are.</p>
      </>`}`;
}
