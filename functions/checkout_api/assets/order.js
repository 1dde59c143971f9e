// An order: how it stands in words, its steps, and what its customer can do about it.

import { Cards } from "./cart.js";
import { Confirm } from "./confirm.js";
import { clock, go, html, Picture, plural, relative, Title, useNow } from "./common.js";
import { NoAnswer, useAnswer } from "./http.js";
import { askOrder, cancel, fillCart, money, orderOf, orderPath, retry } from "./shop.js";
import { useRef, useState } from "./vendor/hooks.js";

// ---- The steps

/** What each step and each compensation does, in words for customers. */
const STEPS = {
  validate_cart: "Check the cart and hold the goods",
  process_payment: "Charge the card",
  update_inventory: "Take the goods from stock",
  create_order: "Make the order",
  send_confirmation: "Send the confirmation by e-mail",
  cancel_order: "Cancel the order",
  refund_payment: "Give the money back",
  release_stock: "Put the goods back",
  send_cancellation: "Send an e-mail about the cancellation",
};

const labelOf = ({ name }) => STEPS[name] ?? name.replaceAll("_", " ");

/** The word for each state of a step. */
const WORDS = {
  pending: "not yet",
  in_progress: "now",
  retrying: "waits for the next attempt",
  complete: "done",
  error: "failed",
  cancelled: "not done",
  resolved_manually: "done by hand",
};

function Step({ step, now }) {
  const { status, attempts } = step;
  const at = status === "retrying" && step.next_retry_at;
  return html`
    <li class="step ${status}">
      <${Picture} state=${status} />
      <span class="label">${labelOf(step)}</span>
      <span class="word">${WORDS[status] ?? status}${at && ` ${relative(at, now)}`}${attempts.length > 1 && html`<span class="tries">${plural(attempts.length, "attempt")}</span>`}</span>
    </li>`;
}

/** Every attempt, for people who want to know what happened behind it. */
function Attempts({ details }) {
  const rows = [...details.steps, ...details.compensations].flatMap((step) => step.attempts.map((attempt) => ({ ...attempt, step: step.name })));
  rows.sort((one, other) => one.started_at.localeCompare(other.started_at));
  return html`
    <details class="behind">
      <summary>What happened behind it, for engineers</summary>
      <div class="scroll" tabindex="0" role="group" aria-label="All attempts">
        <table>
          <caption class="hidden">All attempts, in the order of their start</caption>
          <thead><tr><th scope="col">At</th><th scope="col">Step</th><th scope="col">Attempt</th><th scope="col">Outcome</th></tr></thead>
          <tbody>
            ${rows.map(({ step, number, started_at, duration_ms, outcome, error }) => html`
              <tr key=${`${step}${number}`}>
                <td class="number">${clock(started_at)}</td>
                <td><code>${step}</code></td>
                <td>${number}</td>
                <td>${outcome}${duration_ms !== null && `, ${duration_ms} ms`}${error && html`<br /><code>${error.code}</code> ${error.message}`}</td>
              </tr>`)}
          </tbody>
        </table>
      </div>
    </details>`;
}

// ---- How it stands

const isBeingUndone = ({ details }) => details?.status === "compensating";

/** What is said of the money that is given back. */
function refundText({ amount, state }, currency) {
  const sum = `${money(amount)} ${currency}`;
  if (state === "made") return `${sum} were given back. Your bank may take some days to show it.`;
  if (state === "due") return `What was charged is given back: ${sum}. This happens by itself, and this page shows when it is done.`;
  return `${sum} could not be given back by itself. Somebody of ours takes care of it; you need not do anything.`;
}

/** When something is tried again. */
function whenText({ next_at }, now) {
  return next_at && new Date(next_at) - now >= 1000 ? `at ${clock(next_at)}, ${relative(next_at, now)}` : "in a moment";
}

