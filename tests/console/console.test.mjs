// The console in a browser, as an operator uses it: against `checkout_local serve` on a folder of its own. tests/run.sh console runs it.
//
// The screenshots in target/console/ are to be looked at. The times that it prints are for people; nothing here fails because of a slow machine.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

const { STEPWELL_PROGRAM, STEPWELL_CONSOLE_TOOLS, STEPWELL_CHROMIUM } = process.env;
const require = createRequire(join(STEPWELL_CONSOLE_TOOLS, "here.js"));
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

const REPOSITORY = new URL("../../", import.meta.url).pathname;
const ASSETS = join(REPOSITORY, "shared/console/assets");
const SHOTS = join(REPOSITORY, "target/console");

/** The number of failed tasks that the bulk action redrives. */
const MANY = 1_000;

/** All that a first view may send, with its headers. */
const MOST_BYTES = 150_000;

/** How long something may take that happens by itself, such as the next minute's work on a bulk action. */
const PATIENCE = 120_000;

const SCHEMES = [
  ["light", { colorScheme: "light", viewport: { width: 1280, height: 860 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 860 } }],
  ["phone", { colorScheme: "light", viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
];

// ---- The shop ----------------------------------------------------------------------------------------------------------

const data = mkdtempSync(join(tmpdir(), "stepwell-console-"));
let program, customers, operators, link, token, browser;

async function startShop() {
  program = spawn(STEPWELL_PROGRAM, ["serve", "--data", data, "--port", "0", "--operators-port", "0", "--checkouts-per-email", "0"], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, USER: "ann" },
  });
  for await (const line of createInterface({ input: program.stdout })) {
    const url = line.match(/http:\S+/)?.[0];
    if (line.startsWith("customers")) customers = url;
    if (line.startsWith("operators")) operators = url;
    if (line.startsWith("console")) link = url;
    if (line.startsWith("Ctrl-C")) return;
  }
  throw new Error("the shop does not start");
}

const request = (name) => JSON.parse(readFileSync(join(REPOSITORY, "events/requests", `${name}.json`), "utf8"));

/** Starts a checkout of the sample requests, with changes, and returns its task's id. */
async function buy(name, change = () => {}) {
  const body = request(name);
  change(body.checkout);
  const answer = await fetch(`${customers}/checkout`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const { task_id: task } = await answer.json();
  assert.equal(answer.status, 202);
  return task;
}

/** Asks the operators' API itself. */
async function api(path, body) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", "x-operator": "bob" };
  const answer = await fetch(operators + path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

async function until(what, holds) {
  const end = Date.now() + PATIENCE;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `it does not happen that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

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

/** What pages have complained about. */
const complaints = [];

async function open(options, { loggedIn = true } = {}) {
  const context = await browser.newContext(options);
  if (loggedIn) await context.addCookies([cookie]);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("console", (message) => {
    // An answer that refuses is one of these; the tests ask for some.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("dialog", (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
  return page;
}

/** The cookie of the session that the link began. */
let cookie;

/** Goes to a page of the console, and waits until its answers are there. */
async function show(page, path) {
  await page.goto(operators + path);
  await page.locator("main h1").waitFor();
  await page.waitForFunction(() => !document.querySelector("main [aria-busy]"));
}

async function accessible(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(({ html, failureSummary }) => `${html}\n  ${failureSummary}`).join("\n  ")}`);
  assert.deepEqual(told, [], what);
}

const shot = (page, name, fullPage = false) => page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage });

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
  rmSync(SHOTS, { recursive: true, force: true });
  mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: STEPWELL_CHROMIUM, args: ["--no-sandbox"] });
  await startShop();
  token = readFileSync(join(data, "operator-token"), "utf8").trim();
});

after(async () => {
  await browser?.close();
  program?.kill("SIGTERM");
  rmSync(data, { recursive: true, force: true });
});

// ---- The tests, one after the other on one shop ------------------------------------------------------------------------

test("vendored libraries are those of the lockfile", () => {
  const own = (path) => readFileSync(join(ASSETS, "vendor", path), "utf8");
  const published = (path) => readFileSync(join(STEPWELL_CONSOLE_TOOLS, "node_modules", path), "utf8");
  assert.equal(own("preact.js"), published("preact/dist/preact.mjs"));
  assert.equal(own("hooks.js"), published("preact/hooks/dist/hooks.mjs").replace('from"preact"', 'from"./preact.js"'));
  assert.equal(own("htm.js"), published("htm/dist/htm.mjs"));
  const { dependencies } = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8"));
  for (const name of ["preact", "htm"]) assert.ok(own("LICENSES.txt").includes(`${name} ${dependencies[name]}`), name);
});

