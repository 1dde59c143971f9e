// The list of tasks: its filter is the address, so a view can be kept, sent and gone back to.

import { begin, Ask } from "./actions.js";
import { find, post, useAnswer, useCodes, useConnection, usePace } from "./api.js";
import { atLeast, bulkPath, go, html, plural, Problem, query, Status, Tasks, short, Time, Title, useNow, word } from "./parts.js";
import { useEffect, useMemo, useRef, useState } from "./vendor/hooks.js";

const PAGE = 50;

const findPage = (path) => find(path, PAGE);

const STATUSES = ["pending", "complete", "error", "compensating", "cancelled", "resolved_manually"];
const STATUS_WORDS = { pending: "running", complete: "complete", error: "failed", compensating: "compensating", cancelled: "cancelled", resolved_manually: "resolved by hand" };

/** The states of a step that the API can be asked for. */
const STEP_STATES = ["retrying", "in_progress", "error", "complete", "cancelled", "resolved_manually"];

/** By these the API lists tasks in any order, and without them the newest first. */
const UNORDERED = ["status", "needs", "failed_step", "error_code", "step", "compensated"];

/** The views that everybody has. */
const VIEWS = [
  ["All", ""],
  ["Needs a person", "?needs=person"],
  ["Failed", "?status=error&compensated=false"],
  ["Running for an hour", "?status=pending&older_than=1h"],
  ["Compensated", "?compensated=true"],
];

const KEPT = "stepwell.views";

function keptViews() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) ?? [];
  } catch {
    return [];
  }
}

/** The views of everybody and those that this browser keeps. One with a search key is not kept: the key may be a customer's address. */
function Views({ search, mayKeep }) {
  const [kept, keep] = useState(keptViews);
  const [naming, setNaming] = useState(false);
  const field = useRef();
  useEffect(() => field.current?.focus(), [naming]);
  const store = (views) => {
    localStorage.setItem(KEPT, JSON.stringify(views));
    keep(views);
  };
  const save = (event) => {
    event.preventDefault();
    const name = field.current.value.trim();
    if (name) store([...kept.filter(([other]) => other !== name), [name, search]]);
    setNaming(false);
  };
  const isNew = mayKeep && search !== "" && ![...VIEWS, ...kept].some(([, of]) => of === search);
  const link = ([name, of]) => html`<a href="/console/tasks${of}" aria-current=${of === search ? "true" : undefined}>${name}</a>`;
  return html`
    <nav class="views" aria-label="Views">
      ${VIEWS.map(link)}
      ${kept.map((view) => html`<span>${link(view)}<button class="plain" aria-label="Forget the view ${view[0]}" onClick=${() => store(kept.filter((one) => one !== view))}>×</button></span>`)}
      ${isNew && !naming && html`<button class="plain" onClick=${() => setNaming(true)}>Keep this view</button>`}
      ${naming && html`<form onSubmit=${save}><label>Its name <input ref=${field} maxlength="40" required /></label><button>Keep</button></form>`}
    </nav>`;
}

/** A moment of the API in the words of a field for a local date and time, and back. */
const toField = (moment) => {
  if (!moment || Number.isNaN(Date.parse(moment))) return "";
  const date = new Date(moment);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};
const fromField = (text) => (text ? new Date(text).toISOString() : "");

/** The names of all steps and compensations, once they are there. */
function useSteps() {
  const workflows = useAnswer("/workflows", 0).data?.workflows ?? [];
  return [...new Set(workflows.flatMap(({ steps, compensations }) => [...steps, ...compensations]).map(({ name }) => name))];
}

/** The names to choose from. They come later than the form. */
function Choices() {
  const codes = useCodes();
  const steps = useSteps();
  return html`
    <datalist id="steps">${steps.map((step) => html`<option value=${step} />`)}</datalist>
    <datalist id="codes">${Object.keys(codes).map((code) => html`<option value=${code} />`)}</datalist>
    <datalist id="states">${steps.flatMap((step) => STEP_STATES.map((state) => html`<option value="${step}:${state}">${word(state)}</option>`))}</datalist>`;
}