/** What is said while something is tried again, by the code of its error. */
function retryText(retrying, now) {
  const { step, code } = retrying;
  const why = code === "BREAKER_OPEN"
    ? "The payment service does not answer right now. Your order waits for it."
    : step === "process_payment" || step === "refund_payment"
      ? "The payment service did not answer as it should. That happens, and your card is charged once at most."
      : "A part of the processing did not work at once.";
  return `${why} It is tried again ${whenText(retrying, now)}. You need not do anything.`;
}

/** The headline of an order, its picture, and the sentences below it. */
function standing(answer, currency, now) {
  const { status: told } = answer;
  switch (told.status) {
    case "completed":
      return {
        state: "complete",
        title: told.order_number ? "Thank you. Your order is confirmed" : "Your order is done",
        says: [
          told.order_number && html`Your order number is <strong>${told.order_number}</strong>.`,
          told.total_amount !== undefined && `${money(told.total_amount)} ${currency} were charged, by the simulated gateway: nobody has paid.`,
          told.resolved_manually && "Somebody of ours has finished it by hand.",
          told.cancellation_refused && `It was not cancelled. ${told.cancellation_refused.message}`,
        ],
      };
    case "failed":
      return {
        state: "error",
        title: "Your order could not be completed",
        says: [
          told.error?.message ?? "Something went wrong on our side.",
          told.refund ? refundText(told.refund, currency) : "Nothing was charged.",
          told.retry_url && told.retry_until && `The goods are held for you until ${clock(told.retry_until)}.`,
        ],
      };
    case "cancelled":
      return {
        state: "cancelled",
        title: "Your order is cancelled",
        says: [told.refund ? refundText(told.refund, currency) : "Nothing was charged, or what was charged is given back."],
      };
    case "not_started":
      return { state: "cancelled", title: "Your order was not started", says: [told.message] };
    case "unconfirmed":
      return { state: "pending", title: "We do not know yet whether your order was started", says: [told.message] };
    default:
      if (told.needs_attention) {
        return {
          state: "person",
          title: "Somebody of ours is looking after your order",
          says: ["It stands still until they have decided how it goes on. You need not do anything. Please do not order again."],
        };
      }
      if (isBeingUndone(answer)) {
        return { state: "compensating", title: "Your order is being cancelled", says: ["It is cancelled unless it has been shipped already. This page shows which."] };
      }
      if (told.retrying?.step === "send_confirmation") {
        const number = answer.details.steps.find((step) => step.name === "create_order")?.result?.order_number;
        return {
          state: "complete",
          title: "Your order is made",
          says: [number && html`Your order number is <strong>${number}</strong>.`, `Only the e-mail about it could not be sent yet. It is tried again ${whenText(told.retrying, now)}.`],
        };
      }
      return told.retrying
        ? { state: "retrying", title: "We are trying again", says: [retryText(told.retrying, now)] }
        : { state: "in_progress", title: "Your order is on its way", says: ["This page shows each step. You can close it: the order goes on, and is among “Your orders”."] };
  }
}

/** For how many answers an order is asked for often. Later the shop waits for its end before it answers. */
const OFTEN = 25;

/** For how many seconds the shop or this page waits at most, until the order is asked for again. */
const LONGEST = 5;

/** How long the shop is to wait for the end, in seconds, in the round of this number. */
const waitOf = (round) => Math.min(LONGEST, Math.max(0, Math.ceil((round - OFTEN) / 5)));

/** In how many milliseconds the first of what waits is tried again; 0 or less where something is to happen sooner, or nobody knows. */
function untilNext({ status, details }) {
  const steps = [...(details?.steps ?? []), ...(details?.compensations ?? [])];
  if (steps.some((step) => step.status === "in_progress")) return 0;
  const times = [status.retrying?.next_at, ...steps.map((step) => step.status === "retrying" && step.next_retry_at)].filter(Boolean);
  return times.length > 0 ? Math.min(...times.map((at) => new Date(at) - Date.now())) : 0;
}

