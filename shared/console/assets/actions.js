// Actions: what one will do is said before it is done, and for ten seconds it can be taken back.

import { changed, postAs, useAnswer, useConnection, watch } from "./api.js";
import { Fields, hasForm, written } from "./form.js";
import { attemptsOf, html, Name, Picture, plural, Problem, sentence, short, taskPath } from "./parts.js";
import { useEffect, useId, useRef, useState } from "./vendor/hooks.js";

/** How long an action waits before it is done, in seconds. */
const GRACE = 10;

/** By how many milliseconds its end may be missed. A machine that slept, or a page that was frozen, would act later than was said. */
const LATE = 2_000;

// ---- What is about to happen

let waiting = [];
const listeners = new Set();
let number = 0;

function set(changedList) {
  waiting = changedList;
  for (const listener of listeners) listener(waiting);
}

const update = (id, part) => set(waiting.map((one) => (one.id === id ? { ...one, ...part } : one)));
const drop = (id) => set(waiting.filter((one) => one.id !== id));

/** How long it is told that an action was done, in milliseconds. */
const TOLD = 8_000;

/**
 * Does something in ten seconds, unless it is taken back. `perform` gets a `post` under the operator's name of now, and resolves to what is
 * told of it then. It takes the place of one that waits and is about the same `subject`.
 */
export function begin({ subject, what, perform }) {
  takeBackAll("another action took its place", (one) => one.subject === subject);
  number += 1;
  const id = number;
  const due = Date.now() + GRACE * 1000;
  const timer = setTimeout(() => (Date.now() > due + LATE ? takeBack(id, "this page was asleep when its time came") : carryOut(id)), GRACE * 1000);
  const post = postAs();
  set([...waiting, { id, subject, what, perform: () => perform(post), timer, due, phase: "waits" }]);
}

async function carryOut(id) {
  const one = waiting.find((other) => other.id === id && other.phase === "waits");
  if (!one) return;
  clearTimeout(one.timer);
  update(id, { phase: "runs" });
  try {
    const told = await one.perform();
    update(id, { phase: "done", told });
    setTimeout(() => drop(id), TOLD);
  } catch (error) {
    update(id, { phase: "failed", error });
  }
  changed();
}

/** Takes one back. If nobody has asked for it, `why` says why, and it is told until somebody has read it. */
function takeBack(id, why) {
  clearTimeout(waiting.find((one) => one.id === id)?.timer);
  update(id, { phase: "taken back", why });
  if (!why) setTimeout(() => drop(id), TOLD / 2);
}

/** Takes back all that wait, or those of them for which `of` holds. */
export function takeBackAll(why, of = () => true) {
  for (const one of waiting) if (one.phase === "waits" && of(one)) takeBack(one.id, why);
}

// An action belongs to the page and to the session in which it was asked for.
addEventListener("pagehide", () => takeBackAll("the page was left"));
watch(({ session }) => session || takeBackAll("the session has ended"));

// Whoever leaves the page would take it back without knowing.
addEventListener("beforeunload", (event) => {
  if (waiting.some(({ phase }) => phase === "waits" || phase === "runs")) event.preventDefault();
});

