// The console in a browser, as an operator uses it: against `checkout_local serve` on a folder of its own. tests/run.sh console runs it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import {
  accessible, askOperators, assertUntold, complaints, fits, launch, listen, open as openPage, PACKAGES, PATIENCE, REPOSITORY, SCHEMES, sendsFew, shots, show as showUrl, startShop, textOfOperators, until, withoutMail,
} from "./browser.mjs";

/** The number of failed tasks that the bulk action redrives. */
const MANY = 1_000;

const shot = shots("console");

// ---- The shop ----------------------------------------------------------------------------------------------------------

let shop, operators, token, browser;

/** Opens what is folded on a page. */
async function unfold(page) {
  const details = page.locator("main details:not([open]) > summary");
  // Opening one takes it out of the list.
  while ((await details.count()) > 0) await details.first().evaluate((summary) => (summary.parentElement.open = true));
}

const request = (name) => JSON.parse(readFileSync(join(REPOSITORY, "events/requests", `${name}.json`), "utf8"));

/** Starts a checkout of the sample requests, with changes, and returns its task's id. */
async function buy(name, change = () => {}, { customers } = shop) {
  const body = request(name);
  change(body.checkout);
  const answer = await fetch(`${customers}/checkout`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const { task_id: task } = await answer.json();
  assert.equal(answer.status, 202);
  return task;
}

const api = (path, body) => askOperators(shop, path, body);

const taskIs = (id, status) => until(`${id} is ${status}`, async () => (await api(`/tasks/${id}`)).status === status);

/** A task that failed because its card was declined. */
async function declinedCard() {
  const id = await buy("card_declined");
  await taskIs(id, "error");
  return id;
}

/** A task whose refund was declined, so that it needs a person. */
async function declinedRefund() {
  const id = await buy("success", (checkout) => {
    checkout.payment_info.token = "test_success_visa_norefund";
  });
  await taskIs(id, "complete");
  await api(`/tasks/${id}/cancel`, { reason: "the customer called" });
  await until("a person is needed", async () => (await api("/tasks?needs=person")).tasks.some((task) => task.task_id === id));
  return id;
}

// ---- The browser -------------------------------------------------------------------------------------------------------

/** The cookie of the session that the link began. */
let cookie;

const open = (options, { loggedIn = true, leaves } = {}) => openPage(browser, options, { cookies: loggedIn ? [cookie] : [], leaves });

/** Goes to a page of the console. */
const show = (page, path) => showUrl(page, operators + path);

/** A task whose payment waits for its next attempt. */
async function waitsForRetry() {
  const id = await buy("gateway_rate_limited");
  await until("it waits", async () => (await api(`/tasks/${id}`)).steps.some((step) => step.status === "retrying"));
  return id;
}

/**
 * What the API tells of a task while its payment runs: the event and the graph. The task is of another shop, whose gateway computes for
 * seconds before it stores a payment.
 */
async function runningPayment(t) {
  const slow = await startShop();
  t.after(() => slow.stop());
  const counts = "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000000) SELECT i FROM n)";
  const run = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])";
  execFileSync("python3", ["-c", run, join(slow.data, "gateway.sqlite"), `CREATE TRIGGER slow BEFORE INSERT ON payments BEGIN ${counts}; END`]);
  const id = await buy("success", undefined, slow);
  let event, graph;
  await until("its payment runs", async () => {
    event = await textOfOperators(slow, `/tasks/${id}/events?wait=0`);
    graph = await askOperators(slow, `/tasks/${id}/graph`);
    const [, told] = event.match(/^data: (.*)$/m);
    const runs = ({ name, status, state = status }) => name === "process_payment" && state === "in_progress";
    return JSON.parse(told).steps.some(runs) && graph.nodes.some(runs);
  });
  await until("it is complete", async () => (await askOperators(slow, `/tasks/${id}`)).status === "complete");
  return { id, event, graph };
}

/** Has a page told that a payment runs, for as long as it is open. */
async function tellThatItRuns(page, { id, event, graph }) {
  await page.route(`**/api/tasks/${id}/graph`, (route) => route.fulfill({ json: graph }));
  await page.route(`**/api/tasks/${id}/events?*`, (route) =>
    route.fulfill(route.request().headers()["last-event-id"] ? { status: 204 } : { contentType: "text/event-stream", body: event }));
}

/** Counts the clicks of a person, on the pages that are opened from now on. */
async function countClicks(page) {
  await page.addInitScript(() => {
    window.clicks = 0;
    // A key that presses a button makes a click with no count.
    addEventListener("click", (event) => (window.clicks += event.isTrusted && event.detail > 0 ? 1 : 0), true);
  });
  return () => page.evaluate(() => window.clicks);
}

before(async () => {
  browser = await launch();
  shop = await startShop("--checkouts-per-email", "0");
  ({ operators, token } = shop);
});

after(async () => {
  await browser?.close();
  await shop?.stop();
});

// ---- The tests, one after the other on one shop ------------------------------------------------------------------------

test("vendored libraries are those of the lockfile", () => {
  const own = (path) => readFileSync(join(REPOSITORY, "shared/pages/assets/vendor", path), "utf8");
  const published = (path) => readFileSync(join(PACKAGES, path), "utf8");
  assert.equal(own("preact.js"), published("preact/dist/preact.mjs"));
  assert.equal(own("hooks.js"), published("preact/hooks/dist/hooks.mjs").replace('from"preact"', 'from"./preact.js"'));
  assert.equal(own("htm.js"), published("htm/dist/htm.mjs"));
  const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));
  for (const name of ["preact", "htm"]) assert.ok(own("LICENSES.txt").includes(`${name} ${dependencies[name]}`), name);
});