/** How long to pause until the next round, in milliseconds; 0 where nothing follows by itself. */
function pauseOf(answer, round) {
  if (!answer) return 1_000;
  const { status, details } = answer;
  const isMoving = status.status === "processing" ? !status.needs_attention : status.refund?.state === "due" || isBeingUndone(answer);
  // Until then only somebody else can change it.
  const waits = untilNext(answer);
  if (waits > 0) return Math.min(waits, LONGEST * 1_000);
  if (isMoving) return status.status === "processing" && round <= OFTEN ? 400 : round <= 2 * OFTEN ? 1_000 : 5_000;
  if (status.status === "unconfirmed") return 2_000;
  // An e-mail that is sent again.
  if (status.status === "completed" && details?.steps.some((step) => ["pending", "in_progress", "retrying"].includes(step.status))) return 1_000;
  if (status.needs_attention || status.retry_url) return 10_000;
  const isOpen = details?.compensations.some((step) => ["pending", "in_progress", "retrying"].includes(step.status)) && status.status === "cancelled";
  return isOpen ? 2_000 : 0;
}

function useOrder(id, key) {
  const round = useRef(0);
  const asking = async (_, last) => {
    const answer = await askOrder(id, key, waitOf(round.current), last);
    round.current += 1;
    return answer;
  };
  const kept = useAnswer(id, (answer) => pauseOf(answer, round.current), asking);
  const reload = () => {
    round.current = 0;
    kept.reload();
  };
  return { ...kept, reload };
}

// ---- What can be done

const IF_COMPLETE = "What was charged is given back, and the goods are put back into stock. If they have been shipped already, the order stays.";
const IF_OPEN = "What has begun is finished, and then all of it is undone: what was charged is given back, and the goods are put back into stock.";
const IF_FAILED = "You cannot pay with another card then, and the goods are not held for you any more. Nothing stays charged.";

/** What cancelling would do; `null` where it cannot be done. */
function cancelling({ status, details }) {
  if (!details || isBeingUndone({ details })) return null;
  if (status.status === "completed") return status.cancellation_refused || !status.order_id ? null : IF_COMPLETE;
  if (status.status === "processing") return status.needs_attention ? null : IF_OPEN;
  return status.status === "failed" && status.retry_url ? IF_FAILED : null;
}

/** Does something about the order, and says what came of it until the order's next state does. */
function useAction(reload) {
  const [{ busy, error }, set] = useState({});
  const act = async (perform) => {
    set({ busy: true });
    try {
      await perform();
      set({});
    } catch (caught) {
      set({ error: caught });
    }
    reload();
  };
  return { busy, error, act };
}

function OtherCard({ pay, busy }) {
  const submit = (event) => {
    event.preventDefault();
    pay(event.submitter?.value);
  };
  return html`
    <form aria-label="Pay with another card" onSubmit=${submit}>
      <p class="hint">It takes the place of the first card, in the same payment: you are charged once at most.</p>
      <${Cards} as="Pay with another card" disabled=${busy} />
    </form>`;
}

function Actions({ answer, id, shopKey, reload, items }) {
  const { busy, error, act } = useAction(reload);
  const { status } = answer;
  const { retrying: waits, rerun_as: rerun } = status;
  const mayRetry = status.retry_url ?? waits?.retry_url;
  const isPayment = (status.failed_step ?? waits?.step) === "process_payment";
  const isOver = ["failed", "cancelled", "not_started"].includes(status.status) && !status.retry_url && !rerun;
  const what = cancelling(answer);
  const again = (token) => act(() => retry(id, shopKey, token));
  const refill = () => act(async () => {
    // This page may be older than its rerun.
    const { rerun_as: since } = (await askOrder(id, shopKey, 0, answer)).status;
    if (since) return go(orderPath({ id: since.task_id, key: since.task_key }));
    fillCart(items);
    go("/shop/cart");
  });
  return html`
    ${rerun && html`
      <p class="says">${status.status === "completed" ? "Somebody of ours has made this order once more." : "Your order goes on as another one."}${" "}
        <a href=${orderPath({ id: rerun.task_id, key: rerun.task_key })}>Show that order</a></p>`}
    ${status.warnings?.map(({ message, retry_url: url }) => html`
      <p class="warning">${message}${url && html`${" "}<button disabled=${busy} onClick=${() => again()}>Send it again</button>`}</p>`)}
    ${error && html`<p class=${error instanceof NoAnswer ? "trouble" : "problem"} role="alert">${error.message}</p>`}
    ${mayRetry && isPayment && (status.status === "failed"
      ? html`<section class="other" aria-label="Another card"><h2>Pay with another card</h2><${OtherCard} pay=${again} busy=${busy} /></section>`
      : html`<details class="other"><summary>Pay with another card</summary><${OtherCard} pay=${again} busy=${busy} /></details>`)}
    <div class="buttons">
      ${mayRetry && html`<button disabled=${busy} class=${isPayment ? "" : "first"} onClick=${() => again()}>${waits ? "Try now" : isPayment ? "Try the same card again" : "Try again"}</button>`}
      ${isOver && items?.length > 0 && html`<button class="first" disabled=${busy} onClick=${refill}>Order again</button>`}
      ${what && html`
        <${Confirm} button="Cancel the order" title="Cancel this order?" says=${[what]} yes="Cancel the order" no="Keep it" onConfirm=${() => act(() => cancel(id, shopKey))} />`}
    </div>`;
}