/** The form of a filter. It must not be drawn again while it stands: each field would get its value of the address back, whatever was typed. */
function FilterForm({ filter }) {
  const apply = (event) => {
    event.preventDefault();
    const form = Object.fromEntries([...new FormData(event.target)].map(([field, value]) => [field, value.trim()]));
    form.created_from = fromField(form.created_from);
    form.created_before = fromField(form.created_before);
    go(`/console/tasks${query(form)}`);
  };
  const hidden = ["workflow", "compensated", "older_than", "created_from", "created_before", "key"].some((field) => filter[field]);
  // A new address makes a new form, with its values.
  return html`
    <form class="filter" key=${JSON.stringify(filter)} onSubmit=${apply} aria-label="Filter">
      <label>Status
        <select name="status" value=${filter.status ?? ""}>
          <option value="">any</option>
          ${STATUSES.map((status) => html`<option value=${status}>${STATUS_WORDS[status]}</option>`)}
        </select></label>
      <label>Failed step <input name="failed_step" list="steps" value=${filter.failed_step} placeholder="process_payment" spellcheck="false" autocomplete="off" /></label>
      <label>Error code <input name="error_code" list="codes" value=${filter.error_code} spellcheck="false" autocomplete="off" /></label>
      <label>Step in a state <input name="step" list="states" size="26" value=${filter.step} placeholder="process_payment:retrying" pattern=".+:(${STEP_STATES.join("|")})" title="A step, a colon and one of ${STEP_STATES.join(", ")}" spellcheck="false" autocomplete="off" /></label>
      <${Choices} />
      <label class="check"><input type="checkbox" name="needs" value="person" checked=${filter.needs === "person"} /> Needs a person</label>
      <details open=${hidden}>
        <summary>More</summary>
        <div class="fields">
          <label>Search key <input name="key" value=${filter.key} placeholder="email:ann@example.com" spellcheck="false" autocomplete="off" /></label>
          <label>Workflow <input name="workflow" value=${filter.workflow} placeholder="ecommerce/checkout" spellcheck="false" autocomplete="off" /></label>
          <label>Compensated
            <select name="compensated" value=${filter.compensated ?? ""}>
              <option value="">either</option><option value="true">yes</option><option value="false">no</option>
            </select></label>
          <label>Older than <input name="older_than" value=${filter.older_than} placeholder="2h" pattern="[0-9]+[smhd]" title="A number and s, m, h or d" autocomplete="off" /></label>
          <label>Started from <input type="datetime-local" name="created_from" value=${toField(filter.created_from)} /></label>
          <label>Started before <input type="datetime-local" name="created_before" value=${toField(filter.created_before)} /></label>
        </div>
      </details>
      <button class="first">Show</button>
    </form>`;
}

// ---- Bulk actions

const BULK_ACTIONS = [
  { action: "redrive", verb: "Redrive", effect: "The failed steps of each task get a fresh set of attempts. What is done stays done, and does not run again." },
  { action: "cancel", verb: "Cancel", bad: true, effect: "No new step of these tasks starts, and attempted steps are compensated. This cannot be taken back later." },
  { action: "compensate", verb: "Compensate", bad: true, effect: "Attempted steps are compensated, and the tasks are closed for good." },
];

/** Of which status the tasks are, if the filter says none. */
const DEFAULT_STATUS = { redrive: "failed", cancel: "running", compensate: "failed" };

/** Asks about a bulk action, and first how many tasks it is about. */
function AskBulk({ of, filter, close }) {
  const [counted, setCounted] = useState();
  const [error, fail] = useState();
  useEffect(() => {
    post("/tasks/bulk", { action: of.action, filter, reason: "only counted" }).then(setCounted, fail);
  }, []);
  const now = useNow();
  const confirm = (form) => {
    const key = crypto.randomUUID();
    const body = {
      action: of.action, filter, reason: form.get("reason"), pace: Number(form.get("pace")),
      dry_run: false, expected_count: counted.count, or_more: counted.or_more,
    };
    begin({
      subject: JSON.stringify(filter),
      what: `${of.verb} ${atLeast(counted.count, counted.or_more, "task")}`,
      perform: async (post) => {
        const bulk = await post("/tasks/bulk", body, { "idempotency-key": key });
        go(bulkPath(bulk.bulk_id));
        return "it is at work.";
      },
    });
  };
  const rest = counted && counted.count - counted.sample.length;
  return html`
    <${Ask} title="${of.verb} all that fit?" button=${counted ? `${of.verb} ${atLeast(counted.count, counted.or_more, "task")}` : of.verb} bad=${of.bad} ready=${counted?.count > 0} close=${close} confirm=${confirm}>
      <${Problem} error=${error} />
      <div aria-live="polite">
        ${!counted && !error && html`<p>Counting …</p>`}
        ${counted && html`
          <p class="counted"><strong>${counted.or_more ? "At least " : ""}${plural(counted.count, "task")}</strong> fit${counted.count === 1 ? "s" : ""}${filter.status ? "" : `, of those that are ${DEFAULT_STATUS[of.action]}`}.</p>
          <ul class="sample">
            ${counted.sample.slice(0, 5).map((task) => html`<li><span class="id">${short(task.task_id)}</span> <${Status} task=${task} /> <${Time} at=${task.created_at} now=${now} /></li>`)}
            ${rest + Math.max(0, counted.sample.length - 5) > 0 && html`<li>and ${(counted.count - Math.min(5, counted.sample.length)).toLocaleString("en")} more</li>`}
          </ul>`}
      </div>
      <p>${of.effect} It goes on by itself, whether or not this page is open; a task that does not allow it by then is left as it is, and the result of each task is kept.</p>
      <label>Tasks a minute, at most <input name="pace" type="number" min="1" max="10000" value="2000" required /></label>
    </>`;
}

