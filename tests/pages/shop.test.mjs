// The shop's pages in a browser, as a customer uses them: against `checkout_local serve` on a folder of its own. tests/run.sh shop runs it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, askOperators, assertUntold, complaints, fits, launch, listen, open as openPage, SCHEMES, sendsFew, shots, show, startShop, until, withoutMail } from "./browser.mjs";

const shot = shots("shop");

let shop, browser;

before(async () => {
  browser = await launch();
  shop = await startShop("--checkouts-per-email", "0");
});

after(async () => {
  await browser?.close();
  await shop?.stop();
});

// ---- What customers do -------------------------------------------------------------------------------------------------

let customers = 0;

/** Opens a page of a customer with an e-mail address of their own. */
async function open(options = {}) {
  const page = await openPage(browser, options);
  customers += 1;
  page.email = `customer${customers}@example.com`;
  return page;
}

const add = (page, name) => page.getByRole("button", { name: `Add to cart: ${name}` }).click();

/** Waits until the cart says what it costs. */
const quoted = (page, total = "USD") => page.getByRole("main").getByRole("status").getByText(total).waitFor();

async function sayWho(page) {
  await page.getByLabel("Name", { exact: true }).fill("Ann Example");
  await page.getByLabel("E-mail").fill(page.email);
}

/** Fills a cart with one product, and goes to it. */
async function fill(page, name = "Linen notebook") {
  await show(page, `${shop.customers}/`);
  await add(page, name);
  await page.getByRole("link", { name: "To the cart and the payment" }).click();
  await sayWho(page);
  await quoted(page);
}

const pay = (page, card) => page.getByRole("button", { name: `Pay: ${card}` }).click();

const title = (page, text) => page.getByRole("heading", { level: 1, name: text }).waitFor();

const CONFIRMED = "Thank you. Your order is confirmed";

/** Buys one product, and shows its order. */
async function buy(page, card, told) {
  await fill(page);
  await pay(page, card);
  await title(page, told);
}

/** The tasks of a customer, as operators see them. */
const tasksOf = async ({ email }) => (await askOperators(shop, `/tasks?key=email:${email}`)).tasks;

const idOf = (page) => new URL(page.url()).pathname.split("/").at(-1);

/** Buys without a page, with any card, and returns the path of the order's page. */
async function order(token, status) {
  const body = {
    cart_items: [{ product_id: 3, quantity: 1 }],
    payment_info: { token, amount: 17.95 },
    customer_info: { email: "by.hand@example.com", name: "By Hand" },
  };
  const answer = await fetch(`${shop.customers}/checkout?wait=20`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ checkout: body }),
  });
  const { task_id: id, task_key: key, ...rest } = await answer.json();
  assert.equal(rest.status, status);
  return { id, key, path: `/shop/orders/${id}#${key}` };
}

/** An order whose money cannot be given back by itself. */
async function withoutRefund() {
  const made = await order("test_success_visa_norefund", "completed");
  const answer = await fetch(`${shop.customers}/cancel_checkout/${made.id}`, { method: "POST", headers: { "x-task-key": made.key } });
  assert.equal(answer.status, 202);
  await until("its refund is refused", async () => (await askOperators(shop, "/tasks?needs=person")).tasks.some(({ task_id: id }) => id === made.id));
  return made;
}

// ---- The tests, one after the other on one shop ------------------------------------------------------------------------

test("a first view sends few bytes", async (t) => {
  const page = await open();
  await sendsFew(page, `${shop.customers}/`, t);
  await page.context().close();
});

