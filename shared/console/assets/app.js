// The frame around the pages: who is logged in, where one can go, and what is about to happen.

import { Graces } from "./actions.js";
import { logIn, logOut, rename, resume, useConnection } from "./api.js";
import { BulkAction, BulkActions } from "./bulk.js";
import { List } from "./list.js";
import { Overview, Search } from "./overview.js";
import { clock, go, html, Problem, relative, Title, useNow, usePlace } from "./parts.js";
import { Task } from "./task.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { render } from "./vendor/preact.js";

/** The pages by their addresses. */
const PAGES = [
  [/^\/console\/$/, () => html`<${Overview} />`],
  [/^\/console\/tasks$/, (place) => html`<${List} place=${place} />`],
  [/^\/console\/tasks\/([^/]+)$/, (_, id) => html`<${Task} id=${id} key=${id} />`],
  [/^\/console\/bulk$/, () => html`<${BulkActions} />`],
  [/^\/console\/bulk\/([^/]+)$/, (_, id) => html`<${BulkAction} id=${id} key=${id} />`],
];

const LINKS = [["/console/", "Overview"], ["/console/tasks", "Tasks"], ["/console/bulk", "Bulk actions"]];

function Page({ place }) {
  for (const [pattern, page] of PAGES) {
    const found = place.pathname.match(pattern);
    if (found) return page(place, ...found.slice(1).map(decodeURIComponent));
  }
  return html`<${Title} title="Not found">Not found</><p>There is no page at this address. <a href="/console/">To the overview</a></p>`;
}

/** That no answer comes, and since when; nothing while answers come. */
function Connection() {
  const { lost, answered } = useConnection();
  const now = useNow();
  return html`
    <div role="status">${lost && html`
      <p class="lost">No connection. What is shown is from ${clock(answered)}, ${relative(answered, now)}. It is asked again by itself.</p>`}
    </div>`;
}

function Operator({ session }) {
  const [edits, edit] = useState(false);
  const field = useRef();
  useEffect(() => field.current?.focus(), [edits]);
  if (!edits) {
    return html`
      <span class="operator">
        <span>as <strong>${session.operator}</strong></span>
        ${session.may_rename && html`<button class="plain" onClick=${() => edit(true)}>change<span class="hidden"> the name</span></button>`}
        <button class="plain" onClick=${() => logOut().catch(() => {})}>log out</button>
      </span>`;
  }
  const save = (event) => {
    event.preventDefault();
    const name = field.current.value.trim();
    if (name) rename(name);
    edit(false);
  };
  return html`
    <form class="operator" onSubmit=${save}>
      <label>Your name in the audit trail <input ref=${field} value=${session.operator} maxlength="100" required /></label>
      <button>Save</button>
    </form>`;
}

function Shell({ session }) {
  const place = usePlace();
  const main = useRef();
  const first = useRef(true);
  // A page that is opened begins at its title, for the eyes and for a screen reader.
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    main.current.querySelector("h1")?.focus({ preventScroll: true });
  }, [place.pathname]);
  const at = (path) => (path === "/console/" ? place.pathname === path : place.pathname.startsWith(path));
  return html`
    <a class="skip" href="#main">To the content</a>
    <header>
      <div class="inner">
        <a class="brand" href="/console/"><img src="/console/icon.svg" alt="" width="22" height="22" />Stepwell</a>
        <nav aria-label="Pages">
          ${LINKS.map(([path, text]) => html`<a href=${path} aria-current=${at(path) ? "page" : undefined}>${text}</a>`)}
        </nav>
        <${Search} />
        <div class="who"><span class="place" title="What this console is about">${session.place}</span><${Operator} session=${session} /></div>
      </div>
    </header>
    <${Connection} />
    <main id="main" ref=${main} tabindex="-1"><${Page} place=${place} /></main>
    <${Graces} />`;
}

function Login({ takesToken }) {
  const [error, fail] = useState();
  const field = useRef();
  const submit = (event) => {
    event.preventDefault();
    logIn({ token: field.current.value }).catch(fail);
  };
  return html`
    <main class="login">
      <${Title} title="Log in">Log in to Stepwell</>
      <${Problem} error=${error} />
      ${takesToken
        ? html`
          <p>Open the link that the program printed at its start. It logs in once. After that, the token does: it is in the file <code>operator-token</code> of the data folder.</p>
          <form onSubmit=${submit}>
            <label for="token">Token</label>
            <input id="token" ref=${field} type="password" autocomplete="current-password" required />
            <button class="first">Log in</button>
          </form>`
        : html`<p>Open the link that the command printed. It logs in once; for another one, start the command again.</p>`}
    </main>`;
}

function App() {
  const { session, takesToken, lost } = useConnection();
  const [refused, refuse] = useState();
  useEffect(() => {
    const code = new URLSearchParams(location.hash.slice(1)).get("login");
    if (code === null) {
      resume();
      return;
    }
    // The code is of no use any more, and the history should not have it.
    history.replaceState(null, "", location.pathname);
    logIn({ code }).catch(async (error) => {
      await resume();
      refuse(error);
    });
  }, []);
  if (session) return html`<${Shell} session=${session} />`;
  if (session === null) return html`${refused && html`<div class="login"><${Problem} error=${refused} /></div>`}<${Login} takesToken=${takesToken} />`;
  return lost
    ? html`<main class="login"><h1>No connection</h1><p>Nothing answers. Does the program run?</p><button onClick=${resume}>Try again</button></main>`
    : null;
}

// Links within the console change the page without loading it anew.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/console']");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

render(html`<${App} />`, document.getElementById("app"));