/** The actions that wait for their end of grace, and what became of the last ones. */
export function Graces() {
  const [shown, show] = useState(waiting);
  const [now, tick] = useState(Date.now());
  useEffect(() => {
    listeners.add(show);
    return () => listeners.delete(show);
  }, []);
  const counts = shown.some(({ phase }) => phase === "waits");
  useEffect(() => {
    if (!counts) return undefined;
    tick(Date.now());
    const timer = setInterval(() => tick(Date.now()), 250);
    return () => clearInterval(timer);
  }, [counts]);
  return html`
    <section class="graces" aria-label="Actions under way">
      ${shown.map(({ id, what, phase, due, told, why, error }) => html`
        <div key=${id} class="grace ${phase === "failed" || why ? "bad" : ""}">
          <p role="status">
            ${phase === "waits" && html`<strong>${what}</strong> begins in ten seconds.`}
            ${phase === "runs" && html`<strong>${what}</strong>: asking …`}
            ${phase === "done" && html`<${Picture} state="complete" /> <strong>${what}</strong>: ${told}`}
            ${phase === "taken back" && html`<strong>${what}</strong> was taken back${why && `: ${why}`}. Nothing was done.`}
            ${phase === "failed" && html`<${Picture} state="error" /> <strong>${what}</strong>: ${sentence(error.message)}`}
          </p>
          ${phase === "waits" && html`
            <span class="count" aria-hidden="true">${Math.max(0, Math.ceil((due - now) / 1000))} s</span>
            <button onClick=${() => takeBack(id)}>Undo</button>
            <button class="plain" onClick=${() => carryOut(id)}>Do it now</button>`}
          ${(phase === "failed" || why) && html`<button onClick=${() => drop(id)}>Dismiss</button>`}
        </div>`)}
    </section>`;
}

// ---- Asking before an action

/**
 * A dialog about an action. It asks for the reason, which the audit trail keeps, and for what `children` ask for. `confirm` gets the form
 * and begins the action; it may return what is wrong instead.
 */
export function Ask({ title, button, bad, close, confirm, ready = true, children }) {
  const dialog = useRef();
  const heading = useId();
  const [wrong, setWrong] = useState();
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  const submit = (event) => {
    event.preventDefault();
    const problem = confirm(new FormData(event.target));
    if (problem) setWrong(new Error(problem));
    else dialog.current.close();
  };
  return html`
    <dialog ref=${dialog} aria-labelledby=${heading} onClose=${close}>
      <form onSubmit=${submit}>
        <h2 id=${heading}>${title}</h2>
        ${children}
        <label class="reason">Why <span class="hint">(the audit trail keeps it)</span>
          <input name="reason" required maxlength="500" autocomplete="off" autofocus />
        </label>
        <${Problem} error=${wrong} />
        <div class="buttons">
          <button type="submit" class=${bad ? "first bad" : "first"} disabled=${!ready}>${button}</button>
          <button type="button" onClick=${() => dialog.current.close()}>Not now</button>
        </div>
      </form>
    </dialog>`;
}

// ---- The actions on a task

const ofState = (steps, ...states) => steps.filter((step) => states.includes(step.status)).map((step) => step.name);

/** The steps and compensations that wait for the time of their next attempt. */
const waitingIn = (task) => [...task.steps, ...task.compensations].filter((step) => step.status === "retrying" && step.next_retry_at).map((step) => step.name);

/** Names in a sentence. */
function Names({ names }) {
  return html`${names.map((name, place) =>
    html`${place === 0 ? "" : place === names.length - 1 ? " and " : ", "}<code><${Name} text=${name} /></code>`)}`;
}

/** The compensations of those steps that have been attempted. */
function undoing({ task, graph }) {
  const attempted = new Set(task.steps.filter((step) => attemptsOf(step) > 0).map((step) => step.name));
  return (graph?.nodes ?? []).filter((node) => attempted.has(node.compensates)).map((node) => node.name);
}

function Undoing({ about }) {
  const names = undoing(about);
  return names.length > 0
    ? html`<p>Then the attempted steps are compensated, by <${Names} names=${names} />.</p>`
    : html`<p>No attempted step has a compensation.</p>`;
}

