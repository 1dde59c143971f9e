// The page of a task: how it stands and why in plain words, what can be done, its graph, its timeline, each step, and who did what.

import { Buttons, ResolveStep } from "./actions.js";
import { get, getEvent, useAnswer, useCodes, useConnection, usePace, write } from "./api.js";
import { Graph } from "./graph.js";
import { attemptsOf, bulkPath, clock, duration, html, Name, Paused, plural, Problem, Prose, short, State, TaskLink, Time, Title, useNow } from "./parts.js";
import { Input } from "./reveal.js";
import { Timeline } from "./timeline.js";

/** The longest that the API waits for a change, in seconds. */
const LONGEST = 25;

/** Asks for a task and its graph once it is another than the last one, or for so many seconds. */
const following = (wait) => async (path, last) => {
  const event = await getEvent(path, last?.id, wait);
  if (event) return { id: event.id, task: event.data, graph: await get(`${path}/graph`), rests: false };
  return last && { ...last, rests: event === null };
};

/** How long until a task is asked for again, in milliseconds: the API itself waits for a change, unless nothing follows by itself. */
const pause = (last) => (last?.rests ? 10_000 : 500);

const failed = (steps) => steps.filter((step) => step.status === "error");

/** How the task stands, in sentences: what happened, and what comes next by itself. */
function Standing({ task, now }) {
  const due = (at) => html`<${Time} at=${at} now=${now} />`;
  const names = (steps) => steps.map((step, place) => html`${place > 0 ? ", " : ""}<code><${Name} text=${step.name} /></code>`);
  const stuck = failed(task.compensations);
  const running = task.steps.filter((step) => step.status === "in_progress");
  const waiting = [...task.steps, ...task.compensations].filter((step) => step.status === "retrying");
  const sentences = [];
  switch (task.status) {
    case "pending":
    case "in_progress":
      if (running.length > 0) sentences.push(html`${names(running)} ${running.length === 1 ? "runs" : "run"} now.`);
      for (const step of waiting) sentences.push(html`<code>${step.name}</code> waits${step.next_retry_at ? html` for its next attempt, ${due(step.next_retry_at)}` : ""}.`);
      if (sentences.length === 0) sentences.push("It waits for a worker.");
      break;
    case "error":
      sentences.push(html`It stopped at ${names(failed(task.steps))}.`);
      if (task.compensated) sentences.push("It is compensated, and closed for good.");
      else {
        if (task.redrives_at) sentences.push(html`It is redriven by itself ${due(task.redrives_at)}.`);
        if (task.compensates_at) sentences.push(html`It is compensated by itself ${due(task.compensates_at)}, unless it is redriven before.`);
        if (!task.redrives_at && !task.compensates_at) sentences.push("Nothing more happens until somebody acts.");
      }
      break;
    case "compensating":
      if (stuck.length > 0) sentences.push(html`${names(stuck)} failed for good. The task waits for a person.`);
      else sentences.push("What was attempted is being compensated.");
      for (const step of waiting) sentences.push(html`<code>${step.name}</code> waits${step.next_retry_at ? html` for its next attempt, ${due(step.next_retry_at)}` : ""}.`);
      break;
    case "cancelled":
      sentences.push(task.compensated ? "It was cancelled and compensated." : "It was cancelled.");
      break;
    case "complete":
      sentences.push(task.warnings.length > 0 ? html`All is done but ${task.warnings.map(({ step }, place) => html`${place > 0 ? ", " : ""}<code>${step}</code>`)}, without which it goes on.` : "All is done.");
      break;
    case "resolved_manually":
      sentences.push("A person has declared it done.");
      break;
  }
  if (task.rerun_of) sentences.push(html`It is the rerun of <${TaskLink} id=${task.rerun_of} />.`);
  const rerun = task.rerun_as;
  if (rerun?.started) sentences.push(html`It was rerun as <${TaskLink} id=${rerun.task_id} />.`);
  else if (rerun) sentences.push("An id is reserved for a rerun that has not started. Send the same request again.");
  return html`<p class="standing" role="status">${sentences.map((sentence, place) => html`${place > 0 ? " " : ""}${sentence}`)}</p>`;
}

