// The parts that all pages of the console are made of.

import { clock, html, Name, plural, State, Time, word } from "./common.js";

export * from "./common.js";

// ---- Addresses

export const taskPath = (id) => `/console/tasks/${encodeURIComponent(id)}`;
export const bulkPath = (id) => `/console/bulk/${encodeURIComponent(id)}`;

// ---- Texts

/** A count, of which there may be more. */
export const atLeast = (count, orMore, one) => `${orMore ? "at least " : ""}${plural(count, one)}`;

/** Says that a step is paused. */
export function Paused({ step, pause }) {
  return html`<p class="warning">${step && html`<code>${step}</code>: `}paused since ${clock(Date.parse(pause.since))} by ${pause.by}: ${pause.reason}${pause.also?.map(({ since, by, reason }) => `; and since ${clock(Date.parse(since))} by ${by}: ${reason}`)}</p>`;
}

// ---- Lists

/** The status of a task in a list, where the API does not tell whether one that is open has begun. */
export function Status({ task }) {
  if (task.needs_person) return html`<${State} state="person" />`;
  if (task.status === "pending") return html`<${State} state="in_progress" />`;
  return html`<${State} state=${task.status} text=${task.compensated ? `${word(task.status)}, compensated` : undefined} />`;
}

/** The end of an id, by which people tell tasks apart: its beginning is the time. */
export const short = (id) => `…${id.slice(-8)}`;

/** A link to a task. */
export function TaskLink({ id }) {
  return html`<a class="id" href=${taskPath(id)} title=${id}><span class="hidden">Task </span>${short(id)}</a>`;
}

/** How the step stands that was asked for: its state and its last attempt, with its error and when the next one is due. */
function AskedStep({ step, now }) {
  return html`
    <${State} state=${step.state} />
    ${step.attempt > 0 && html` attempt ${step.attempt}`}${step.error_code && html`, <code>${step.error_code}</code>`}
    ${step.next_retry_at && html`, next <${Time} at=${step.next_retry_at} now=${now} />`}`;
}

/** A table of tasks. If they were asked for by a step, it has a column of this step. */
export function Tasks({ tasks, now, caption }) {
  const asked = tasks.find(({ step }) => step)?.step.name;
  return html`
    <table class="tasks">
      <caption class="hidden">${caption}</caption>
      <thead>
        <tr><th scope="col">Task</th><th scope="col">Status</th>${asked && html`<th scope="col"><${Name} text=${asked} /></th>`}<th scope="col">Started</th><th scope="col">Failed</th><th scope="col">Workflow</th></tr>
      </thead>
      <tbody>
        ${tasks.map((task) => html`
          <tr key=${task.task_id}>
            <td><${TaskLink} id=${task.task_id} /></td>
            <td><${Status} task=${task} /></td>
            ${asked && html`<td>${task.step && html`<${AskedStep} step=${task.step} now=${now} />`}</td>`}
            <td class="when"><${Time} at=${task.created_at} now=${now} /></td>
            <td class="steps">${task.failed_steps.map((step, place) => html`${place > 0 ? ", " : ""}<${Name} text=${step} />`)}</td>
            <td class="workflow">${task.workflow}</td>
          </tr>`)}
      </tbody>
    </table>`;
}