function BulkButtons({ filter }) {
  const { session } = useConnection();
  const [open, ask] = useState();
  // How the list is told is nothing that fits.
  const { order, limit, next, ...of } = filter;
  if ("compensated" in of) of.compensated = of.compensated === "true";
  if (!session?.may_write || filter.key || Object.keys(of).length === 0) return null;
  return html`
    <div class="buttons" role="group" aria-label="Actions on all that fit">
      <span class="hint">All that fit:</span>
      ${BULK_ACTIONS.map((one) => html`<button onClick=${() => ask(one)}>${one.verb}…</button>`)}
    </div>
    ${open && html`<${AskBulk} of=${open} filter=${of} close=${() => ask()} />`}`;
}

// ---- The list

export function List({ place }) {
  const now = useNow();
  // The API refuses a field that it does not know, and so says that the address has one.
  const filter = Object.fromEntries([...place.searchParams].filter(([, value]) => value));
  const path = `/tasks${query({ ...filter, limit: String(PAGE) })}`;
  // From the moment at which older tasks are asked for, the list stands still: between pages of two moments tasks would be missing.
  const [still, setStill] = useState(null);
  const frozen = still?.path === path ? still : null;
  const answer = useAnswer(frozen ? null : path, usePace(), findPage);
  const [problem, fail] = useState();
  const data = frozen ?? answer.data;
  const next = data?.next;
  const tasks = data?.tasks ?? [];
  const request = useRef(0);
  const thaw = () => {
    // What is still to come belongs to the list as it was.
    request.current += 1;
    setStill(null);
    fail();
  };
  useEffect(() => thaw, [path]);
  const more = async () => {
    request.current += 1;
    const mine = request.current;
    setStill({ path, tasks, next });
    try {
      const page = await find(`${path}&next=${encodeURIComponent(next)}`, 1);
      if (mine !== request.current) return;
      setStill({ path, tasks: [...tasks, ...page.tasks], next: page.next });
      fail();
    } catch (refused) {
      if (mine === request.current) fail(refused);
    }
  };
  // The same element is not drawn again.
  const form = useMemo(() => html`<${FilterForm} filter=${filter} />`, [place.search]);
  const isOrdered = Boolean(filter.key) || filter.order === "newest" || !UNORDERED.some((field) => filter[field]);
  const unique = [...new Map(tasks.map((task) => [task.task_id, task])).values()].sort((one, other) => (one.created_at < other.created_at ? 1 : -1));
  return html`
    <${Title} title="Tasks">Tasks</>
    <${Views} search=${query(filter)} mayKeep=${!filter.key} />
    ${form}
    <${Problem} error=${answer.error ?? problem} />
    <section class="card" aria-busy=${!(data ?? answer.error) || undefined}>
      <div class="bar">
        <p class="hint" role="status">${data && `${plural(unique.length, "task")}${next ? `, and there are more${isOrdered ? "" : ", of any age"}` : ""}${frozen ? ". The list stands still" : ""}`}</p>
        ${frozen && html`<button class="plain" onClick=${thaw}>Back to its beginning</button>`}
        ${data && html`<${BulkButtons} filter=${filter} key=${path} />`}
      </div>
      ${data && unique.length === 0 && !next
        ? html`<p class="empty">No task fits. ${Object.keys(filter).length > 0 && html`<a href="/console/tasks">Show all</a>`}</p>`
        : html`<${Tasks} tasks=${unique} now=${now} caption="Tasks" />`}
      ${next && html`<p><button onClick=${more}>Show more</button></p>`}
    </section>`;
}