test("a cart is bought, and its page alone has the key", async () => {
  const page = await open();
  const urls = [];
  page.on("request", (request) => urls.push(request.url(), request.headers().referer ?? ""));
  await show(page, `${shop.customers}/`);
  assert.equal(await page.getByText("Cedar candle").count(), 0, "it is not sold any more");
  await add(page, "Enamel coffee mug");
  await page.getByRole("button", { name: "One more of Enamel coffee mug" }).click();
  await page.getByRole("link", { name: /^Cart\s+2\s+units$/ }).click();
  await sayWho(page);
  await quoted(page, "36.32 USD");
  await pay(page, "Success");
  await title(page, CONFIRMED);
  await page.getByText("36.32 USD were charged").waitFor();
  const [{ hash }, id] = [new URL(page.url()), idOf(page)];
  assert.equal(hash.length, 23, "the key stands behind the #");
  await page.getByRole("link", { name: "To the content" }).focus();
  await page.keyboard.press("Enter");
  assert.deepEqual([new URL(page.url()).hash, await page.evaluate(() => document.activeElement.id)], [hash, "main"]);
  assert.deepEqual(urls.filter((url) => url.includes(hash.slice(1))), []);
  const number = await page.getByText(/^ORD-\d{8}-[0-9A-F]{8}$/).textContent();
  const task = await askOperators(shop, `/tasks/${id}`);
  assert.equal(task.steps.find(({ name }) => name === "create_order").result.order_number, number);
  const done = page.getByRole("region", { name: "Its steps" }).getByRole("listitem");
  for (const step of await done.all()) assert.match(await step.textContent(), /done$/);
  assert.equal(await done.count(), 5);
  assert.match(await page.getByRole("status").last().textContent(), /Your order is confirmed/, "a screen reader is told");

  // The browser knows it again.
  await page.goto(`${shop.customers}/shop/orders`);
  await page.getByText("confirmed", { exact: true }).first().waitFor();
  await page.getByRole("main").getByRole("link").first().click();
  await title(page, CONFIRMED);
  await page.goto(`${shop.customers}/shop/orders`);
  const forget = page.getByRole("button", { name: "Forget these orders in this browser…" });
  await forget.click();
  await page.getByText("An order that is still open goes on, but its key is lost").waitFor();
  await accessible(page, "asking about keys");
  await shot(page, "light-ask-forget");
  await page.getByRole("button", { name: "Keep them" }).click();
  await page.getByText("confirmed", { exact: true }).first().waitFor();
  await forget.click();
  await page.getByRole("button", { name: "Forget them" }).click();
  await page.getByText("This browser has made none yet").waitFor();
  assert.ok(!(await page.evaluate(() => localStorage.getItem("stepwell.shop"))).includes(hash.slice(1)));
  await page.context().close();
});

test("a declined card is told with what to do, and another card pays", async () => {
  const page = await open();
  await buy(page, "Declined", "Your order could not be completed");
  await page.getByText("Your card was declined").waitFor();
  await page.getByText("Nothing was charged.", { exact: true }).waitFor();
  await page.getByText("The goods are held for you until").waitFor();
  await page.getByRole("button", { name: "Pay with another card: Success" }).click();
  await title(page, CONFIRMED);
  const [task, ...others] = await tasksOf(page);
  assert.deepEqual([task.status, others], ["complete", []], "it is the same order");
  await page.context().close();
});

test("a flaky payment is tried again by itself, and says so", async () => {
  const page = await open();
  await buy(page, "Flaky", "We are trying again");
  await page.getByText("your card is charged once at most").waitFor();
  await page.getByText("waits for the next attempt").waitFor();
  await title(page, CONFIRMED);
  await page.getByText("3 attempts").waitFor();
  await page.getByText("What happened behind it").click();
  assert.equal(await page.getByText("GATEWAY_TEMPORARY_FAILURE").count(), 2);
  await page.context().close();
});

test("a gateway that is down is waited for, and its customer may have it tried now", async () => {
  const page = await open();
  await buy(page, "Gateway down", "We are trying again");
  await page.getByText(/It is tried again at \d\d:\d\d:\d\d, in (5\d|60) s|in 1 min/).waitFor();
  await page.getByRole("button", { name: "Try now" }).click();
  await title(page, CONFIRMED);
  await page.context().close();
});

test("an order that is turned away by a rate limit waits, and another card does not", async () => {
  const page = await open();
  await buy(page, "Rate-limited", "We are trying again");
  await page.getByText("Pay with another card", { exact: true }).click();
  await page.getByRole("button", { name: "Pay with another card: Success" }).click();
  await title(page, CONFIRMED);
  await page.context().close();
});

test("the steps of an order are asked for only when they may be others", async (t) => {
  const page = await open();
  let begun, asked = [];
  page.on("request", (request) => {
    const [, path] = new URL(request.url()).pathname.split("/");
    if (path === "checkout") begun = Date.now();
    asked.push(path);
  });
  const count = (wanted) => asked.filter((path) => path === wanted).length;
  await buy(page, "Success", CONFIRMED);
  t.diagnostic(`a purchase within ${Date.now() - begun} ms: ${count("order_status")} of the status, ${count("workflow_details")} of the steps, ${count("") + count("shop")} for files, ${asked.length} in all`);
  await buy(page, "Rate-limited", "We are trying again");
  await page.getByText("waits for the next attempt").waitFor();
  asked = [];
  await page.waitForRequest("**/order_status/**");
  await page.waitForRequest("**/order_status/**");
  assert.deepEqual([count("order_status"), count("workflow_details")], [2, 0], "what it waits for is known");
  await page.context().close();
});