/** The actions on a task. `may` says whether its state allows it, as the API decides it in the end, and `Effect` what will happen. */
export const ACTIONS = [
  {
    action: "redrive",
    verb: "Redrive",
    may: ({ task }) =>
      (task.status === "error" && !task.compensated) ||
      (task.status === "compensating" && ofState(task.compensations, "error").length > 0) ||
      (task.status === "complete" && task.warnings.length > 0),
    told: () => "the failed steps run again.",
    Effect({ about: { task } }) {
      const failed = [...ofState(task.steps, "error"), ...ofState(task.compensations, "error")];
      const done = ofState(task.steps, "complete", "resolved_manually");
      return html`
        <p>What failed, <${Names} names=${failed} />, gets a fresh set of attempts, and the first one begins at once.</p>
        ${done.length > 0 && html`<p>What is done stays done, and does not run again: <${Names} names=${done} />.</p>`}`;
    },
  },
  {
    action: "run-now",
    verb: "Run now",
    may: ({ task }) => waitingIn(task).length > 0 || Boolean(task.redrives_at),
    told: () => "what waited is attempted.",
    Effect({ about: { task } }) {
      const waiting = waitingIn(task);
      return html`
        <p>${waiting.length > 0
          ? html`What waits for its time, <${Names} names=${waiting} />, is attempted at once.`
          : "The redrive that is planned for later is made at once."} No step gets more attempts by it, and the deadline stays.</p>`;
    },
  },
  {
    action: "cancel",
    verb: "Cancel",
    bad: true,
    may: ({ task, graph }) =>
      ["pending", "in_progress"].includes(task.status) ||
      (task.status === "error" && !task.compensated) ||
      (task.status === "complete" && Boolean(graph?.nodes.some((node) => node.compensates))),
    told: () => "no new step starts.",
    Effect: ({ about }) => html`
      <p>${about.task.status === "complete" ? "The task is complete, and is compensated all the same." : "Steps in flight finish, and no new step starts."}</p>
      <${Undoing} about=${about} />
      <p>This cannot be taken back later.</p>`,
  },
  {
    action: "compensate",
    verb: "Compensate",
    bad: true,
    may: ({ task }) => ["error", "cancelled"].includes(task.status) && !task.compensated,
    told: () => "its compensations begin.",
    Effect: ({ about }) => html`<p>The task is closed for good: it cannot be redriven later.</p><${Undoing} about=${about} />`,
  },
  {
    action: "resolve",
    verb: "Resolve",
    bad: true,
    may: ({ task }) =>
      ["pending", "in_progress", "error"].includes(task.status) && !task.compensated && ofState(task.steps, "in_progress").length === 0,
    told: () => "it is declared done.",
    Effect: () => html`<p>The task is declared done, at once and for good. No new step starts, and nothing is compensated: what is charged stays charged.</p>`,
  },
];

/** The buttons of those actions that a task's state allows. */
export function Buttons({ about }) {
  const { session } = useConnection();
  const [open, ask] = useState();
  if (!session?.may_write || about.task.newer_format) return null;
  const allowed = ACTIONS.filter(({ may }) => may(about));
  const { task_id: id } = about.task;
  const confirm = ({ action, verb, told }) => (form) => {
    begin({
      subject: id,
      what: `${verb} task ${short(id)}`,
      perform: async (post) => {
        await post(`/tasks/${encodeURIComponent(id)}/${action}`, { reason: form.get("reason") });
        return html`${told()} <a href=${taskPath(id)}>Show it</a>`;
      },
    });
  };
  return html`
    <div class="buttons" role="group" aria-label="Actions on this task">
      ${allowed.map((one, place) => html`
        <button key=${one.action} class=${place === 0 && !one.bad ? "first" : ""} onClick=${() => ask(one)}>${one.verb}…</button>`)}
      <${Rerun} about=${about} />
      <${Copy} about=${about} />
    </div>
    ${open && html`
      <${Ask} title="${open.verb} this task?" button="${open.verb}" bad=${open.bad} close=${() => ask()} confirm=${confirm(open)}>
        <${open.Effect} about=${about} />
      </>`}`;
}

// ---- Reruns

