// The frame around the pages: who is logged in, where one can go, and what is about to happen.

import { Graces, takeBackAll } from "./actions.js";
import { changed, logIn, logOut, rename, resume, useConnection } from "./api.js";
import { BulkAction, BulkActions } from "./bulk.js";
import { List } from "./list.js";
import { begin } from "./login.js";
import { Overview, Search } from "./overview.js";
import { Boundary, clock, followLinks, html, ID, Problem, relative, Title, useFocusAtTitle, useNow, usePlace } from "./parts.js";
import { Task } from "./task.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { render } from "./vendor/preact.js";

/** The pages by their addresses. */
const PAGES = [
  [/^\/console\/?$/, () => html`<${Overview} />`],
  [/^\/console\/tasks$/, (place) => html`<${List} place=${place} />`],
  [new RegExp(`^/console/tasks/(${ID})$`, "i"), (_, id) => html`<${Task} id=${id} key=${id} />`],
  [/^\/console\/workflows$/, () => html`<${Later} name="Workflows" load=${() => import("./workflows.js")} />`],
  [/^\/console\/bulk$/, () => html`<${BulkActions} />`],
  [new RegExp(`^/console/bulk/(${ID})$`, "i"), (_, id) => html`<${BulkAction} id=${id} key=${id} />`],
];

/** What helps if a page is broken. */
const HELP = html`<p>Load it anew, or use <code>cargo stepwell</code>.</p>`;

const LINKS = [["/console/", "Overview"], ["/console/tasks", "Tasks"], ["/console/bulk", "Bulk actions"], ["/console/workflows", "Workflows"]];

/** A page of this name, whose module is loaded when it is opened: so a first view has less to load. */
function Later({ name, load }) {
  const [{ module, error }, set] = useState({});
  useEffect(() => {
    load().then((module) => set({ module }), () => set({ error: new Error("This page could not be loaded. Is there a connection?") }));
  }, []);
  if (error) return html`<${Title} title=${name}>${name}</><${Problem} error=${error} />`;
  return module ? html`<${module[name]} />` : html`<p aria-busy="true" class="hint">Loading …</p>`;
}

function Page({ place }) {
  for (const [pattern, page] of PAGES) {
    const found = place.pathname.match(pattern);
    if (found) return page(place, found[1]?.toLowerCase());
  }
  return html`<${Title} title="Not found">Not found</><p>There is no page at this address. <a href="/console/">To the overview</a></p>`;
}

/** That no answer comes, and since when; nothing while answers come. */
function Connection() {
  const { lost, answered } = useConnection();
  const now = useNow();
  return html`
    <div role="status">${lost && html`
      <p class="lost">No connection. What is shown is from ${clock(answered)}, ${relative(answered, now)}. It is asked again by itself, ever less often.
        ${" "}<button class="plain" onClick=${changed}>Ask now</button></p>`}
    </div>`;
}

function Operator({ session }) {
  const [edits, edit] = useState(false);
  const field = useRef();
  useEffect(() => field.current?.focus(), [edits]);
  const leave = () => {
    takeBackAll("you have logged out");
    logOut().catch(() => {});
  };
  if (!edits) {
    return html`
      <span class="operator">
        <span>as <strong>${session.operator}</strong></span>
        ${session.may_rename && html`<button class="plain" onClick=${() => edit(true)}>change<span class="hidden"> the name</span></button>`}
        <button class="plain" onClick=${leave}>log out</button>
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
  const main = useFocusAtTitle(place);
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
    <main id="main" ref=${main} tabindex="-1"><${Boundary} place=${place} help=${HELP}><${Page} place=${place} /></></main>`;
}

/** What logs in at the pages of a provider. */
function LoginElsewhere({ login, refused }) {
  const [error, fail] = useState();
  return html`
    <main class="login">
      <${Title} title="Log in">Log in to Stepwell</>
      <${Problem} error=${error ?? refused} />
      <p>You log in at <code>${new URL(login.authorize).host}</code>, and come back to this page.</p>
      <p><button class="first" onClick=${() => begin(login).catch(fail)}>Log in</button></p>
    </main>`;
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
  const { session, takesToken, login, lost } = useConnection();
  const [refused, refuse] = useState();
  const ask = () => resume().catch(refuse);
  useEffect(() => {
    const code = new URLSearchParams(location.hash.slice(1)).get("login");
    if (code === null) {
      ask();
      return;
    }
    // The code is of no use any more, and the history should not have it.
    history.replaceState(null, "", location.pathname);
    logIn({ code }).catch(async (error) => {
      await ask();
      refuse(error);
    });
  }, []);
  if (session) return html`<${Shell} session=${session} /><${Graces} />`;
  if (session === null) {
    return html`
      ${login
        ? html`<${LoginElsewhere} login=${login} refused=${refused} />`
        : html`${refused && html`<div class="login"><${Problem} error=${refused} /></div>`}<${Login} takesToken=${takesToken} />`}
      <${Graces} />`;
  }
  return lost
    ? html`<main class="login"><h1>No connection</h1><p>Nothing answers. Does the program run?</p><button onClick=${ask}>Try again</button></main>`
    : null;
}

followLinks("a[href^='/console']");

render(html`<${App} />`, document.getElementById("app"));