test("the printed link logs in once, and a wrong token does not", async () => {
  const page = await open({}, { loggedIn: false });
  await page.goto(shop.link);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  assert.equal(new URL(page.url()).hash, "", "the code leaves the address");
  assert.ok(await page.getByText("as ann").isVisible());
  [cookie] = await page.context().cookies();
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
  assert.equal(await page.evaluate(() => document.cookie), "");

  const other = await open({}, { loggedIn: false });
  await other.goto(shop.link);
  await other.getByText("This link has been used, or it is too old").waitFor();
  await other.getByLabel("Token").fill(`${token}0`);
  await other.getByRole("button", { name: "Log in" }).click();
  await other.getByText("This is not the token").waitFor();
  await accessible(other, "login");
  await shot(other, "light-login");
  await other.getByLabel("Token").fill(token);
  await other.getByRole("button", { name: "Log in" }).click();
  await other.getByRole("heading", { name: "Overview" }).waitFor();
  await other.getByRole("button", { name: "log out" }).click();
  await other.getByLabel("Token").waitFor();
  await other.context().close();
  await page.context().close();
});

test("a first view sends few bytes", async (t) => {
  const page = await open({});
  await sendsFew(page, `${operators}/console/`, t);
  await page.context().close();
});

let needsPerson, bulkPath;

test("many failed tasks are redriven at once, after a count, with the result of each", async (t) => {
  needsPerson = await declinedRefund();
  let left = MANY;
  const begun = Date.now();
  await Promise.all(Array.from({ length: 16 }, async () => {
    while (left > 0) {
      left -= 1;
      await buy("price_mismatch");
    }
  }));
  t.diagnostic(`${MANY} checkouts failed within ${Math.round((Date.now() - begun) / 1000)} s`);
  await until("all have failed", async () => (await api("/tasks?status=pending")).count === 0);
  const page = await open({});
  await show(page, "/console/tasks?status=error&error_code=PRICE_MISMATCH");
  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByText(`${MANY.toLocaleString("en")} tasks fit`).or(page.getByText("At least")).waitFor();
  await page.getByLabel("Why").fill("the prices are right again");
  await accessible(page, "asking about a bulk action");
  await shot(page, "light-ask-bulk");
  await page.getByRole("button", { name: /^Redrive (at least )?[\d,]+ tasks$/ }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByRole("heading", { name: /^Bulk redrive of [\d,]+ tasks$/ }).waitFor();
  bulkPath = new URL(page.url()).pathname;
  await shot(page, "light-bulk-begins");
  await page.context().close();
});

test("what needs a person comes first, and is resolved by hand", async () => {
  const page = await open({});
  await show(page, "/console/");
  const first = page.locator("main section").first();
  // Behind so many others that have failed the overview does not look for more of them.
  await first.getByText(/^1\+ tasks need a person$|^1 task needs a person$/).waitFor();
  await first.getByRole("link", { name: `Task …${needsPerson.slice(-8)}` }).click();
  await page.getByText("refund_payment failed for good. The task waits for a person.").waitFor();
  await page.getByText("Return the money in another way, then resolve this compensation").waitFor();
  const step = page.getByRole("region", { name: "refund_payment" });
  await step.getByRole("button", { name: "Resolve by hand…" }).click();
  await page.getByLabel("refund_id").fill("by hand");
  await page.getByLabel("amount_refunded").fill("much");
  await page.getByLabel("currency").fill("USD");
  await page.getByLabel("refunded_at").fill("yesterday");
  await page.getByLabel("I made sure").check();
  await page.getByLabel("Why").fill("paid back by bank transfer");
  await page.getByRole("button", { name: "Resolve the step" }).click();
  await page.getByText("amount_refunded is not a number: much").waitFor();
  await page.getByLabel("amount_refunded").fill("100.00");
  await page.getByRole("button", { name: "Resolve the step" }).click();
  await page.getByText("refunded_at is not a time such as").waitFor();
  await page.getByLabel("refunded_at").fill(new Date().toISOString());
  await page.getByLabel("currency").fill(" ");
  await page.getByRole("button", { name: "Resolve the step" }).click();
  await page.getByText("currency is missing").waitFor();
  await page.getByLabel("currency").fill("USD");
  await accessible(page, "resolving a step");
  await shot(page, "light-ask-resolve");
  await page.getByRole("button", { name: "Resolve the step" }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByText("cancelled, compensated").first().waitFor();
  const { actions, compensations } = await api(`/tasks/${needsPerson}`);
  assert.equal(compensations.find(({ name }) => name === "refund_payment").result.refund_id, "by hand");
  const { what, who, why, step: of } = actions.at(-1);
  assert.deepEqual({ what, who, why, of }, { what: "resolve_step", who: "ann", why: "paid back by bank transfer", of: "refund_payment" });
  await page.context().close();
});

test("the night call: from the overview to a completing payment", async (t) => {
  // It completes if it is redriven; by itself it is redriven a minute later. One more of these would open the gateway's breaker.
  const id = await buy("gateway_down", (checkout) => {
    checkout.customer_info.email = "night.call@example.com";
  });
  await taskIs(id, "error");
  const page = await open({});
  const clicks = await countClicks(page);
  await show(page, "/console/");
  const begun = Date.now();
  // A checkout without a payment has no order number yet, so its customer's address is typed.
  await page.getByRole("searchbox").fill("Night.Call@example.com");
  await page.keyboard.press("Enter");
  await page.getByText("It stopped at process_payment").waitFor();
  await page.getByText("The gateway is out of service for a while").waitFor();
  await shot(page, "light-task-failed-payment", true);
  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByText("gets a fresh set of attempts").waitFor();
  await page.getByText("does not run again: validate_cart").waitFor();
  await page.getByLabel("Why").fill("the gateway is back");
  await shot(page, "light-ask-redrive");
  await page.getByRole("button", { name: "Redrive", exact: true }).click();
  await page.getByText("begins in ten seconds").waitFor();
  await accessible(page, "grace");
  await shot(page, "light-grace");
  await page.getByText("All is done.").waitFor();
  t.diagnostic(`${await clicks()} clicks, ${((Date.now() - begun) / 1000).toFixed(1)} s`);
  assert.ok((await clicks()) <= 3, `${await clicks()} clicks`);
  assert.match(await page.locator(".audit").innerText(), /redrive by ann: the gateway is back/);
  await shot(page, "light-task-redriven", true);
  await page.context().close();
});

test("the night call about an e-mail: from an order number to its confirmation", async (t) => {
  // An express checkout attempts its e-mail three times.
  const id = await withoutMail(shop, async () => {
    const id = await buy("success", (checkout) => {
      checkout.priority = "express";
    });
    const email = async () => (await api(`/tasks/${id}`)).steps.find(({ name }) => name === "send_confirmation");
    for (const attempts of [1, 2]) {
      await until(`attempt ${attempts} has failed`, async () => ((step) => step.status === "retrying" && step.attempts.length === attempts)(await email()));
      await api(`/tasks/${id}/run-now`, { reason: "it has failures to make" });
    }
    await until("it has failed for good", async () => (await email()).status === "error");
    return id;
  });
  const { status, warnings, steps } = await api(`/tasks/${id}`);
  assert.deepEqual([status, warnings.map(({ step }) => step)], ["complete", ["send_confirmation"]]);
  const number = steps.find(({ name }) => name === "create_order").result.order_number;
  const page = await open({});
  const clicks = await countClicks(page);
  await show(page, "/console/");
  const begun = Date.now();
  await page.getByRole("searchbox").fill(number);
  await page.keyboard.press("Enter");
  await page.getByText("All is done but send_confirmation, without which it goes on.").waitFor();
  await page.getByText(/^It goes on without send_confirmation: /).waitFor();
  await accessible(page, "a task with a warning");
  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByLabel("Why").fill("the customer has no confirmation");
  await page.getByRole("button", { name: "Redrive", exact: true }).click();
  await page.getByText("All is done.", { exact: true }).waitFor();
  t.diagnostic(`${await clicks()} clicks, ${((Date.now() - begun) / 1000).toFixed(1)} s`);
  assert.ok((await clicks()) <= 3, `${await clicks()} clicks`);
  assert.deepEqual((await api(`/tasks/${id}`)).warnings, []);
  await page.context().close();
});

test("an action is taken back in its grace, with the keyboard alone", async () => {
  const id = await declinedCard();
  const page = await open({});
  await show(page, `/console/tasks/${id}`);
  const button = page.getByRole("button", { name: "Cancel…" });
  await button.focus();
  await page.keyboard.press("Enter");
  await page.getByText("This cannot be taken back later").waitFor();
  assert.ok(await page.getByLabel("Why").evaluate((field) => field === document.activeElement), "the reason has the focus");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.ok(await button.evaluate((one) => one === document.activeElement), "the focus is back");
  await page.keyboard.press("Enter");
  await page.getByText("This cannot be taken back later").waitFor();
  await page.keyboard.type("by mistake");
  await page.keyboard.press("Enter");
  await page.getByText("begins in ten seconds").waitFor();
  await page.getByRole("button", { name: "Undo" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("was taken back. Nothing was done.").waitFor();
  const { actions, status } = await api(`/tasks/${id}`);
  assert.deepEqual([actions, status], [[], "error"]);
  await page.context().close();
});

/** Asks for a cancellation of a failed task, which then waits for its end of grace. */
async function askToCancel(page, id) {
  await show(page, `/console/tasks/${id}`);
  await page.getByRole("button", { name: "Cancel…" }).click();
  await page.getByLabel("Why").fill("by mistake");
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByText("begins in ten seconds").waitFor();
}

const LEAVING = {
  "the page is left": [async (page) => {
    // The event itself: whoever comes back gets another page, unless the browser has kept this one.
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true })));
  }, "the page was left"],
  "the operator logs out": [(page) => page.getByRole("button", { name: "log out" }).click(), "you have logged out"],
  "the session ends": [async (page) => {
    await page.route("**/api/**", (route) => route.fulfill({ status: 401, json: { error: "Log in to the console first" } }));
    await page.getByLabel("Token").waitFor();
  }, "the session has ended"],
  "the machine sleeps": [(page) => page.clock.fastForward(60_000), "this page was asleep when its time came"],
};