test("where no script is loaded the page says so", async () => {
  const page = await open();
  await page.route("**/shop/order.js", (route) => route.abort());
  await page.goto(`${shop.customers}/`);
  await title(page, "The shop is not loaded yet");
  await accessible(page, "no scripts");
  await page.context().close();
});

test("a link of another site leads to the shop, and to no data", async () => {
  const page = await open();
  await page.route("http://other.example/", (route) => route.fulfill({ contentType: "text/html", body: `<a href="${shop.customers}/shop">shop</a> <a href="${shop.customers}/products">data</a>` }));
  const follow = async (name) => {
    await page.goto("http://other.example/");
    const [answer] = await Promise.all([page.waitForNavigation(), page.getByText(name).click()]);
    return answer.status();
  };
  assert.equal(await follow("data"), 403);
  assert.equal(await follow("shop"), 200);
  await title(page, "Buy something, and have the payment fail");
  await page.getByText("Linen notebook").waitFor();
  await page.context().close();
});

test("an order whose answer is lost is sent again with its key, also by the next page, and is made once", async () => {
  const page = await open();
  const keys = [];
  await page.route("**/checkout", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    // The shop has it, and its answer does not arrive.
    if (keys.length <= 2) await route.fetch();
    return keys.length <= 2 ? route.abort() : route.continue();
  });
  await fill(page);
  await pay(page, "Success");
  await page.getByText("We do not know whether your order has arrived").waitFor();
  await shot(page, "light-answer-lost");
  await accessible(page, "a lost answer");
  await page.reload();
  await title(page, CONFIRMED);
  assert.equal(new Set(keys).size, 1);
  assert.ok(keys.length >= 3, `${keys.length} times`);
  assert.equal((await tasksOf(page)).length, 1);
  await page.context().close();
});

test("a page that is left while its request is on its way leaves a purchase that no refusal ends", async () => {
  const page = await open();
  const keys = [];
  let arrived;
  const isMade = new Promise((resolve) => (arrived = resolve));
  await page.route("**/checkout", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length === 1) return route.fetch().then(arrived);
    return keys.length === 2 ? route.fulfill({ status: 429, json: { success: false, error: "There were too many checkouts" } }) : route.continue();
  });
  await fill(page);
  await pay(page, "Success");
  await isMade;
  await page.reload();
  await title(page, CONFIRMED);
  assert.equal(new Set(keys).size, 1);
  assert.ok(keys.length >= 3, `${keys.length} times`);
  assert.equal((await tasksOf(page)).length, 1);
  await page.context().close();
});

test("after a lost answer no refusal ends the purchase, and none of a server in between ever does", async () => {
  const page = await open();
  const keys = [];
  await page.route("**/checkout", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length === 1) await route.fetch();
    const answers = [
      { status: 500, json: { message: "Internal Server Error" } },
      { status: 429, json: { success: false, error: "There were too many checkouts in a short time" } },
      { status: 200, body: "" },
    ];
    const answer = answers[keys.length - 1];
    return answer ? route.fulfill(answer) : route.continue();
  });
  await fill(page);
  await pay(page, "Success");
  await title(page, CONFIRMED);
  assert.deepEqual([new Set(keys).size, keys.length, (await tasksOf(page)).length], [1, 4, 1]);
  await page.context().close();
});

test("a purchase of long ago is sent only if its customer says so, and never once the shop may have forgotten its key", async () => {
  const page = await open();
  await page.route("**/checkout", (route) => route.abort());
  await fill(page);
  await pay(page, "Success");
  await page.getByText("We do not know whether your order has arrived").waitFor();
  const begunAgo = async (ms) => {
    await page.evaluate((ms) => {
      const kept = JSON.parse(localStorage.getItem("stepwell.shop"));
      localStorage.setItem("stepwell.shop", JSON.stringify({ ...kept, purchase: { ...kept.purchase, at: Date.now() - ms } }));
    }, ms);
    await page.reload();
  };
  await begunAgo(7 * 24 * 60 * 60_000);
  await page.getByText("Please look for its e-mail before you order again").waitFor();
  assert.equal(await page.getByRole("button", { name: "Send it again" }).count(), 0);
  await page.unroute("**/checkout");
  await begunAgo(10 * 60_000);
  await page.getByText("Sent again it cannot be made twice").waitFor();
  await accessible(page, "a purchase of long ago");
  assert.equal((await tasksOf(page)).length, 0);
  await page.getByRole("button", { name: "Send it again" }).click();
  await title(page, CONFIRMED);
  assert.equal((await tasksOf(page)).length, 1);
  await page.context().close();
});

