// The frame around the shop's pages: where one can go, how much is in the cart, and an order on its way to the shop.

import { Cart } from "./cart.js";
import { Boundary, followLinks, go, html, ID, relative, Title, useFocusAtTitle, useNow, usePlace } from "./common.js";
import { Order } from "./order.js";
import { Orders } from "./orders.js";
import { Products } from "./products.js";
import { orderPath, send, useShop } from "./shop.js";
import { useEffect, useState } from "./vendor/hooks.js";
import { render } from "./vendor/preact.js";

/** The pages by their addresses. */
const PAGES = [
  [/^\/$/, () => html`<${Products} />`],
  [/^\/shop\/cart$/, () => html`<${Cart} />`],
  [/^\/shop\/orders$/, () => html`<${Orders} />`],
  [new RegExp(`^/shop/orders/(${ID})$`, "i"), ({ hash }, id) => html`<${Order} id=${id} given=${hash.slice(1)} key=${id + hash} />`],
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

/** Sends the order that is on its way until the shop has answered, and says how that stands. */
function Purchase() {
  const { purchase } = useShop();
  const now = useNow();
  const [next, plan] = useState();
  const [round, again] = useState(0);
  useEffect(() => {
    if (!purchase) return undefined;
    let timer, over = false;
    plan(undefined);
    send().then(
      (order) => location.pathname + location.hash === orderPath(order) || go(orderPath(order)),
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
  }, [purchase?.key, round]);
  useEffect(() => again(0), [purchase?.key]);
  return html`
    <div role="status">${purchase && html`
      <p class=${next ? "lost" : "sent"}>${next
        ? html`The shop does not answer. We do not know whether your order has arrived, so it is sent again ${relative(next, now)}, until there is an answer.
            It cannot be made twice.${" "}<button class="plain" onClick=${() => again(round + 1)}>Send it now</button>`
        : "Your order is being sent …"}</p>`}
    </div>`;
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
  return html`
    <a class="skip" href="#main">To the content</a>
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
    <${Purchase} />
    <main id="main" ref=${main} tabindex="-1"><${Boundary} place=${place} help=${HELP}><${Page} place=${place} /></></main>`;
}

followLinks("a[href='/'], a[href^='/shop/']");

render(html`<${Shell} />`, document.getElementById("app"));
