// The frame around the shop's pages: where one can go, how much is in the cart, and an order on its way to the shop.

import { Cart } from "./cart.js";
import { Boundary, followLinks, go, html, ID, plural, relative, sentence, Title, useFocusAtTitle, useNow, usePlace } from "./common.js";
import { Order } from "./order.js";
import { Orders } from "./orders.js";
import { Products } from "./products.js";
import { fateOf, giveUp, orderPath, send, useShop } from "./shop.js";
import { useEffect, useState } from "./vendor/hooks.js";
import { render } from "./vendor/preact.js";

/** The key of an order behind the `#` of its address. */
const keyIn = (hash) => hash.match(/^#([\w-]{22})$/)?.[1] ?? "";

/** The pages by their addresses. */
const PAGES = [
  [/^\/$/, () => html`<${Products} />`],
  [/^\/shop\/cart$/, () => html`<${Cart} />`],
  [/^\/shop\/orders$/, () => html`<${Orders} />`],
  [new RegExp(`^/shop/orders/(${ID})$`, "i"), ({ hash }, id) => html`<${Order} id=${id} given=${keyIn(hash)} key=${id + keyIn(hash)} />`],
];

function Page({ place }) {
  for (const [pattern, page] of PAGES) {
    const found = place.pathname.match(pattern);
    if (found) return page(place, found[1]?.toLowerCase());
  }
  return html`<${Title} title="Not found">Not found</><p>There is no page at this address. <a href="/">To the products</a></p>`;
}

/** What helps if a page is broken. */
const HELP = html`<p>Please load it anew. An order that you have made goes on all the same.</p>`;

/** How long to wait until a purchase without an answer is sent again, in milliseconds: at first, and at most. */
const [FIRST_PAUSE, LONGEST_PAUSE] = [1_000, 30_000];

/** Why the shop has refused the last purchase, and when it may be asked again. */
function Refusal({ error }) {
  const now = useNow();
  const [until, set] = useState(0);
  useEffect(() => set(error ? Date.now() + (error.wait ?? 0) : 0), [error]);
  if (!error) return null;
  return html`
    <div class="banner">
      <p class="problem" role="alert">${sentence(error.message)} Nothing was ordered.</p>
      ${until > now && html`<p class="hint">You can try again ${relative(until, now)}.</p>`}
    </div>`;
}

/** Sends the order that is on its way until it is known what became of it, and says how that stands. */
function Purchase() {
  const { purchase, refused } = useShop();
  const now = useNow();
  const [next, plan] = useState();
  const [round, again] = useState(0);
  const [isAsked, agree] = useState(false);
  const fate = purchase && (isAsked ? "send" : fateOf(purchase));
  const key = purchase?.key;
  useEffect(() => {
    again(0);
    agree(false);
  }, [key]);
  useEffect(() => {
    if (fate !== "send") return undefined;
    let timer, over = false;
    plan(undefined);
    send(key).then(
      (order) => order && location.pathname + location.hash !== orderPath(order) && go(orderPath(order)),
      (error) => {
        // A refusal ends the purchase.
        if (over) return;
        const pause = Math.max(error.wait ?? 0, Math.min(FIRST_PAUSE * 2 ** round, LONGEST_PAUSE));
        plan(Date.now() + pause);
        timer = setTimeout(() => again(round + 1), pause);
      },
    );
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [key, fate, round]);
  const said = {
    send: purchase?.isLost && next ? "We do not know whether your order has arrived. It is sent again until that is known, and cannot be made twice." : "Your order is being sent …",
    ask: html`We do not know whether your order of ${purchase?.about.total} ${purchase?.about.currency} has arrived. Sent again it cannot be made twice.`,
    over: html`We never learned whether your order of ${purchase?.about.total} ${purchase?.about.currency} has arrived. Please look for its e-mail before you order again.`,
  };
  // A countdown in the status would be read aloud each second.
  return html`
    <section aria-label="Your purchase">
      <div class=${purchase ? (fate === "send" && !next ? "sent" : "lost") : undefined}>
        <p role="status">${purchase && said[fate]}</p>
        ${fate === "send" && next && html`<p>Next try ${relative(next, now)}. <button class="plain" onClick=${() => again(round + 1)}>Send it now</button></p>`}
        ${fate === "ask" && html`<p><button class="plain" onClick=${() => agree(true)}>Send it again</button> <button class="plain" onClick=${giveUp}>Give it up</button></p>`}
        ${fate === "over" && html`<p><button class="plain" onClick=${giveUp}>I have looked</button></p>`}
      </div>
      <${Refusal} error=${refused} />
    </section>`;
}

function Shell() {
  const place = usePlace();
  const main = useFocusAtTitle(place);
  const { cart, orders } = useShop();
  const units = cart.reduce((sum, line) => sum + line.quantity, 0);
  const link = (path, text) => {
    const isHere = path === "/" ? place.pathname === path : place.pathname.startsWith(path);
    return html`<a href=${path} aria-current=${isHere ? "page" : undefined}>${text}</a>`;
  };
  // The address of an order has its key where a link would write its target.
  const skip = (event) => {
    event.preventDefault();
    main.current.focus();
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>To the content</a>
    <header>
      <div class="inner">
        <a class="brand" href="/"><img src="/shop/icon.svg" alt="" width="22" height="22" />Stepwell <span class="soft">shop</span></a>
        <nav aria-label="Pages">
          ${link("/", "Products")}
          ${orders.length > 0 && link("/shop/orders", "Your orders")}
          ${link("/shop/cart", html`Cart${units > 0 && html`${" "}<span class="badge">${units}<span class="hidden"> ${units === 1 ? "unit" : "units"}</span></span>`}`)}
        </nav>
        <p class="nothing">A shop to try out: nothing is charged, nothing is delivered.</p>
      </div>
    </header>
    <p class="hidden" role="status">${units > 0 && `${plural(units, "unit")} in the cart`}</p>
    <${Purchase} />
    <main id="main" ref=${main} tabindex="-1"><${Boundary} place=${place} help=${HELP}><${Page} place=${place} /></></main>`;
}

followLinks("a[href='/'], a[href^='/shop/']");

render(html`<${Shell} />`, document.getElementById("app"));