test("two tabs buy once, and keep what each has put into the cart", async () => {
  const page = await open();
  const keys = [];
  await page.context().route("**/checkout", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (keys.length > 2) return route.continue();
    await route.fetch();
    return route.abort();
  });
  await fill(page);
  await pay(page, "Success");
  await page.getByText("We do not know whether your order has arrived").waitFor();
  const other = await page.context().newPage();
  await show(other, `${shop.customers}/`);
  await add(other, "Canvas tote bag");
  await until("it is made", () => page.evaluate(() => JSON.parse(localStorage.getItem("stepwell.shop")).orders.length === 1));
  const { cart, purchase } = await page.evaluate(() => JSON.parse(localStorage.getItem("stepwell.shop")));
  assert.deepEqual([cart.map(({ name }) => name), purchase], [["Canvas tote bag"], null]);
  assert.deepEqual([new Set(keys).size, (await tasksOf(page)).length], [1, 1]);
  assert.equal(new URL(other.url()).pathname, "/", "it is not led away");
  await page.context().close();
});

test("a second click buys nothing", async () => {
  const page = await open();
  await fill(page);
  await page.getByRole("button", { name: "Pay: Success" }).dblclick();
  await title(page, CONFIRMED);
  assert.equal((await tasksOf(page)).length, 1);
  await page.context().close();
});

test("a refusal says why and for how long, and the next try is another one", async () => {
  const page = await open();
  const keys = [];
  const refusals = [
    [429, { success: false, error: "There were too many checkouts in a short time; please try again in some minutes" }, "240"],
    [503, { success: false, error: "A service that we need for your order does not answer right now.", code: "SERVICE_OUT" }, "30"],
    [422, { success: false, error: "Invalid checkout data", details: [{ path: "/checkout/customer_info/email", message: "is no address" }] }],
  ];
  await page.route("**/checkout", (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    const [status, json, after] = refusals[keys.length - 1] ?? [];
    return status ? route.fulfill({ status, json, headers: after && { "retry-after": after } }) : route.continue();
  });
  await fill(page);
  await pay(page, "Success");
  await page.getByText("There were too many checkouts").waitFor();
  await page.getByText(/You can try again in (4 min|3 min \d+ s)/).waitFor();
  await accessible(page, "a refusal");
  await shot(page, "light-refused");
  await pay(page, "Success");
  await page.getByText("A service that we need for your order").waitFor();
  await page.getByText(/You can try again in (30|2\d) s/).waitFor();
  await pay(page, "Success");
  await page.getByText("is no address").waitFor();
  await pay(page, "Success");
  await title(page, CONFIRMED);
  assert.equal(new Set(keys).size, 4);
  await page.context().close();
});

test("a complete order is cancelled after it was said what that means", async () => {
  const page = await open();
  await buy(page, "Success", CONFIRMED);
  await page.getByRole("button", { name: "Cancel the order…" }).click();
  await page.getByText("If they have been shipped already, the order stays.").waitFor();
  await accessible(page, "asking about a cancellation");
  await shot(page, "light-ask-cancel");
  await page.getByRole("button", { name: "Keep it" }).click();
  await page.getByRole("button", { name: "Cancel the order…" }).click();
  await page.getByRole("button", { name: "Cancel the order", exact: true }).click();
  await title(page, "Your order is cancelled");
  await page.getByText("17.95 USD were given back.").waitFor();
  // The same again, in a cart.
  await page.getByRole("button", { name: "Order again" }).click();
  await title(page, "Your cart");
  await quoted(page, "17.95 USD");
  await page.context().close();
});

