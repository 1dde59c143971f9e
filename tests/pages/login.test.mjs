// The console of a stack in a browser: the login at Cognito's pages, and what an operator and everybody else may do then. tests/tokens.sh runs it on a
// stack in MiniStack, which shows pages like Cognito's at its own address. So the browser's requests to Cognito's domain are passed on there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { accessible, complaints, launch, open as openPage, REPOSITORY, shots, until } from "./browser.mjs";

const { AWS_ENDPOINT_URL: EMULATOR, STEPWELL_CONSOLE: CONSOLE, STEPWELL_LOGIN: COGNITO, STEPWELL_PASSWORD: PASSWORD } = process.env;

/** The address of the stack's API: a browser takes all hosts below localhost for this machine, Node does not. */
const { origin: API, host: HOST, port: PORT } = new URL(CONSOLE);
const PATHS = `http://127.0.0.1:${PORT}/_aws/execute-api/${HOST.split(".")[0]}`;

const shot = shots("login");

let browser;

before(async () => (browser = await launch()));
after(async () => {
  await browser?.close();
  assert.deepEqual(complaints, []);
});

/** The tokens that the provider was asked to revoke. */
const revoked = [];

/** The answer for Cognito, which the emulator has at another address. */
async function answer(request) {
  const { pathname, search } = new URL(request.url());
  const body = request.postData() ?? undefined;
  if (pathname === "/oauth2/revoke") {
    // The emulator lacks it.
    revoked.push(new URLSearchParams(body).get("token"));
    return { status: 200, headers: { "access-control-allow-origin": "*" } };
  }
  const headers = { "content-type": request.headers()["content-type"] ?? "text/plain" };
  const answered = await fetch(EMULATOR + pathname + search, { method: request.method(), headers, body, redirect: "manual" });
  return { status: answered.status, headers: Object.fromEntries(answered.headers), body: await answered.text() };
}

async function open() {
  const page = await openPage(browser, { viewport: { width: 1280, height: 860 } });
  await page.context().route(`${COGNITO}/**`, async (route) => route.fulfill(await answer(route.request())));
  return page;
}

/** Has the provider's page send a person back with another answer from now on. */
async function sendBackWith(page, change) {
  await page.route(`${COGNITO}/login`, async (route) => {
    const { headers, ...rest } = await answer(route.request());
    const back = new URL(headers.location);
    change(back.searchParams);
    await route.fulfill({ ...rest, headers: { ...headers, location: back.toString() } });
  });
}