/** The error of a step in plain words: what its code means, what the step said, and what to do. */
function Fault({ step, codes }) {
  const { code, message } = step.error;
  const known = codes[code];
  return html`
    <div class="fault ${step.status === "retrying" ? "waits" : ""}">
      <p><a href="#step-${step.name}"><code><${Name} text=${step.name} /></code></a> <span class="code">${code}</span>${known && html` <span class="hint">${known.kind}</span>`}</p>
      <p>${known && html`<${Prose} text=${known.meaning} />`} It said: <q>${message}</q></p>
      ${known && html`<p><strong>What to do:</strong> <${Prose} text=${known.remedy} /></p>`}
    </div>`;
}

/** The steps whose errors are of concern now. */
const faults = (task) => [...task.steps, ...task.compensations].filter((step) => step.error && ["error", "retrying"].includes(step.status));

const OUTCOMES = { in_progress: "in_progress", complete: "complete", retryable_error: "error", permanent_error: "error", lost: "error" };

function Attempts({ step }) {
  const omitted = Object.entries(step.omitted_attempts ?? {});
  return html`
    <div class="scroll" tabindex="0" role="group" aria-label="Attempts of ${step.name}">
      <table>
        <caption class="hidden">Attempts of ${step.name}</caption>
        <thead><tr><th scope="col">Attempt</th><th scope="col">Outcome</th><th scope="col">Began</th><th scope="col">Took</th><th scope="col">Error</th></tr></thead>
        <tbody>${step.attempts.map((attempt) => html`
          <tr key=${attempt.number}>
            <td class="number">${attempt.number}</td>
            <td><${State} state=${OUTCOMES[attempt.outcome]} text=${attempt.refused ? "refused" : attempt.throttled ? "turned away" : attempt.outcome === "in_progress" ? "runs" : attempt.outcome === "complete" ? "done" : attempt.outcome === "lost" ? "lost" : "failed"} /></td>
            <td class="when"><time datetime=${attempt.started_at} title=${attempt.started_at}>${clock(attempt.started_at)}</time></td>
            <td class="number">${attempt.duration_ms === null ? "" : duration(attempt.duration_ms)}</td>
            <td>${attempt.error && html`<code>${attempt.error.code}</code> ${attempt.error.message}`}</td>
          </tr>`)}
        </tbody>
      </table>
    </div>
    ${omitted.length > 0 && html`<p class="hint">Not kept in full: ${omitted.map(([code, count]) => `${count} with ${code}`).join(", ")}.</p>`}`;
}

function Step({ about, step, now }) {
  return html`
    <section class="step" id="step-${step.name}" tabindex="-1" aria-labelledby="name-${step.name}">
      <div class="bar">
        <h3 id="name-${step.name}"><${Name} text=${step.name} /></h3>
        <${State} state=${step.status} />
        <span class="hint">
          ${step.kept_from && html`kept from <${TaskLink} id=${step.kept_from} />`}
          ${attemptsOf(step) > 0 && plural(attemptsOf(step), "attempt")}${step.duration_ms !== null && ` in ${duration(step.duration_ms)}`}
          ${step.next_retry_at && html`, next <${Time} at=${step.next_retry_at} now=${now} />`}
        </span>
        <${ResolveStep} about=${about} step=${step} />
      </div>
      <div class="more">${step.attempts.length > 0 && html`<details open=${step.attempts.length > 1 || step.status === "error"}><summary>Attempts</summary><${Attempts} step=${step} /></details>`}
      ${step.result !== null && html`<details><summary>Result</summary><pre tabindex="0" aria-label="Result of ${step.name}">${write(step.result)}</pre></details>`}</div>
    </section>`;
}