for (const [when, [leave, why]] of Object.entries(LEAVING)) {
  test(`what waits is taken back when ${when}`, async () => {
    const id = await declinedCard();
    const page = await open({});
    await page.clock.install();
    await askToCancel(page, id);
    await leave(page);
    await page.getByText(`was taken back: ${why}. Nothing was done.`).waitFor();
    await accessible(page, when);
    // Nothing of it is left that could act later.
    await page.clock.fastForward(60_000);
    await page.getByRole("button", { name: "Dismiss" }).click();
    await page.locator(".grace").waitFor({ state: "detached" });
    await page.context().close();
    const { actions, status } = await api(`/tasks/${id}`);
    assert.deepEqual([actions, status], [[], "error"]);
  });
}

test("a browser asks before a page is left on which something waits", async () => {
  const page = await open({}, { leaves: true });
  await askToCancel(page, await declinedCard());
  const asked = page.waitForEvent("dialog");
  await page.goto("about:blank");
  assert.equal((await asked).type(), "beforeunload");
  await page.context().close();
});

test("a second action on a task takes the place of the first one, under the name of its press", async () => {
  const id = await declinedCard();
  const page = await open({});
  await askToCancel(page, id);
  await page.getByRole("button", { name: "Resolve…" }).click();
  await page.getByLabel("Why").fill("paid in cash");
  await page.getByRole("button", { name: "Resolve", exact: true }).click();
  await page.getByText("was taken back: another action took its place").waitFor();
  await page.getByRole("button", { name: "change the name" }).click();
  await page.getByLabel("Your name in the audit trail").fill("zoe");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("as zoe").waitFor();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByText("it is declared done").waitFor();
  const { actions } = await api(`/tasks/${id}`);
  assert.deepEqual(actions.map(({ what, who }) => [what, who]), [["resolve", "ann"]]);
  await page.context().close();
});