/** The button that starts a task that has come to its end once more, as a new task. */
function Rerun({ about }) {
  const { session } = useConnection();
  const [open, ask] = useState(false);
  const { task } = about;
  const hasEnded = task.status === "complete" || task.compensated;
  if (!session?.may_write || task.newer_format || !hasEnded || task.rerun_as?.started) return null;
  return html`
    <button onClick=${() => ask(true)}>Rerun…</button>
    ${open && html`<${AskForRerun} about=${about} close=${() => ask(false)} />`}`;
}

/** The button that starts a task like this one, whatever its state. */
function Copy({ about: { task } }) {
  const { session } = useConnection();
  const [open, ask] = useState(false);
  if (!session?.may_write || task.newer_format) return null;
  const confirm = (form) => {
    const [key, body] = [crypto.randomUUID(), { reason: form.get("reason") }];
    return beginEdited(task, "copy", form, body, { "idempotency-key": key }, "another one like it is started.");
  };
  return html`
    <button onClick=${() => ask(true)}>Start one like this…</button>
    ${open && html`
      <${Ask} title="Start a task like this one?" button="Start" close=${() => ask(false)} confirm=${confirm}>
        <p>A new task begins with this one's input. This one stays as it is. The customer of a checkout is charged for the new one, too.</p>
        <${Changes} />
      </>`}`;
}

/** Asks what changes in the input of a task that is started once more. */
const Changes = () => html`
  <p>What was secret in its input is not used again: a checkout needs a new card.</p>
  <label>What changes in the input, as a JSON merge patch
    <textarea name="patch" rows="4" spellcheck="false" placeholder='{"payment_info": {"token": "…"}}'></textarea></label>`;

/** Starts a task of this one's input, as the form changes it. Returns what is wrong with the form. */
function beginEdited(task, action, form, body, headers, told) {
  const patch = form.get("patch").trim() || "{}";
  try {
    JSON.parse(patch);
  } catch (error) {
    return `What changes is not JSON: ${error.message}`;
  }
  begin({
    subject: task.task_id,
    what: `${action === "copy" ? "Copy" : "Rerun"} task ${short(task.task_id)}`,
    perform: async (post) => {
      // The patch goes as it was typed, so that its numbers keep every digit.
      const text = `{"patch":${patch},${JSON.stringify(body).slice(1)}`;
      const send = () => post(`/tasks/${encodeURIComponent(task.task_id)}/${action}`, text, headers);
      let { task_id: id, status } = await send();
      // The same request goes on with what it has begun.
      if (status === "unconfirmed") ({ task_id: id, status } = await send());
      return status === "unconfirmed"
        ? html`nobody knows yet whether it was started. <a href=${taskPath(id)}>Look at that one</a> before you ask again.`
        : html`${told} <a href=${taskPath(id)}>Show that one</a>`;
    },
  });
  return undefined;
}

/** Asks what changes in the input, and where the new task begins. */
function AskForRerun({ about: { task, graph }, close }) {
  const isSaga = (graph?.nodes ?? []).some((node) => node.compensates);
  const confirm = (form) => {
    const body = { reason: form.get("reason"), again: form.has("again"), from: form.get("from") || null };
    return beginEdited(task, "rerun", form, body, {}, "it is started once more, as a new task.");
  };
  return html`
      <${Ask} title="Rerun this task?" button="Rerun" close=${close} confirm=${confirm}>
        <p>A new task begins with this one's input. Nothing of this one runs any more, and it is rerun once.</p>
        <${Changes} />
        ${graph && !isSaga && html`<label>Begins at
          <select name="from">
            <option value="">the first step</option>
            ${task.steps.map(({ name }) => html`<option value=${name}>${name}, with what was done before</option>`)}
          </select></label>`}
        <label class="check"><input type="checkbox" name="again" />
          Also if what it has done stands, or somebody has cancelled it. The customer of a complete checkout is charged once more.</label>
      </>`;
}