function Audit({ task }) {
  const entries = [...task.actions].reverse();
  return html`
    <section class="card">
      <h2>Who did what</h2>
      ${entries.length === 0 && html`<p class="empty">Nobody has acted on it.</p>`}
      ${entries.length > 0 && html`
        <ol class="audit">${entries.map((entry) => html`
          <li><time datetime=${entry.at} title=${entry.at}>${clock(entry.at)}</time>
            <span><strong>${entry.what}</strong>${entry.step && html` <code>${entry.step}</code>`} by ${entry.who}: <q>${entry.why}</q>
              ${entry.bulk && html` <a href=${bulkPath(entry.bulk)}>in a bulk action</a>`}</span></li>`)}
        </ol>`}
    </section>`;
}

export function Task({ id }) {
  const now = useNow();
  const codes = useCodes();
  const { session } = useConnection();
  const path = `/tasks/${encodeURIComponent(id)}`;
  const { data, error } = useAnswer(path, pause, following(Math.min(usePace() / 1000, LONGEST)));
  if (!data) {
    return html`<${Title} title="Task">Task <span class="id">${short(id)}</span></><${Problem} error=${error} />${!error && html`<p class="hint" aria-busy="true">Asking …</p>`}${error?.status === 404 && html`<p class="hint">A task is deleted 90 days after its start.</p>`}`;
  }
  const { task, graph } = data;
  const needsPerson = task.status === "compensating" && failed(task.compensations).length > 0;
  const steps = (list) => list.map((step) => html`<${Step} key=${step.name} about=${data} step=${step} now=${now} />`);
  return html`
    <${Title} title="Task ${short(id)}">Task <span class="id">${id}</span></>
    <${Problem} error=${error} />
    <section class="card head">
      <div class="bar">
        <${State} state=${needsPerson ? "person" : task.status} text=${task.compensated ? `${task.status === "error" ? "failed" : task.status}, compensated` : task.status === "in_progress" ? "running" : undefined} />
        <span class="hint">${task.workflow} · started <${Time} at=${task.started_at} now=${now} />${task.total_duration_ms !== null && ` · took ${duration(task.total_duration_ms)}`}</span>
      </div>
      <${Standing} task=${task} now=${now} />
      ${task.cost && html`<p class="hint">${session?.metered ? "It has cost" : "On AWS it would have cost"} $${task.cost.dollars}: ${plural(task.cost.write_units, "write unit")}, ${plural(Number(write(task.cost.read_units)), "read unit")}, ${plural(task.cost.sqs_requests, "SQS request")}, ${plural(task.cost.invocations, "invocation")}.</p>`}
      ${task.newer_format && html`<p class="problem">A newer version wrote this task, in format ${task.newer_format.written}. This one shows what it understands, and does not act on it.</p>`}
      ${task.paused?.map((pause) => html`<${Paused} step=${pause.step} pause=${pause} />`)}
      ${task.warnings.map((warning) => html`<p class="warning">It goes on without <code>${warning.step}</code>: ${warning.code}: ${warning.message}</p>`)}
      ${(task.refusals ?? []).map((refusal) => html`<p class="warning">A cancellation was refused at ${clock(refusal.at)} by <code>${refusal.step}</code>: ${refusal.error.code}: ${refusal.error.message}</p>`)}
      ${faults(task).map((step) => html`<${Fault} key=${step.name} step=${step} codes=${codes} />`)}
      <${Buttons} about=${data} />
    </section>
    <section class="card"><h2>Graph</h2><${Graph} graph=${graph} /></section>
    <section class="card"><h2>Timeline</h2><${Timeline} task=${task} now=${now} /></section>
    <section class="card"><h2>Steps</h2>${steps(task.steps)}</section>
    ${task.compensations.length > 0 && html`<section class="card"><h2>Compensations</h2>${steps(task.compensations)}</section>`}
    <${Audit} task=${task} />
    <${Input} key=${id} id=${id} />`;
}
