// The overview: what needs a person first, how much there is, how long it has been there, and what failed lately.

import { find, get, useAnswer, usePace } from "./api.js";
import { clock, duration, go, html, ID, Paused, Picture, plural, Problem, query, taskPath, Tasks, Title, useNow } from "./parts.js";
import { useRef, useState } from "./vendor/hooks.js";

/** The most tasks of a kind that are counted: those of one page. */
const MOST = 200;

/** How many tasks a list shows here. */
const FEW = 10;

/** Looks on until there is one: what needs a person may stand behind many that do not. */
const findOne = (path) => find(path, 1);

const IS_ID = new RegExp(`^${ID}$`, "i");

/** The search key that a text is a value of: an e-mail address, or else an order number. `NAME:VALUE` says it itself. */
function searchKey(text) {
  if (/^[a-z_]+:./.test(text)) return text;
  return text.includes("@") ? `email:${text}` : `order_number:${text}`;
}

/** Finds a task by what a customer or a log says of it. */
export function Search() {
  const field = useRef();
  const [error, fail] = useState();
  const find = async (event) => {
    event.preventDefault();
    const text = field.current.value.trim();
    if (text === "") return;
    fail();
    if (IS_ID.test(text)) {
      field.current.value = "";
      go(taskPath(text.toLowerCase()));
      return;
    }
    const key = searchKey(text);
    try {
      const { tasks } = await get(`/tasks${query({ key, limit: "2" })}`);
      if (tasks.length === 0) {
        fail(new Error(`No task has ${key.replace(":", " ")}`));
        return;
      }
      field.current.value = "";
      go(tasks.length === 1 ? taskPath(tasks[0].task_id) : `/console/tasks${query({ key })}`);
    } catch (problem) {
      fail(problem);
    }
  };
  return html`
    <form class="search" role="search" onSubmit=${find}>
      <label class="hidden" for="search">Find a task by order number, e-mail address or id</label>
      <input id="search" ref=${field} type="search" placeholder="Order number, e-mail, id" autocomplete="off" spellcheck="false" />
      <button>Find</button>
      <${Problem} error=${error} />
    </form>`;
}

/** A number of tasks as a person reads it, with a plus if there are more. */
const plus = (tasks, orMore) => `${tasks.toLocaleString("en")}${orMore ? "+" : ""}`;

/** The count of a page of tasks, as `/health/status` counts. */
const countOf = (page) =>
  page && {
    tasks: page.count,
    or_more: page.next !== null,
    oldest_at: page.count > 0 ? page.tasks.map((task) => task.created_at).reduce((one, other) => (one < other ? one : other)) : null,
  };

/** The age of the oldest task. If there are more than were counted, there may be an older one. */
function Oldest({ count, now }) {
  if (!count?.oldest_at) return html`<span>${count ? "none" : " "}</span>`;
  return html`<span>oldest: ${count.or_more ? "over " : ""}${duration(now - Date.parse(count.oldest_at))}</span>`;
}

function Figure({ state, label, count, now, filter }) {
  return html`
    <a class="figure" href="/console/tasks${query(filter)}">
      <span class="label"><${Picture} state=${state} />${label}</span>
      <strong>${count ? plus(count.tasks, count.or_more) : "–"}</strong>
      <${Oldest} count=${count} now=${now} />
    </a>`;
}

/** How many bars the chart has. */
const BARS = 30;

/** How many tasks began lately, and what became of them. */
function Rates({ page, now }) {
  if (!page || page.count === 0) return null;
  const times = page.tasks.map((task) => Date.parse(task.created_at));
  // All that are known, or an hour.
  const span = Math.min(page.next ? now - Math.min(...times) : Infinity, 3_600_000);
  const width = Math.max(span / BARS, 1);
  const bars = Array.from({ length: BARS }, () => ({ complete: 0, failed: 0, open: 0 }));
  const kindOf = ({ status }) =>
    status === "complete" || status === "resolved_manually" ? "complete" : ["pending", "in_progress"].includes(status) ? "open" : "failed";
  const total = { complete: 0, failed: 0, open: 0 };
  page.tasks.forEach((task, place) => {
    const age = now - times[place];
    if (age > span) return;
    const bar = bars[Math.max(0, BARS - 1 - Math.floor(Math.max(age, 0) / width))];
    bar[kindOf(task)] += 1;
    total[kindOf(task)] += 1;
  });
  const highest = Math.max(1, ...bars.map(({ complete, failed, open }) => complete + failed + open));
  const all = total.complete + total.failed + total.open;
  const perMinute = all / (span / 60_000);
  const told = `${plural(all, "task")} began in the last ${duration(span)}: ${total.complete} complete, ${total.failed} failed or cancelled, ${total.open} running`;
  return html`
    <section class="card">
      <h2>Began lately</h2>
      <p class="hint">${told}. That is ${perMinute < 10 ? perMinute.toFixed(1) : Math.round(perMinute)} a minute.</p>
      <svg class="rates" viewBox="0 0 ${BARS * 10} 60" preserveAspectRatio="none" role="img" aria-label=${told}>
        ${bars.map((bar, place) => {
          let y = 60;
          return ["complete", "open", "failed"].map((of) => {
            const height = (bar[of] / highest) * 58;
            y -= height;
            return height > 0 && html`<rect class=${of} x=${place * 10 + 1} y=${y} width="8" height=${height} />`;
          });
        })}
        <line x1="0" x2=${BARS * 10} y1="59.7" y2="59.7" />
      </svg>
      <p class="axis"><span>${clock(now - span)}</span><span>now</span></p>
    </section>`;
}