test("the printed link logs in once, and a wrong token does not", async () => {
  const page = await open({}, { loggedIn: false });
  await page.goto(link);
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  assert.equal(new URL(page.url()).hash, "", "the code leaves the address");
  assert.ok(await page.getByText("as ann").isVisible());
  [cookie] = await page.context().cookies();
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
  assert.equal(await page.evaluate(() => document.cookie), "");

  const other = await open({}, { loggedIn: false });
  await other.goto(link);
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
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await show(page, "/console/");
  const painted = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  t.diagnostic(`${bytes} bytes with all answers, first painted after ${Math.round(painted)} ms`);
  const files = readdirSync(ASSETS, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.ok(files.length > 10 && bytes > 50_000, "they are counted");
  assert.ok(bytes <= MOST_BYTES, `${bytes} bytes`);
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
  await page.getByRole("button", { name: /^Redrive [\d,]+ tasks$/ }).click();
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
  await first.getByText("1 task needs a person").waitFor();
  await first.getByRole("link", { name: `Task …${needsPerson.slice(-8)}` }).click();
  await page.getByText("refund_payment failed for good. The task waits for a person.").waitFor();
  await page.getByText("Return the money in another way, then resolve this compensation").waitFor();
  const step = page.getByRole("region", { name: "refund_payment" });
  await step.getByRole("button", { name: "Resolve by hand…" }).click();
  await page.getByLabel("Result, as JSON").fill("{");
  await page.getByLabel("I made sure").check();
  await page.getByLabel("Why").fill("paid back by bank transfer");
  await page.getByRole("button", { name: "Resolve the step" }).click();
  await page.getByText("The result is not JSON").waitFor();
  const result = { refund_id: "by hand", payment_id: null, amount_refunded: 100, currency: "USD", refunded_at: new Date().toISOString() };
  await page.getByLabel("Result, as JSON").fill(JSON.stringify(result).replace(":100,", ":100.00,"));
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

  // Its order number leads to it as well.
  const { steps } = await api(`/tasks/${id}`);
  const number = steps.find((step) => step.name === "create_order").result.order_number;
  await page.goto(`${operators}/console/`);
  await page.getByRole("searchbox").fill(number);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: `Task ${id}` }).waitFor();
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

test("a refusal says why, and a lost connection is told", async () => {
  const id = await declinedCard();
  const page = await open({});
  await show(page, `/console/tasks/${id}`);
  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByLabel("Why").fill("too late");
  await api(`/tasks/${id}/cancel`, { reason: "somebody else was quicker" });
  await page.getByRole("button", { name: "Redrive", exact: true }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await page.locator(".grace.bad").waitFor();
  await page.context().setOffline(true);
  await page.getByText("No connection.").waitFor();
  await accessible(page, "no connection");
  await shot(page, "light-no-connection");
  await page.context().setOffline(false);
  await page.getByText("No connection.").waitFor({ state: "detached" });
  await page.context().close();
});

test("who may only look sees no button of an action", async () => {
  const id = await declinedCard();
  const page = await open({});
  const paths = [`/console/tasks/${id}`, "/console/tasks?status=error"];
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
  await page.context().close();
});

test("every page is accessible and fits, light, dark and on a phone", async () => {
  const waits = await buy("gateway_rate_limited");
  await until("it waits", async () => (await api(`/tasks/${waits}`)).steps.some((step) => step.status === "retrying"));
  const person = await declinedRefund();
  const failed = await declinedCard();
  const complete = await buy("success");
  await taskIs(complete, "complete");
  const pages = {
    overview: "/console/",
    tasks: "/console/tasks",
    "tasks-filtered": "/console/tasks?status=error&failed_step=validate_cart&older_than=1s",
    "tasks-none": "/console/tasks?status=resolved_manually",
    "task-waits": `/console/tasks/${waits}`,
    "task-failed": `/console/tasks/${failed}`,
    "task-person": `/console/tasks/${person}`,
    "task-complete": `/console/tasks/${complete}`,
    "task-unknown": "/console/tasks/018f4e4e-7c1a-7000-8000-0123456789ab",
    bulk: "/console/bulk",
    "bulk-one": bulkPath,
    "not-found": "/console/nothing/here",
  };
  const look = async ([scheme, options]) => {
    const page = await open(options);
    for (const [name, path] of Object.entries(pages)) {
      await show(page, path);
      const details = page.locator("main details:not([open]) > summary");
      // Opening one takes it out of the list.
      while ((await details.count()) > 0) await details.first().evaluate((summary) => (summary.parentElement.open = true));
      await accessible(page, `${scheme} ${name}`);
      const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(beyond <= 0, `${scheme} ${name} is ${beyond} px too wide`);
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
