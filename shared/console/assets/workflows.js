// The workflows: each step with its limits as the file says them, and with the figures of the newest tasks.

import { Ask, begin } from "./actions.js";
import { useAnswer, useConnection } from "./api.js";
import { clock, duration, html, Name, Paused, plural, Problem, query, Title } from "./parts.js";
import { useState } from "./vendor/hooks.js";

/** Of how many of the newest tasks the figures are. Each is read once for them. */
const SAMPLE = 200;

const COMPENSATE = { on_error: "A failed task is compensated by itself", on_cancel: "Only a cancelled task is compensated", manual: "Nothing is compensated by itself" };

const percent = (share) => (share === null ? "–" : `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`);

/** How times are spread. */
function Spread({ of }) {
  return of?.count > 0
    ? html`${[of.p50, of.p95, of.p99].map((ms, place) => html`${place > 0 && html`<span class="hint"> · </span>`}${duration(ms)}`)}`
    : "–";
}

/** The error codes of a step, each with a link to its failed tasks. */
function Codes({ codes, step }) {
  return Object.entries(codes).map(([code, count], place) => html`
    ${place > 0 ? ", " : ""}${count} × <a href="/console/tasks${query({ failed_step: step, error_code: code })}"><code><${Name} text=${code} /></code></a>`);
}

/** What the file says of a step. */
function limits(step) {
  return [
    step.compensates && `undoes ${step.compensates}`,
    step.depends_on.length > 0 && `after ${step.depends_on.join(", ")}`,
    step.max_attempts === null ? "as many attempts as it needs" : plural(step.max_attempts, "attempt"),
    `of ${step.timeout_seconds} s at most`,
    step.waits_on && `waits for ${step.waits_on}`,
    step.optional && "optional",
  ].filter(Boolean).join(", ");
}

/** Says that a step is paused, and pauses or resumes it. */
function Pause({ workflow, step }) {
  const { session } = useConnection();
  // The step as it was shown when somebody asked: what they read is what they decide about, whatever is told meanwhile.
  const [asked, ask] = useState();
  const [verb, effect] = (asked ?? step).paused
    ? ["Resume", "Its attempts begin again. All of its pauses end. Tasks that waited go on; those that are late by now fail, and are undone."]
    : ["Pause", "After some seconds no attempt of it begins, until it is resumed. One that has begun comes to its end. Its tasks wait, and their deadlines go on; all else goes on, too."];
  const confirm = (form) => {
    begin({
      subject: `${workflow} ${step.name}`,
      what: `${verb} ${step.name}`,
      perform: async (post) => {
        // Nobody ends a pause that this page has not shown.
        const seen = asked.paused && { seen: (asked.paused.also?.at(-1) ?? asked.paused).since };
        const { told } = await post(`/workflows/${workflow}/steps/${step.name}/${verb.toLowerCase()}`, { reason: form.get("reason"), ...seen });
        return told ? "its queue knows." : "its queue knows within a minute.";
      },
    });
  };
  return html`
    ${step.paused && html`<${Paused} pause=${step.paused} />`}
    ${session?.may_write && html`<button aria-label="${verb}… ${step.name}" onClick=${() => ask(step)}>${verb}…</button>`}
    ${asked && html`
      <${Ask} title="${verb} ${step.name}?" button=${verb} bad=${!asked.paused} close=${() => ask()} confirm=${confirm}>
        ${asked.paused && html`<${Paused} pause=${asked.paused} />`}
        <p>${effect}</p>
      </>`}`;
}

/** The states of a step whose tasks somebody may look for, and what they are called here. */
const LISTED = [["retrying", "waiting for a retry"], ["in_progress", "running"], ["error", "failed"]];

/** Links to the tasks in which a step is in a state. */
function Listed({ step }) {
  return html`
    <p class="hint">Its tasks: ${LISTED.map(([state, said], place) => html`
      ${place > 0 ? ", " : ""}<a href="/console/tasks${query({ step: `${step.name}:${state}` })}"><span class="hidden">${step.name} is </span>${said}</a>`)}</p>`;
}