test("a refusal says why, and a lost connection is told", async () => {
  const id = await declinedCard();
  const page = await open({});
  await show(page, `/console/tasks/${id}`);
  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByLabel("Why").fill("too late");
  await page.getByRole("button", { name: "Redrive", exact: true }).click();
  await page.getByText("begins in ten seconds").waitFor();
  await api(`/tasks/${id}/cancel`, { reason: "somebody else was quicker" });
  // Until then the refusal says something else.
  await until("it is compensated", async () => (await api(`/tasks/${id}`)).compensated);
  await page.getByRole("button", { name: "Do it now" }).click();
  const refused = await fetch(`${operators}/tasks/${id}/redrive`, {
    method: "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: JSON.stringify({ reason: "too late" }),
  });
  assert.equal(refused.status, 409);
  await page.locator(".grace.bad").getByText((await refused.json()).error).waitFor();

  await page.route("**/api/**", (route) => route.fulfill({ status: 502, json: { error: "the shop did not answer" } }));
  await page.getByText(/^No connection\. What is shown is from [\d:]+, /).waitFor();
  await page.getByText(/the shop did not answer\. What is shown is from [\d:]+\.$/).waitFor();
  await page.unroute("**/api/**");
  await page.getByRole("button", { name: "Ask now" }).click();
  await page.getByText("No connection.").waitFor({ state: "detached" });

  await page.context().setOffline(true);
  await page.getByText("No connection.").waitFor();
  await accessible(page, "no connection");
  await shot(page, "light-no-connection");
  await page.context().setOffline(false);
  await page.getByText("No connection.").waitFor({ state: "detached" });
  await page.context().close();
});

test("failed requests are repeated ever less often, and not before the API says so", async () => {
  const page = await open({});
  await page.clock.install();
  let asked = 0, wait = {};
  await show(page, "/console/tasks");
  await page.route("**/api/tasks?*", (route) => {
    asked += 1;
    return route.fulfill({ status: 429, headers: wait, json: { error: "Too many requests" } });
  });
  /** How often it asks within so many seconds, one after the other. */
  const within = async (seconds) => {
    const before = asked;
    for (let second = 0; second < seconds; second += 1) {
      await page.clock.runFor(1_000);
    }
    return asked - before;
  };
  const times = await within(120);
  assert.ok(times >= 2 && times <= 5, `${times} times, not after 5, 15, 35 and 75 s`);
  wait = { "retry-after": "300" };
  await within(65);
  assert.equal(await within(200), 0, "it was told to wait for 300 s");
  await page.context().close();
});

test("a shop whose requests cost money is asked each 30 seconds", async () => {
  const page = await open({});
  await page.clock.install();
  await page.route("**/console/session", async (route) => {
    const answer = await route.fetch();
    const { session, ...rest } = await answer.json();
    await route.fulfill({ response: answer, json: { ...rest, session: { ...session, metered: true } } });
  });
  await show(page, "/console/");
  let asked = 0;
  page.on("request", (request) => (asked += request.url().endsWith("/api/tasks?limit=200") ? 1 : 0));
  for (let second = 0; second < 50; second += 1) await page.clock.runFor(1_000);
  await until("it asks again", () => asked > 0);
  assert.equal(asked, 1);
  await page.context().close();
});