// ---- The page

/** The order cannot be read. */
function NoOrder({ error }) {
  if (error instanceof NoAnswer) {
    return html`<${Title} title="No answer">The shop does not answer</><p>Your order goes on all the same. It is asked for again by itself.</p>`;
  }
  if (error.status !== 404) return html`<${Title} title="No answer">Your order cannot be shown right now</><p>${error.message}</p>`;
  return html`
    <${Title} title="No such order">There is no such order here</>
    <p>An order is shown to whoever has its whole address, with the part behind the <code>#</code>. Orders are kept for 90 days.</p>
    <p><a href="/shop/orders">Your orders in this browser</a></p>`;
}

export function Order({ id, given }) {
  const own = orderOf(id);
  const key = given || own?.key || "";
  const { data, error, reload } = useOrder(id, key);
  const now = useNow();
  if (!data) return error ? html`<${NoOrder} error=${error} />` : html`<${Title} title="Order">Your order</><p aria-busy="true">Asking how it stands …</p>`;
  const { status, details } = data;
  // Without the key the answer is a word.
  if (!details && status.message === undefined) return html`<${NoOrder} error=${{ status: 404 }} />`;
  const currency = own?.currency ?? "USD";
  const { state, title, says } = standing(data, currency, now);
  const current = details?.steps.find((step) => step.status === "in_progress") ?? details?.compensations.find((step) => step.status === "in_progress");
  return html`
    <${Title} title=${title}><span class="standing ${state}"><${Picture} state=${state} /></span>${title}</>
    <p class="hidden" role="status">${title}. ${current && `${labelOf(current)}: ${WORDS[current.status]}.`}</p>
    ${error && html`<p class="trouble" role="alert">The shop does not answer right now. What is shown is from ${clock(error.since)}. Your order goes on all the same.</p>`}
    <div class="columns">
      <section class="card" aria-label="How it stands">
        ${says.filter(Boolean).map((text) => html`<p class="says">${text}</p>`)}
        <${Actions} answer=${data} id=${id} shopKey=${key} reload=${reload} items=${own?.items} />
        ${own && html`<p class="what hint">${own.items.map(({ name, quantity }) => `${quantity} × ${name}`).join(", ")}: ${own.total} ${own.currency}, ordered ${clock(own.at)}.</p>`}
      </section>
      ${details && html`
        <section class="card" aria-label="Its steps">
          <h2>Step by step</h2>
          <ol class="progress">${details.steps.map((step) => html`<${Step} key=${step.name} step=${step} now=${now} />`)}</ol>
          ${details.compensations.length > 0 && html`
            <h2>Undone</h2>
            <ol class="progress">${details.compensations.map((step) => html`<${Step} key=${step.name} step=${step} now=${now} />`)}</ol>`}
          <${Attempts} details=${details} />
        </section>`}
    </div>`;
}