function Step({ workflow, step, figures }) {
  const empty = figures ? 0 : "–";
  return html`
    <tr>
      <th scope="row"><code><${Name} text=${step.name} /></code><p class="hint">${limits(step)}</p><${Listed} step=${step} /></th>
      <td class="number">${figures?.tasks ?? empty}</td>
      <td class="number">${figures?.retries ?? empty}</td>
      <td class="number">${figures?.failed ?? empty}</td>
      <td class="number"><${Spread} of=${figures?.run_ms} /></td>
      <td class="number"><${Spread} of=${figures?.wait_ms} /></td>
      <td>${figures && html`<${Codes} codes=${figures.codes} step=${step.name} />`}</td>
      <td><${Pause} workflow=${workflow} step=${step} /></td>
    </tr>`;
}

function Workflow({ workflow, figures }) {
  const heading = `workflow-${workflow.id}`;
  const steps = new Map(figures?.steps.map((step) => [step.name, step]));
  const facts = [
    COMPENSATE[workflow.compensate] ?? workflow.compensate,
    workflow.redrives_after_seconds.length > 0 && `${plural(workflow.redrives_after_seconds.length, "redrive")} by itself`,
    workflow.complete_within_seconds && `Done within ${duration(workflow.complete_within_seconds * 1000)}`,
  ];
  return html`
    <section class="card" aria-labelledby=${heading}>
      <h2 id=${heading}>${workflow.id}</h2>
      <p>${workflow.description}</p>
      <p class="hint">${facts.filter(Boolean).join(". ")}.</p>
      ${figures && html`
        <dl class="facts">
          <dt>Tasks</dt><dd>${figures.tasks.toLocaleString("en")}: ${percent(figures.completion_rate)} of those that have ended are complete, ${percent(figures.error_rate)} failed</dd>
          <dt>Start to end</dt><dd><${Spread} of=${figures.duration_ms} /></dd>
        </dl>`}
      <div class="scroll" tabindex="0" role="group" aria-label="Steps of ${workflow.id}">
        <table>
          <caption class="hidden">Steps and compensations, with their figures</caption>
          <thead>
            <tr><th scope="col">Step</th><th scope="col">Tasks</th><th scope="col">Retries</th><th scope="col">Failed</th><th scope="col">Runs</th><th scope="col">Waits</th><th scope="col">Errors</th><th scope="col">Pause</th></tr>
          </thead>
          <tbody>
            ${[...workflow.steps, ...workflow.compensations].map((step) => html`<${Step} key=${step.name} workflow=${workflow.name} step=${step} figures=${steps.get(step.name)} />`)}
          </tbody>
        </table>
      </div>
    </section>`;
}

export function Workflows() {
  const { data, error } = useAnswer("/workflows", 0);
  const figures = useAnswer(`/analytics?tasks=${SAMPLE}`, 0);
  const of = (workflow) => figures.data?.workflows.find((one) => workflow.id.startsWith(`${one.workflow}@`));
  const { data: sample } = figures;
  return html`
    <${Title} title="Workflows">Workflows</>
    <${Problem} error=${error ?? figures.error} />
    <div class="bar" aria-busy=${(!data && !error) || (!sample && !figures.error) ? "true" : undefined}>
      <p class="hint">${sample
        ? html`Figures of ${sample.or_more ? "the newest " : ""}${plural(sample.tasks, "task")}${sample.started && `, started from ${clock(sample.started.first)} to ${clock(sample.started.last)}`}.
            Times are p50 · p95 · p99 by nearest rank: of single attempts, and of all that a step waited in one task.`
        : "The figures are being computed."}</p>
      <button onClick=${figures.reload}>Compute anew</button>
    </div>
    ${data?.workflows.map((workflow) => html`<${Workflow} key=${workflow.id} workflow=${workflow} figures=${of(workflow)} />`)}
    ${sample && html`<details><summary>How the figures come about</summary><p class="hint">${sample.method}</p></details>`}`;
}