/** How many tasks need a person. */
function Person({ page }) {
  if (!page) return "Asking what needs a person …";
  if (page.count > 0) return `${plus(page.count, page.next)} ${page.count === 1 && !page.next ? "task needs" : "tasks need"} a person`;
  return page.next ? html`No task that needs a person was found yet. <a href="/console/tasks?needs=person">Look on</a>` : "Nothing needs a person";
}

export function Overview() {
  const now = useNow();
  const each = usePace();
  const useTasks = (filter, limit = MOST, asking = get) => useAnswer(`/tasks${query({ ...filter, limit: String(limit) })}`, each, asking);
  const person = useTasks({ needs: "person" }, MOST, findOne);
  const failed = useTasks({ status: "error", compensated: "false" });
  // By status the API lists tasks in any order, so the newest of them are a question of their own.
  const lately = useTasks({ status: "error", compensated: "false", order: "newest" }, FEW);
  const newest = useTasks({});
  const bulk = useAnswer("/tasks/bulk", each);
  const health = useAnswer("/health/status", each);
  const error = [person, failed, lately, newest, bulk, health].map((answer) => answer.error).find(Boolean);
  const byAge = (page) => [...(page?.tasks ?? [])].sort((one, other) => (one.created_at < other.created_at ? 1 : -1));
  const atWork = (bulk.data?.bulk_actions ?? []).filter(({ status }) => ["running", "stopping"].includes(status));
  return html`
    <${Title} title="Overview">Overview</>
    <${Problem} error=${error} />
    <section class=${person.data?.count > 0 ? "card person" : "card calm"} aria-live="polite" aria-busy=${!person.data || undefined}>
      <h2><${Picture} state=${person.data?.count > 0 ? "person" : person.data?.next === null ? "complete" : "pending"} /><${Person} page=${person.data} /></h2>
      ${person.data?.count > 0 && html`
        <p class="hint">A compensation failed for good, or a message could not be delivered. Nothing happens to these until somebody acts.</p>
        <${Tasks} tasks=${byAge(person.data).slice(0, FEW)} now=${now} caption="Tasks that need a person" />
        ${(person.data.count > FEW || person.data.next) && html`
          <p>${person.data.next ? "There may be more of them. " : "These are the newest. "}<a href="/console/tasks?needs=person">All of them</a></p>`}`}
    </section>
    ${health.data?.unknown_pauses?.map(({ step }) => html`<p class="warning"><code>${step}</code>: perhaps paused, by a newer version than the one that answers.</p>`)}
    ${health.data?.paused_steps?.map((pause) => html`<${Paused} step=${pause.step} pause=${pause} />`)}
    <div class="figures">
      <${Figure} state="in_progress" label="Running" count=${health.data?.running} now=${now} filter=${{ status: "pending" }} />
      <${Figure} state="error" label="Failed, not compensated" count=${countOf(failed.data)} now=${now} filter=${{ status: "error", compensated: "false" }} />
      <${Figure} state="compensating" label="Compensating" count=${health.data?.compensating} now=${now} filter=${{ status: "compensating" }} />
      <a class="figure" href="/console/bulk">
        <span class="label"><${Picture} state="retrying" />Bulk actions at work</span>
        <strong>${bulk.data ? atWork.length : "–"}</strong>
        <span>${atWork.length > 0 ? `${atWork[0].action}: ${atWork[0].done} of ${atWork[0].expected_count}` : "none"}</span>
      </a>
    </div>
    <${Rates} page=${newest.data} now=${now} />
    <section class="card" aria-busy=${!lately.data || undefined}>
      <h2>Failed lately</h2>
      ${lately.data?.count > 0 && html`<${Tasks} tasks=${lately.data.tasks} now=${now} caption="The newest failed tasks" />`}
      ${lately.data && html`
        <p class="hint">${lately.data.next
          ? html`${lately.data.count > 0 ? "These are some of them, the newest." : "None of the newest tasks stands failed."} <a href="/console/tasks?status=error&compensated=false">All of them</a>`
          : lately.data.count > 0 ? "These are all." : "No task stands failed."}</p>`}
    </section>`;
}