test("what was undone is rerun with another card, as a new task", async () => {
  const id = await declinedCard();
  await api(`/tasks/${id}/compensate`, { reason: "nobody has another card" });
  await until("it is compensated", async () => (await api(`/tasks/${id}`)).compensated);
  const page = await open({});
  await show(page, `/console/tasks/${id}`);
  await page.getByRole("button", { name: "Rerun…" }).click();
  await accessible(page, "the question about a rerun");
  await page.getByLabel("What changes in the input").fill('{"payment_info": {"token": "test_success_visa"');
  await page.getByLabel("Why").fill("now there is one");
  await page.getByRole("button", { name: "Rerun", exact: true }).click();
  await page.getByText("What changes is not JSON").waitFor();
  await page.getByLabel("What changes in the input").fill('{"payment_info": {"token": "test_success_visa"}}');
  await page.getByLabel("Also if what it has done stands").check();
  await page.getByRole("button", { name: "Rerun", exact: true }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByRole("link", { name: "Show that one" }).click();
  await page.getByText("It is the rerun of").waitFor();
  await page.getByText("All is done.").waitFor();
  const { rerun_as: rerun, actions } = await api(`/tasks/${id}`);
  assert.ok(rerun.started);
  assert.equal(actions.at(-1).why, "now there is one");
  await show(page, `/console/tasks/${id}`);
  await page.getByText("It was rerun as").waitFor();
  assert.equal(await page.getByRole("button", { name: "Rerun…" }).count(), 0, "it is rerun once");

  await page.getByRole("button", { name: "Start one like this…" }).click();
  await page.getByLabel("What changes in the input").fill('{"payment_info": {"token": "test_success_mc"}}');
  await accessible(page, "the question about a copy");
  await page.getByLabel("Why").fill("the same once more");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByRole("link", { name: "Show that one" }).click();
  await page.getByText("All is done.").waitFor();
  const copy = new URL(page.url()).pathname.split("/").at(-1);
  const { rerun_as: same } = await api(`/tasks/${id}`);
  assert.ok(copy !== id && copy !== same.task_id, "it is a task of its own");
  await page.context().close();
});

test("the overview counts as the shop's health does, and tells where it did not count on", async () => {
  const page = await open({});
  const hour = (hours) => new Date(Date.now() - hours * 3_600_000 - 60_000).toISOString();
  await page.route("**/health/status", async (route) => {
    const answer = await route.fetch();
    const counts = { running: { tasks: 1_024, or_more: true, oldest_at: hour(2) }, compensating: { tasks: 3, or_more: false, oldest_at: hour(1) } };
    await route.fulfill({ response: answer, json: { ...(await answer.json()), ...counts } });
  });
  await show(page, "/console/");
  await page.getByText("1,024+").waitFor();
  const figure = async (label) => (await page.locator("a.figure", { hasText: label }).innerText()).split("\n").filter(Boolean).at(-1);
  assert.deepEqual([await figure("Running"), await figure("Compensating")], ["oldest: over 2 h 1 min", "oldest: 1 h 1 min"]);
  await page.context().close();
});

test("a step that waits is run now", async () => {
  const id = await waitsForRetry();
  const page = await open({});
  await show(page, `/console/tasks/${id}`);
  await page.getByRole("button", { name: "Run now…" }).click();
  await page.getByText("What waits for its time, process_payment, is attempted at once").waitFor();
  await page.getByLabel("Why").fill("the customer is on the phone");
  await page.getByRole("button", { name: "Run now", exact: true }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByText("All is done.").waitFor();
  const { what, why } = (await api(`/tasks/${id}`)).actions.at(-1);
  assert.deepEqual([what, why], ["run_now", "the customer is on the phone"]);
  await page.context().close();
});

test("the page of a task is told of a change by the request that waits for it", async (t) => {
  const id = await waitsForRetry();
  const page = await open({});
  const asked = [];
  page.on("request", (request) => request.url().includes(`/api/tasks/${id}`) && asked.push(request));
  const waiting = page.waitForRequest((request) => request.headers()["last-event-id"] !== undefined);
  await show(page, `/console/tasks/${id}`);
  const wait = await waiting;
  const [event, graph] = asked;
  assert.deepEqual([event.url(), graph.url(), wait.url()].map((url) => url.split(id)[1].split("?")[0]), ["/events", "/graph", "/events"]);
  await api(`/tasks/${id}/run-now`, { reason: "to be told of" });
  assert.match(await (await wait.response()).text(), /^id: /m, "it was told by what was asked before");
  await page.getByText("All is done.").waitFor();
  // What rests is asked for all the same, because somebody may act.
  await page.waitForResponse((answer) => answer.status() === 204);
  const answers = await Promise.all(asked.filter((request) => request.url().includes("/events")).map((request) => request.response()));
  const told = await Promise.all(answers.map((answer) => (answer.status() === 204 ? "" : answer.text())));
  const events = told.filter((text) => /^id: /m.test(text)).length;
  t.diagnostic(`${events} events in ${told.length} answers`);
  assert.equal(asked.length, told.length + events, "its graph is asked for after each event, and nothing else");
  await page.context().close();
});

test("the workflows have the figures of their steps", async () => {
  const page = await open({});
  await show(page, "/console/");
  await page.getByRole("link", { name: "Workflows" }).click();
  const row = page.getByRole("row").filter({ has: page.getByRole("rowheader", { name: /^validate_cart/ }) });
  await row.getByRole("link", { name: "PRICE_MISMATCH" }).waitFor();
  const { workflows: [{ steps }] } = await api("/analytics?tasks=200");
  const { failed } = steps.find(({ name }) => name === "validate_cart");
  assert.ok(failed > 100, `${failed}`);
  await page.getByText(/^Figures of the newest \d+ tasks/).waitFor();
  await row.getByRole("link", { name: "PRICE_MISMATCH" }).click();
  await page.waitForURL("**/console/tasks?failed_step=validate_cart&error_code=PRICE_MISMATCH");
  await page.context().close();
});

test("each result of a step has a form, in which only lists are typed as JSON", async () => {
  const page = await open({});
  await show(page, "/console/workflows");
  const { workflows } = await api("/workflows");
  const schemas = workflows.flatMap(({ steps, compensations }) => [...steps, ...compensations]).map((step) => step.result_schema);
  const kinds = await page.evaluate(async (schemas) => {
    const { kindOf } = await import("/console/form.js");
    return schemas.map((schema) => [kindOf(schema), ...Object.values(schema.properties).filter(({ type }) => type !== "array").map(kindOf)]);
  }, schemas);
  assert.deepEqual([kinds.length, kinds.every(([of, ...parts]) => of === "object" && !parts.includes("json"))], [9, true], JSON.stringify(kinds));
  assert.ok(kinds.flat().includes("choice"), "the status of an order is chosen");
  await page.context().close();
});

test("a step is paused, which the overview and its tasks tell, and resumed", async () => {
  const page = await open({});
  await show(page, "/console/workflows");
  await page.getByRole("button", { name: "Pause… process_payment" }).click();
  await page.getByText("After some seconds no attempt of it begins").waitFor();
  await page.getByLabel("Why").fill("the gateway is down");
  await page.getByRole("button", { name: "Pause", exact: true }).click();
  await page.getByText("begins in ten seconds").waitFor();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByText("paused since").waitFor();
  await accessible(page, "a paused step");
  await shot(page, "light-paused");
  const id = await buy("success");
  await until("it waits", async () => (await api(`/tasks/${id}`)).paused?.length === 1);
  for (const path of ["/console/", `/console/tasks/${id}`]) {
    await show(page, path);
    await page.getByText("by ann: the gateway is down").waitFor();
  }
  assert.deepEqual((await api(`/tasks/${id}`)).steps.find(({ name }) => name === "process_payment").attempts, []);

  await show(page, "/console/workflows");
  await page.getByRole("button", { name: "Resume… process_payment" }).click();
  await page.getByLabel("Why").fill("it is back");
  await page.getByRole("button", { name: "Resume", exact: true }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.getByText("paused since").waitFor({ state: "detached" });
  await taskIs(id, "complete");
  await page.context().close();
});

/** Has a page told something else of a task. */
const change = (page, id, alter) =>
  page.route(`**/api/tasks/${id}/events?*`, async (route) => {
    const answer = await route.fetch();
    const body = (await answer.text()).replace(/^data: (.*)$/m, (_, json) => {
      const task = JSON.parse(json);
      alter(task);
      return `data: ${JSON.stringify(task)}`;
    });
    await route.fulfill({ response: answer, body });
  });

test("counts have what is not kept or not counted", async () => {
  const id = await declinedCard();
  const page = await open({});
  await change(page, id, (task) => {
    task.steps.find((step) => step.name === "process_payment").omitted_attempts = { GATEWAY_DOWN: 1_000 };
  });
  await show(page, `/console/tasks/${id}`);
  const step = page.getByRole("region", { name: "process_payment" });
  await step.getByText("1,001 attempts in").waitFor();
  await step.getByRole("button", { name: "Resolve by hand…" }).click();
  await page.getByText("1,001 attempts were made").waitFor();
  await page.route("**/api/tasks/bulk", (route) => route.fulfill({ json: { dry_run: true, count: 1_000, or_more: true, sample: [] } }));
  await show(page, "/console/tasks?status=error");
  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByRole("button", { name: "Redrive at least 1,000 tasks" }).waitFor();
  await page.context().close();
});

test("a broken page leaves the others whole", async () => {
  const id = await declinedCard();
  const page = await open({});
  await change(page, id, (task) => {
    task.steps = null;
  });
  await page.goto(`${operators}/console/tasks/${id}`);
  await page.getByRole("heading", { name: "This page is broken" }).waitFor();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.goto(`${operators}/console/tasks/not-an-id`);
  await page.getByRole("heading", { name: "Not found" }).waitFor();
  await page.context().close();
});

test("the input of a task is shown when it is asked for, and gone with the page", async () => {
  const id = await declinedCard();
  const page = await open({});
  const asked = [];
  page.on("request", (request) => request.url().endsWith("/reveal") && asked.push(request.method()));
  await show(page, `/console/tasks/${id}`);
  const button = page.getByRole("button", { name: "Show the input" });
  await button.waitFor();
  assert.deepEqual(asked, [], "nobody has asked");
  await page.route("**/reveal", (route) => route.fulfill({ status: 403, json: { message: "Forbidden" } }));
  await button.click();
  await page.getByText("You may not see inputs.").waitFor();
  await page.unroute("**/reveal");
  await button.click();
  const input = page.getByLabel("Input", { exact: true });
  await input.getByText("test@example.com").waitFor();
  assert.ok(!(await input.textContent()).includes("test_declined"), "the card is hidden");
  await page.getByText("Not shown, because the workflow file says so: /payment_info/token.").waitFor();
  await accessible(page, "a revealed input");
  await page.getByRole("link", { name: "Tasks", exact: true }).click();
  await input.waitFor({ state: "detached" });
  await page.goBack();
  await button.waitFor();
  assert.equal(await input.count(), 0);
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.ok(!kept.includes("test@example.com"), kept);
  assert.deepEqual(asked, ["POST", "POST"]);
  await page.context().close();
});

test("secrets of checkouts are in no page, and in nothing that the browser gets", async (t) => {
  const own = await startShop();
  t.after(() => own.stop());
  const [kept, declined] = await Promise.all(["success", "card_declined"].map((name) => buy(name, (checkout) => {
    checkout.payment_info.token += "_planted1";
    checkout.customer_info = { email: "planted-2@example.com", name: "Planted Three", phone: "planted 4" };
    checkout.shipping_info = { street: "5 Planted Street" };
    for (const item of checkout.cart_items) item.name = "Planted name of a product";
  }, own)));
  const tell = (path, body) => askOperators(own, path, body);
  // So the compensations have results, too, and an e-mail of a cancellation is sent.
  await until("it is complete", async () => (await tell(`/tasks/${kept}`)).status === "complete");
  await tell(`/tasks/${kept}/cancel`, { reason: "why" });
  await until("it is compensated", async () => (await tell(`/tasks/${kept}`)).compensated);
  await until("it has failed", async () => (await tell(`/tasks/${declined}`)).status === "error");
  const bulk = await tell("/tasks/bulk", { action: "redrive", filter: { error_code: "PAYMENT_DECLINED" }, reason: "why", dry_run: false, expected_count: 1 });

  const page = await openPage(browser, {});
  const told = await listen(page);
  await page.goto(own.link);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  for (const path of ["", "tasks", "tasks?step=process_payment:error", `tasks/${kept}`, `tasks/${declined}`, "workflows", "bulk", `bulk/${bulk.bulk_id}`]) {
    await showUrl(page, `${own.operators}/console/${path}`);
    await unfold(page);
    told.push([`the page /console/${path}`, await page.content()]);
  }
  const all = told.map(([where, text]) => `${where} ${text}`).join("\n");
  for (const seen of ["PAYMENT_DECLINED", "card declined", "order_number", "refund_id", bulk.bulk_id, kept]) assert.ok(all.includes(seen), seen);
  const secrets = ["operator-token", "task-key"].map((name) => readFileSync(join(own.data, name), "utf8").trim());
  assertUntold(told, ["planted", ...secrets]);
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await page.context().close();
});

test("who may only look sees no button of an action", async () => {
  const id = await declinedCard();
  const page = await open({});
  const paths = [`/console/tasks/${id}`, "/console/tasks?status=error", "/console/workflows"];
  const buttons = page.getByRole("button", { name: "…" });
  for (const path of paths) {
    await show(page, path);
    await buttons.first().waitFor();
  }
  await page.route("**/console/session", async (route) => {
    const answer = await route.fetch();
    const { session, ...rest } = await answer.json();
    await route.fulfill({ response: answer, json: { ...rest, session: { ...session, may_write: false } } });
  });
  for (const path of paths) {
    await show(page, path);
    assert.equal(await buttons.count(), 0, path);
  }
  await page.context().close();
});

test("a view is an address, and can be kept", async () => {
  const page = await open({});
  await show(page, "/console/tasks");
  await page.getByLabel("Status").selectOption("failed");
  // The list asks again meanwhile, and its times change.
  const asked = page.waitForResponse((response) => response.url().includes("/api/tasks?"));
  await asked;
  await page.getByText("50 tasks, and there are more").waitFor();
  await page.getByLabel("Failed step").fill("validate_cart");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.waitForURL("**/console/tasks?status=error&failed_step=validate_cart");
  await page.getByRole("button", { name: "Keep this view" }).click();
  await page.getByLabel("Its name").fill("Carts");
  await page.getByRole("button", { name: "Keep", exact: true }).click();
  await page.goto(`${operators}/console/tasks`);
  await page.getByRole("link", { name: "Carts" }).click();
  await page.waitForURL("**/console/tasks?status=error&failed_step=validate_cart");
  await page.getByText("50 tasks, and there are more").waitFor();
  await page.getByRole("button", { name: "Show more" }).click();
  await page.getByText("100 tasks, and there are more").waitFor();
  await page.goBack();
  await page.waitForURL("**/console/tasks");
  // A customer's address is not left in the browser under a name.
  await show(page, "/console/tasks?key=email:ann@example.com");
  assert.equal(await page.getByRole("button", { name: "Keep this view" }).count(), 0);
  await page.context().close();
});

test("who waits for a retry of the payment is two clicks away", async () => {
  const id = await waitsForRetry();
  const page = await open({});
  const clicks = await countClicks(page);
  await show(page, "/console/");
  await page.getByRole("link", { name: "Workflows" }).click();
  await page.getByRole("link", { name: "process_payment is waiting for a retry" }).click();
  await page.waitForURL("**/console/tasks?step=process_payment%3Aretrying");
  const row = page.getByRole("row").filter({ has: page.locator(`[title="${id}"]`) });
  await row.getByText(/^\s*waiting\s+attempt 1, GATEWAY_RATE_LIMITED\s*, next in \d+ s$/).waitFor();
  assert.equal(await clicks(), 2);
  assert.equal(await page.getByLabel("Step in a state").inputValue(), "process_payment:retrying");
  await shot(page, "light-tasks-of-a-step");
  await page.getByRole("button", { name: "Cancel…" }).click();
  await page.getByText(/tasks? fits?, of those that are running/).waitFor();
  assert.ok(await page.locator(".sample").getByText(id.slice(-8)).isVisible());
  await page.keyboard.press("Escape");

  // The form knows the steps, and takes only what the API can be asked for.
  const options = await page.locator("#states option").evaluateAll((all) => all.map(({ value }) => value));
  assert.ok(options.includes("refund_payment:error") && options.length === 9 * 6, `${options}`);
  await page.getByLabel("Step in a state").fill("process_payment:pending");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  assert.ok(await page.getByLabel("Step in a state").evaluate((field) => !field.checkValidity()));
  await page.getByLabel("Step in a state").fill("process_payment:in_progress");
  await page.getByRole("button", { name: "Show", exact: true }).click();
  await page.waitForURL("**/console/tasks?step=process_payment%3Ain_progress");
  await page.getByText("No task fits").waitFor();
  await page.getByRole("button", { name: "Keep this view" }).waitFor();
  await page.context().close();
});

test("a field of the address that nobody knows is told, and neither a list nor an action on it is shown", async () => {
  const page = await open({});
  await show(page, "/console/tasks?status=error&faild_step=validate_cart");
  await page.getByText("/faild_step is not known here").waitFor();
  const shown = [page.locator("main tbody tr"), page.getByRole("button", { name: "Redrive…" })];
  assert.deepEqual(await Promise.all(shown.map((one) => one.count())), [0, 0]);
  await page.context().close();
});

test("the list stands still once older tasks are shown, whatever is still answered", async () => {
  const page = await open({});
  await show(page, "/console/tasks?status=error");
  const listed = () => page.locator("main tbody .id").evaluateAll((links) => links.map((link) => link.title));
  const first = await listed();
  // The bulk action may be at these tasks, so the older one is made up.
  const { tasks: [one] } = await api("/tasks?limit=1");
  const older = { ...one, task_id: "018f4e4e-7c1a-7000-8000-000000000001", created_at: "2024-05-06T07:08:09Z" };
  // The next poll is answered late, and with other tasks.
  let answerLate, isLate = false;
  const held = new Promise((resolve) => {
    page.route("**/api/tasks?*", async (route) => {
      if (new URL(route.request().url()).searchParams.has("next")) return route.fulfill({ json: { tasks: [older], count: 1, next: "n" } });
      resolve();
      if (!isLate) await new Promise((answered) => (answerLate = answered));
      return route.fulfill({ json: { tasks: [], count: 0, next: null } }).catch(() => {});
    });
  });
  await held;
  await page.getByRole("button", { name: "Show more" }).click();
  await page.getByText(`${first.length + 1} tasks, and there are more`).waitFor();
  isLate = true;
  answerLate();
  await page.evaluate(() => new Promise((done) => setTimeout(done, 200)));
  assert.deepEqual(await listed(), [...first, older.task_id]);
  await page.getByRole("button", { name: "Back to its beginning" }).click();
  await page.getByText("No task fits").waitFor();
  await page.context().close();
});

test("results that are shown stay, whatever is still answered", async () => {
  const page = await open({});
  const bulk = await api(bulkPath.replace("/console/bulk", "/tasks/bulk"));
  const result = (digit) => ({ task_id: `018f4e4e-7c1a-7000-8000-00000000000${digit}`, result: "done", reason: null });
  let done = 50, answerLate;
  await page.route(`**/api/tasks/bulk/${bulk.bulk_id}`, (route) => route.fulfill({ json: { ...bulk, status: "running", done } }));
  const held = new Promise((resolve) => {
    page.route("**/results*", async (route) => {
      if (route.request().url().endsWith("next=n")) return route.fulfill({ json: { results: [result(2)], next: null } });
      if (done > 50) {
        resolve();
        await new Promise((answered) => (answerLate = answered));
      }
      return route.fulfill({ json: { results: [result(1)], next: "n" } });
    });
  });
  await show(page, bulkPath);
  const rows = page.locator("main tbody tr");
  await until("one is listed", async () => (await rows.count()) === 1);
  done = 51;
  await held;
  await page.getByRole("button", { name: "Show more" }).click();
  await until("both are listed", async () => (await rows.count()) === 2);
  answerLate();
  await page.evaluate(() => new Promise((done) => setTimeout(done, 200)));
  assert.equal(await rows.count(), 2);
  await page.context().close();
});

test("a list of failed tasks is the newest, or says of which they are some", async () => {
  const page = await open({});
  await show(page, "/console/");
  const shown = page.getByRole("table", { name: "The newest failed tasks" });
  const ids = (links) => links.map((link) => link.title);
  // The bulk action may be at some of them.
  await until("the newest are shown", async () => {
    const { tasks } = await api("/tasks?status=error&compensated=false&order=newest&limit=10");
    return tasks.length === 10 && isDeepStrictEqual(await shown.locator(".id").evaluateAll(ids), tasks.map((task) => task.task_id));
  });
  await page.getByText("These are some of them, the newest.").waitFor();
  await page.context().close();
});

let running;

test("a task's states have their colours, in its graph and in its timeline", async (t) => {
  running = await runningPayment(t);
  const page = await open({});
  await tellThatItRuns(page, running);
  /** The colours of the steps in the graph and of the attempts in the timeline, by their names. */
  const colours = async (id) => {
    await show(page, `/console/tasks/${id}`);
    await page.locator(".timeline .attempt").first().waitFor();
    return page.evaluate(() => {
      const sample = document.body.appendChild(document.createElement("i"));
      const names = new Map(["done", "failed", "runs", "waits", "soft"].map((name) => {
        sample.style.color = `var(--${name})`;
        return [getComputedStyle(sample).color, name];
      }));
      sample.remove();
      const all = (selector, property) => [...document.querySelectorAll(selector)].map((shape) => names.get(getComputedStyle(shape)[property]));
      return [all(".graph .node > rect", "stroke"), all(".timeline .attempt rect", "fill")];
    });
  };
  const graph = (payment) => ["done", payment, "soft", "soft", "soft"];
  assert.deepEqual(await colours(running.id), [graph("runs"), ["done", "runs"]]);
  await page.getByText("process_payment runs now.").waitFor();
  assert.deepEqual(await colours(await declinedCard()), [graph("failed"), ["done", "failed"]]);
  assert.deepEqual(await colours(await waitsForRetry()), [graph("waits"), ["done", "failed"]]);
  // Its wait is longer than both attempts within a second or so, and then folded.
  await page.locator(".timeline .fold text").last().getByText(/^[\d.]+ m?s$/).waitFor();
  await page.context().close();
});

test("the timeline is to scale, but for long times in which nothing runs", async () => {
  const page = await open({});
  await show(page, "/console/");
  /** Where moments are on 400 pixels, and which stretches are folded, of attempts and waits `[kind, from, until]`. */
  const scale = (entries, end, moments) =>
    page.evaluate(async ([entries, end, moments]) => {
      const { scaleOf } = await import("/console/timeline.js");
      const { at, stretches } = scaleOf(entries.map(([kind, from, until]) => ({ kind, from, until })), 400, end);
      return [moments.map(at).map(Math.round), stretches.filter(({ folded }) => folded).map(({ from, to }) => [from, to])];
    }, [entries, end, moments]);
  // 100 ms and 300 ms run, 200 ms are no longer than that.
  const short = [["attempt", 0, 100], ["wait", 100, 300], ["attempt", 300, 600]];
  assert.deepEqual(await scale(short, 600, [0, 100, 200, 300, 450, 600]), [[0, 67, 133, 200, 300, 400], []]);
  // A minute is folded to 54 pixels; what runs has the rest, to scale.
  const long = [["attempt", 0, 100], ["wait", 100, 60_100], ["attempt", 60_100, 60_400]];
  assert.deepEqual(await scale(long, 60_400, [0, 100, 30_100, 60_100, 60_400]), [[0, 87, 114, 141, 400], [[100, 60_100]]]);
  // What has no end yet lasts until now. Many folds share three fifths of the width.
  const many = Array.from({ length: 9 }, (_, place) => ["attempt", place * 60_000, place < 8 ? place * 60_000 + 100 : null]);
  const [places, folds] = await scale(many, 480_100, [0, 100, 60_000, 480_000, 480_100, 999_999]);
  assert.deepEqual([places, folds.length], [[0, 18, 48, 382, 400, 400], 8]);
  assert.deepEqual(await scale([["started", 5, 5]], 5, [5]), [[0], []]);
  await page.context().close();
});

test("the page of a task tells what it has cost", async () => {
  const id = await buy("success");
  await taskIs(id, "complete");
  const { cost } = await api(`/tasks/${id}`);
  assert.ok(Number(cost.dollars) > 0 && cost.write_units > 0, JSON.stringify(cost));
  const page = await open({});
  await show(page, `/console/tasks/${id}`);
  await page.getByText(`On AWS it would have cost $${cost.dollars}: ${cost.write_units} write units, `).waitFor();
  await page.context().close();
});

test("every page is accessible and fits, light, dark and on a phone", async () => {
  const waits = await waitsForRetry();
  const person = await declinedRefund();
  const failed = await declinedCard();
  const complete = await buy("success");
  await taskIs(complete, "complete");
  const pages = {
    overview: "/console/",
    tasks: "/console/tasks",
    "tasks-filtered": "/console/tasks?status=error&failed_step=validate_cart&older_than=1s",
    "tasks-of-a-step": "/console/tasks?step=process_payment%3Aretrying",
    "tasks-none": "/console/tasks?status=resolved_manually",
    "task-runs": `/console/tasks/${running.id}`,
    "task-waits": `/console/tasks/${waits}`,
    "task-failed": `/console/tasks/${failed}`,
    "task-person": `/console/tasks/${person}`,
    "task-complete": `/console/tasks/${complete}`,
    "task-unknown": "/console/tasks/018f4e4e-7c1a-7000-8000-0123456789ab",
    workflows: "/console/workflows",
    bulk: "/console/bulk",
    "bulk-one": bulkPath,
    "not-found": "/console/nothing/here",
  };
  const look = async ([scheme, options]) => {
    const page = await open(options);
    await tellThatItRuns(page, running);
    for (const [name, path] of Object.entries(pages)) {
      await show(page, path);
      await unfold(page);
      await accessible(page, `${scheme} ${name}`);
      await fits(page, `${scheme} ${name}`);
      await show(page, path);
      await shot(page, `${scheme}-${name}`, name.startsWith("task-") || name === "overview");
    }
    await page.context().close();
  };
  await Promise.all(SCHEMES.map(look));
});

test("the bulk action has acted on each task", async (t) => {
  const begun = Date.now();
  const page = await open({});
  await show(page, bulkPath);
  await page.getByText("complete", { exact: true }).waitFor({ timeout: PATIENCE });
  t.diagnostic(`waited for ${Math.round((Date.now() - begun) / 1000)} s more`);
  const bulk = await api(bulkPath.replace("/console/bulk", "/tasks/bulk"));
  assert.deepEqual([bulk.done, bulk.refused, bulk.who], [MANY, {}, "ann"]);
  const listed = () => page.locator("main tbody tr").count();
  while ((await listed()) < MANY) {
    const before = await listed();
    await page.getByRole("button", { name: "Show more" }).click();
    await until("more are listed", async () => (await listed()) > before);
  }
  assert.equal(await listed(), MANY);
  await page.context().close();
});

test("no page has complained", () => assert.deepEqual(complaints, []));