/** Logs in from the page that is shown, which has to ask for it. */
async function logIn(page, person) {
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByLabel("Username").fill(person);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** A task that failed because its card was declined. */
async function declinedCard() {
  const body = readFileSync(join(REPOSITORY, "events/requests/card_declined.json"), "utf8");
  const started = await fetch(`${PATHS}/checkout?wait=20`, { method: "POST", headers: { "content-type": "application/json" }, body });
  return (await started.json()).task_id;
}

const tokens = (page) => page.evaluate(() => JSON.parse(sessionStorage.getItem("stepwell.tokens")));

const asks = (page, method, path, body) =>
  tokens(page).then(({ access }) =>
    fetch(PATHS + path, { method, headers: { authorization: `Bearer ${access}`, "content-type": "application/json" }, body: body && JSON.stringify(body) }));

test("an operator logs in at Cognito, comes back to the page, and redrives a task", async () => {
  const task = await declinedCard();
  const page = await open();
  const asked = [];
  page.on("request", (request) => asked.push(request));
  await page.goto(`${API}/console/tasks/${task}`);
  await page.getByRole("heading", { name: "Log in to Stepwell" }).waitFor();
  await accessible(page, "login");
  await shot(page, "login");
  await logIn(page, "carol");
  await page.getByText("as carol (console)").waitFor();
  assert.equal(page.url(), `${API}/console/tasks/${task}`, "the page on which the login began, without the code");
  const { access, refresh } = await tokens(page);
  assert.ok(access && refresh);

  const authorize = new URL(asked.find((request) => request.url().startsWith(`${COGNITO}/oauth2/authorize`)).url()).searchParams;
  assert.deepEqual(
    [authorize.get("code_challenge_method"), authorize.get("scope"), authorize.get("response_type")],
    ["S256", "openid", "code"],
  );
  assert.ok(authorize.get("code_challenge").length === 43 && authorize.get("state").length === 43);

  await page.getByRole("button", { name: "Redrive…" }).click();
  await page.getByLabel("Why").fill("the card was topped up");
  await shot(page, "operator");
  await page.getByRole("button", { name: "Redrive", exact: true }).click();
  await page.getByRole("button", { name: "Do it now" }).click();
  await until("the audit trail has her name", async () => {
    const { actions } = await (await asks(page, "GET", `/api/tasks/${task}`)).json();
    return actions.some(({ what, who, why }) => what === "redrive" && who === "carol (console)" && why === "the card was topped up");
  });
  assert.ok(asked.every((request) => !request.headers().cookie), "there is no cookie");

  // A reload keeps the session of the tab; another tab has none.
  await page.reload();
  await page.getByText("as carol (console)").waitFor();
  const other = await page.context().newPage();
  await other.goto(CONSOLE);
  await other.getByRole("button", { name: "Log in" }).waitFor();
  await page.context().close();
});

test("a token is renewed before it ends, and the session ends with what renews it", async () => {
  const page = await open();
  await page.goto(CONSOLE);
  await logIn(page, "dave");
  await page.getByText("as dave (console)").waitFor();
  const age = () =>
    page.evaluate(() => {
      const kept = JSON.parse(sessionStorage.getItem("stepwell.tokens"));
      sessionStorage.setItem("stepwell.tokens", JSON.stringify({ ...kept, until: Date.now() + 30_000 }));
    });
  const first = await tokens(page);
  await age();
  await page.reload();
  await page.getByText("as dave (console)").waitFor();
  const second = await tokens(page);
  assert.ok(second.access !== first.access && second.refresh === first.refresh && second.until > first.until);

  await page.evaluate(() => sessionStorage.setItem("stepwell.tokens", JSON.stringify({ access: "a", refresh: "b", until: 0 })));
  await page.reload();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  assert.equal(await tokens(page), null);
  await page.context().close();
});

test("whoever is no operator sees no buttons, and the API lets nothing be done", async () => {
  const task = await declinedCard();
  const page = await open();
  await page.goto(`${API}/console/tasks/${task}`);
  await logIn(page, "dave");
  await page.getByText("as dave (console)").waitFor();
  await page.getByRole("heading", { name: "Timeline" }).waitFor();
  await shot(page, "reader");
  assert.equal(await page.getByRole("button", { name: "Redrive…" }).count(), 0);
  assert.equal((await asks(page, "GET", `/api/tasks/${task}`)).status, 200);
  const refused = await asks(page, "POST", `/api/tasks/${task}/redrive`, { reason: "why" });
  assert.deepEqual([refused.status, (await refused.json()).error], [403, "dave (console) may look, and not act: an administrator lets somebody act, by the group operators"]);
  await page.context().close();
});

test("a login that did not begin in this tab logs nobody in", async () => {
  const page = await open();
  // Somebody who is led to an address with a code of somebody else.
  await page.goto(`${CONSOLE}?code=stolen&state=guessed`);
  await page.getByText("This login did not begin here").waitFor();
  assert.equal(page.url(), CONSOLE, "the code leaves the address");
  // And somebody who has begun one, and is sent back with the code of another.
  await sendBackWith(page, (back) => back.set("state", "guessed"));
  await logIn(page, "carol");
  await page.getByText("This login did not begin here").waitFor();
  assert.equal(await tokens(page), null);
  await page.context().close();
});

test("a login that fails says why", async () => {
  const page = await open();
  await page.goto(CONSOLE);
  await sendBackWith(page, (back) => {
    back.delete("code");
    back.set("error", "access_denied");
    back.set("error_description", "the person is disabled");
  });
  await logIn(page, "carol");
  await page.getByText("The login was refused: the person is disabled").waitFor();
  await sendBackWith(page, (back) => back.set("code", "another"));
  await logIn(page, "carol");
  await page.getByText("The login did not succeed: invalid_grant").waitFor();
  await accessible(page, "refused login");
  await shot(page, "refused");
  assert.equal(await tokens(page), null);
  await page.context().close();
});

test("logging out ends the session here and at Cognito", async () => {
  const page = await open();
  await page.goto(CONSOLE);
  await logIn(page, "carol");
  await page.getByText("as carol (console)").waitFor();
  const { refresh } = await tokens(page);
  const asked = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.getByRole("button", { name: "log out" }).click();
  await page.getByRole("button", { name: "Log in" }).waitFor();
  assert.equal(await tokens(page), null);
  assert.equal(page.url(), CONSOLE);
  assert.deepEqual(revoked, [refresh]);
  assert.ok(asked.some((url) => url.startsWith(`${COGNITO}/logout?`)), "also the session of Cognito's own pages");
  await page.context().close();
});