test("an order that is undone and was made once more leads to the new one, and is not ordered again", async () => {
  const page = await open();
  await buy(page, "Success", CONFIRMED);
  await page.getByRole("button", { name: "Cancel the order…" }).click();
  await page.getByRole("button", { name: "Cancel the order", exact: true }).click();
  await title(page, "Your order is cancelled");
  const id = idOf(page);
  await until("it is undone", async () => (await askOperators(shop, `/tasks/${id}`)).compensated);
  const again = page.getByRole("button", { name: "Order again" });
  await again.waitFor();
  const body = { reason: "it was a mistake", again: true, patch: { payment_info: { token: "test_success_visa" } } };
  const { task_id: rerun } = await askOperators(shop, `/tasks/${id}/rerun`, body);
  const old = page.url();
  await again.click();
  await title(page, CONFIRMED);
  assert.equal(idOf(page), rerun, "the open page knew nothing of it");
  await page.goto(old);
  await page.getByText("Your order goes on as another one.").waitFor();
  assert.equal(await page.getByRole("button", { name: "Order again" }).count(), 0);
  await accessible(page, "an order that goes on as another one");
  await shot(page, "light-rerun");
  await page.getByRole("link", { name: "Show that order" }).click();
  await title(page, CONFIRMED);
  assert.equal(idOf(page), rerun);
  await page.context().close();
});

test("a shipped order is not cancelled, and says so", async () => {
  const page = await open();
  await buy(page, "Success", CONFIRMED);
  await askOperators(shop, `/orders/${idOf(page)}/ship`, { reason: "handed over" });
  await page.getByRole("button", { name: "Cancel the order…" }).click();
  await page.getByRole("button", { name: "Cancel the order", exact: true }).click();
  await page.getByText("It was not cancelled.").waitFor();
  await title(page, CONFIRMED);
  assert.equal(await page.getByRole("button", { name: "Cancel the order…" }).count(), 0);
  await page.context().close();
});

test("an order whose e-mail cannot be sent yet is confirmed, and one without its e-mail has it sent again", async () => {
  const page = await open();
  await withoutMail(shop, async () => {
    await buy(page, "Success", "Your order is made");
    await page.getByText("Only the e-mail about it could not be sent yet").waitFor();
    await page.getByText(/^ORD-/).waitFor();
    assert.equal(await page.getByText("Pay with another card").count(), 0);
  });
  await page.getByRole("button", { name: "Try now" }).click();
  await title(page, CONFIRMED);

  // After half an hour of failed attempts.
  let asked = 0;
  const retry_url = `/retry_checkout/${idOf(page)}`;
  await page.route("**/order_status/**", async (route) => {
    const answer = await route.fetch();
    const warnings = asked > 0 ? undefined : [{ step: "send_confirmation", message: "We could not send the confirmation e-mail.", retry_url }];
    await route.fulfill({ response: answer, json: { ...(await answer.json()), warnings } });
  });
  await page.route("**/retry_checkout/**", (route) => {
    asked += 1;
    return route.fulfill({ status: 202, json: { success: true } });
  });
  await page.reload();
  await page.getByText("We could not send the confirmation e-mail").waitFor();
  await accessible(page, "a warning");
  await shot(page, "light-warning");
  await page.getByRole("button", { name: "Send it again" }).click();
  await page.getByText("We could not send the confirmation e-mail").waitFor({ state: "detached" });
  assert.equal(asked, 1);
  await page.context().close();
});

test("while no answer comes the page says of when it is, and goes on by itself", async () => {
  const page = await open();
  await buy(page, "Rate-limited", "We are trying again");
  await page.route("**/order_status/**", (route) => route.abort());
  await page.getByText(/What is shown is from \d\d:\d\d:\d\d. Your order goes on all the same/).waitFor();
  await accessible(page, "no connection");
  await shot(page, "light-no-connection");
  await page.unroute("**/order_status/**");
  await page.getByText("What is shown is from").waitFor({ state: "detached" });
  await show(page, `${shop.customers}/`);
  await page.route("**/products", (route) => route.fulfill({ status: 503, json: { success: false, error: "Service unavailable" } }));
  await page.goto(`${shop.customers}/`);
  await page.getByText("The shop does not answer right now. So there are no products to show.").waitFor();
  await page.context().close();
});

test("more than there is cannot be bought, and the cart says so before", async () => {
  const page = await open();
  await fill(page, "Hand-thrown serving bowl");
  await page.getByLabel("Units of Hand-thrown serving bowl", { exact: true }).last().fill("3");
  await page.getByLabel("Name", { exact: true }).focus();
  await page.getByRole("alert").getByText("there are fewer left than you want").waitFor();
  assert.ok(await page.getByRole("button", { name: "Pay: Success" }).isDisabled());
  await accessible(page, "too many");
  await shot(page, "light-too-many");
  await page.getByRole("button", { name: "One less of Hand-thrown serving bowl" }).click();
  await quoted(page);
  await page.context().close();
});

