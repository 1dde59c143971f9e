// What the tests of the pages share: a shop of their own (`checkout_local serve` in a folder of its own), and a browser to look at it.
//
// The screenshots in target/ are to be looked at. The times that the tests print are for people; nothing fails because of a slow machine.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { STEPWELL_PROGRAM, STEPWELL_PAGES_TOOLS, STEPWELL_CHROMIUM } = process.env;
const require = createRequire(join(STEPWELL_PAGES_TOOLS, "here.js"));
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

export const REPOSITORY = new URL("../../", import.meta.url).pathname;

/** The packages that the lockfile pins. */
export const PACKAGES = join(STEPWELL_PAGES_TOOLS, "node_modules");

/** All that a first view may send, with its headers. */
export const MOST_BYTES = 150_000;

/** How long something may take that happens by itself, such as the next minute's work on a bulk action. */
export const PATIENCE = 120_000;

export const SCHEMES = [
  ["light", { colorScheme: "light", viewport: { width: 1280, height: 860 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 860 } }],
  ["phone", { colorScheme: "light", viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }],
];

/** Starts a shop. */
export async function startShop(...options) {
  const data = mkdtempSync(join(tmpdir(), "stepwell-pages-"));
  const program = spawn(STEPWELL_PROGRAM, ["serve", "--data", data, "--port", "0", "--operators-port", "0", ...options], {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, USER: "ann" },
  });
  const shop = {
    data,
    // It writes its log to the end.
    async stop() {
      program.kill("SIGTERM");
      if (program.exitCode === null && program.signalCode === null) await once(program, "exit");
      rmSync(data, { recursive: true, force: true });
    },
  };
  for await (const line of createInterface({ input: program.stdout })) {
    const url = line.match(/http:\S+/)?.[0];
    if (line.startsWith("customers")) shop.customers = url;
    if (line.startsWith("operators")) shop.operators = url;
    if (line.startsWith("console")) shop.link = url;
    if (line.startsWith("Ctrl-C")) {
      shop.token = readFileSync(join(data, "operator-token"), "utf8").trim();
      return shop;
    }
  }
  throw new Error("the shop does not start");
}

/** Does something while the shop can send no e-mail, because its folder of e-mails is none. */
export async function withoutMail({ data }, act) {
  const mail = join(data, "mail");
  renameSync(mail, `${mail}.away`);
  writeFileSync(mail, "");
  try {
    return await act();
  } finally {
    rmSync(mail);
    renameSync(`${mail}.away`, mail);
  }
}

/** Asks the operators' API of a shop itself, and returns the text of its answer. */
export async function textOfOperators(shop, path, body) {
  const headers = { authorization: `Bearer ${shop.token}`, "content-type": "application/json", "x-operator": "bob" };
  const answer = await fetch(shop.operators + path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.text();
}

/** Asks the operators' API of a shop itself. */
export const askOperators = async (...asked) => JSON.parse(await textOfOperators(...asked));

export async function until(what, holds) {
  const end = Date.now() + PATIENCE;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `it does not happen that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export const launch = () => chromium.launch({ executablePath: STEPWELL_CHROMIUM, args: ["--no-sandbox"] });

/** What pages have complained about. */
export const complaints = [];

/** Opens a page in a context of its own. */
export async function open(browser, options, { cookies = [], leaves = false } = {}) {
  const context = await browser.newContext(options);
  await context.addCookies(cookies);
  const page = await context.newPage();
  page.on("pageerror", (error) => complaints.push(error.stack));
  page.on("console", (message) => {
    // An answer that refuses is one of these; the tests ask for some.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
  });
  page.on("dialog", (dialog) => (leaves ? dialog.accept() : complaints.push(`a dialog: ${dialog.message()}`)));
  return page;
}

/** Goes to a page, and waits until its answers are there. */
export async function show(page, url) {
  await page.goto(url);
  await page.locator("main h1").waitFor();
  await page.waitForFunction(() => !document.querySelector("main [aria-busy]"));
}

/** Keeps what a page gets from now on: pairs of an address and the body that it answers with. */
export async function listen(page) {
  const told = [];
  await page.route("**", async (route) => {
    // Nothing comes where the page is left first.
    const answer = await route.fetch().catch(() => undefined);
    if (!answer) return;
    const body = await answer.body();
    told.push([route.request().url(), body.toString()]);
    await route.fulfill({ response: answer, body }).catch(() => {});
  });
  return told;
}

/** Asserts that none of these texts is among what a page has got and shown, whatever their case. */
export function assertUntold(told, secrets) {
  const found = secrets.flatMap((secret) => told.filter(([, text]) => text.toLowerCase().includes(secret.toLowerCase())).map(([where]) => `${secret}: ${where}`));
  assert.deepEqual(found, []);
}

export async function accessible(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(({ html, failureSummary }) => `${html}\n  ${failureSummary}`).join("\n  ")}`);
  assert.deepEqual(told, [], what);
}

/** Asserts that nothing of a page is beyond the screen. */
export async function fits(page, what) {
  const beyond = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(beyond <= 0, `${what} is ${beyond} px too wide`);
}

/** Makes an empty folder for screenshots in target/, and returns what takes one. */
export function shots(name) {
  const folder = join(REPOSITORY, "target", name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return (page, shot, fullPage = false) => page.screenshot({ path: join(folder, `${shot}.png`), fullPage });
}

/** Shows a page for the first time, and asserts that few bytes are sent for it, all answers with their headers. */
export async function sendsFew(page, url, t) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await show(page, url);
  const painted = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  t.diagnostic(`${bytes} bytes with all answers, first painted after ${Math.round(painted)} ms`);
  assert.ok(bytes > 20_000, `they are counted: ${bytes}`);
  assert.ok(bytes <= MOST_BYTES, `${bytes} bytes`);
}