/** Whether a step may be resolved by hand now, as the API decides it in the end. */
function mayResolve({ task }, step) {
  const all = [...task.steps, ...task.compensations];
  const isDone = (name) => ["complete", "resolved_manually"].includes(all.find((other) => other.name === name)?.status);
  return ["pending", "retrying", "error"].includes(step.status) &&
    (["pending", "in_progress", "error", "compensating"].includes(task.status) || task.warnings.some((warning) => warning.step === step.name)) &&
    !task.compensated && step.depends_on.every(isDone);
}

/**
 * The schema of a step's result; `undefined` before it is known, and `null` where it stays unknown. The first answer stands, because a form must not change
 * under what was typed into it.
 */
function useResultSchema(task, step) {
  const first = useRef();
  const { data, error } = useAnswer("/workflows", 0);
  const [id] = task.workflow.split("@");
  const of = data?.workflows.find((workflow) => workflow.id.startsWith(`${id}@`));
  const found = [...(of?.steps ?? []), ...(of?.compensations ?? [])].find(({ name }) => name === step.name);
  if (first.current === undefined && (data || error)) first.current = found?.result_schema ?? null;
  return first.current;
}

/** The button that gives a step its result by hand. */
export function ResolveStep({ about, step }) {
  const { session } = useConnection();
  const [open, ask] = useState(false);
  if (!session?.may_write || about.task.newer_format || !mayResolve(about, step)) return null;
  return html`
    <button onClick=${() => ask(true)}>Resolve by hand…</button>
    ${open && html`<${AskForResult} about=${about} step=${step} close=${() => ask(false)} />`}`;
}

/** Asks for the result of a step: field by field where its schema has fields, else as JSON. */
function AskForResult({ about, step, close }) {
  const { task } = about;
  const schema = useResultSchema(task, step);
  const byFields = hasForm(schema);
  const attempts = attemptsOf(step);
  const dependents = [...task.steps, ...task.compensations].filter((other) => other.depends_on.includes(step.name)).map((other) => other.name);
  const confirm = (form) => {
    let result;
    try {
      result = byFields ? written(schema, form) : form.get("result");
      JSON.parse(result);
    } catch (error) {
      return byFields ? error.message : `The result is not JSON: ${error.message}`;
    }
    const body = { reason: form.get("reason"), attempts_checked: form.has("attempts_checked") };
    begin({
      subject: task.task_id,
      what: `Resolve ${step.name}`,
      perform: async (post) => {
        // The result goes as it was typed, so that its numbers keep every digit.
        await post(`/tasks/${encodeURIComponent(task.task_id)}/steps/${encodeURIComponent(step.name)}/resolve`, `{"result":${result},${JSON.stringify(body).slice(1)}`);
        return html`it has your result. <a href=${taskPath(task.task_id)}>Show it</a>`;
      },
    });
    return undefined;
  };
  return html`
      <${Ask} title="Resolve ${step.name} by hand?" button="Resolve the step" close=${close} confirm=${confirm} ready=${schema !== undefined}>
        <p>The step is complete with your result, for good.
          ${dependents.length > 0 ? html` <${Names} names=${dependents} /> read${dependents.length === 1 ? "s" : ""} it, and ${dependents.length === 1 ? "runs" : "run"} next.` : " Nothing depends on it."}
          ${byFields ? " What is empty is left out." : " The result has to be of the step's type: a task that succeeded shows its shape."}</p>
        ${schema === undefined && html`<p class="hint" aria-busy="true">Asking for its shape …</p>`}
        ${schema !== undefined && (byFields
          ? html`<fieldset><legend>Result</legend><${Fields} schema=${schema} /></fieldset>`
          : html`<label>Result, as JSON <textarea name="result" rows="6" required spellcheck="false">null</textarea></label>`)}
        ${attempts > 0 && html`
          <label class="check"><input type="checkbox" name="attempts_checked" required />
            ${plural(attempts, "attempt was", "attempts were")} made, and may have had an effect. I made sure that none had, or undid it.</label>`}
      </>`;
}