test("a keyboard is enough, and Enter in a field buys nothing", async () => {
  const page = await open();
  await show(page, `${shop.customers}/`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  const more = page.getByRole("button", { name: "One more of Walnut desk organizer" });
  await until("the focus is where the button was", () => more.evaluate((button) => button === document.activeElement));
  const onward = page.getByRole("link", { name: "To the cart and the payment" });
  for (let pressed = 0; pressed < 40 && !(await onward.evaluate((link) => link === document.activeElement)); pressed += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await title(page, "Your cart");
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1", "a page begins at its title");
  await quoted(page);
  await page.getByLabel("Name", { exact: true }).focus();
  await page.keyboard.type("Ann Example");
  await page.keyboard.press("Tab");
  await page.keyboard.type(page.email);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal((await tasksOf(page)).length, 0);
  await page.keyboard.press("Enter");
  await title(page, CONFIRMED);
  await page.context().close();
});

test("an order is shown to nobody without its key", async () => {
  const { id, key } = await order("test_success_visa", "completed");
  const page = await open();
  for (const address of [id, `${id}#${key.replace(/./g, "A")}`, "018f4e4e-7c1a-7000-8000-0123456789ab#AAAAAAAAAAAAAAAAAAAAAA"]) {
    await page.goto("about:blank");
    await page.goto(`${shop.customers}/shop/orders/${address}`);
    await title(page, "There is no such order here");
  }
  await page.context().close();
});

test("the page of an order has no card, and nothing that the browser gets has it", async () => {
  for (const [token, status] of [["test_success_visa_planted1", "completed"], ["test_declined_visa_planted2", "failed"]]) {
    const { id, path } = await order(token, status);
    const page = await open();
    const told = await listen(page);
    await show(page, shop.customers + path);
    await page.getByRole("region", { name: "Its steps" }).waitFor();
    told.push(["the page", await page.content()]);
    assert.ok(told.some(([where]) => where.includes(`/order_status/${id}`)), "it has asked");
    assertUntold(told, ["planted"]);
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await page.context().close();
  }
});

test("every page is accessible and fits, light, dark and on a phone", async () => {
  const [confirmed, declined, person] = [await order("test_success_visa", "completed"), await order("test_declined_visa", "failed"), await withoutRefund()];
  const waits = await order("test_rate_limit_visa", "processing");
  const about = { at: new Date().toISOString(), items: [{ product_id: 3, name: "Linen notebook", quantity: 1 }], total: "17.95", currency: "USD" };
  const kept = {
    cart: [{ product_id: 2, name: "Enamel coffee mug", quantity: 2 }, { product_id: 6, name: "Hand-thrown serving bowl", quantity: 1 }],
    orders: [confirmed, declined, person, waits].map(({ id, key }) => ({ id, key, ...about })),
  };
  const pages = {
    // It waits for half a minute.
    "order-waits": waits.path,
    products: "/",
    cart: "/shop/cart",
    orders: "/shop/orders",
    "order-confirmed": confirmed.path,
    "order-declined": declined.path,
    "order-person": person.path,
    "order-unknown": "/shop/orders/018f4e4e-7c1a-7000-8000-0123456789ab",
    "not-found": "/shop/nothing/here",
  };
  const look = async ([scheme, options]) => {
    const page = await open(options);
    await page.addInitScript((text) => localStorage.getItem("stepwell.shop") ?? localStorage.setItem("stepwell.shop", text), JSON.stringify(kept));
    for (const [name, path] of Object.entries(pages)) {
      await show(page, shop.customers + path);
      if (name === "cart") await quoted(page);
      if (name === "orders") await page.getByText("confirmed", { exact: true }).first().waitFor();
      await shot(page, `${scheme}-${name}`, true);
      const details = page.locator("main details:not([open]) > summary");
      // Opening one takes it out of the list.
      while ((await details.count()) > 0) await details.first().evaluate((summary) => (summary.parentElement.open = true));
      await accessible(page, `${scheme} ${name}`);
      await fits(page, `${scheme} ${name}`);
    }
    await page.getByRole("link", { name: "Cart" }).click();
    await page.evaluate(() => localStorage.clear());
    await show(page, `${shop.customers}/shop/orders`);
    await page.context().close();
  };
  await Promise.all(SCHEMES.map(look));
});

test("no page has complained", () => assert.deepEqual(complaints, []));
