// Logs in at the pages of a provider, by the code flow with PKCE, and keeps the tokens for this tab.

import { ask } from "./http.js";

/** What the login that is under way began with, and the tokens of the one that succeeded. */
const BEGUN = "stepwell.login", TOKENS = "stepwell.tokens";

/** How long before its end a token is exchanged for the next, in milliseconds. */
const EARLY = 60_000;

const kept = (name) => JSON.parse(sessionStorage.getItem(name));
const keep = (name, value) => sessionStorage.setItem(name, JSON.stringify(value));

/** Where the provider sends people back to: to no other address. */
const HOME = "/console/";
const home = () => location.origin + HOME;

const text = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const random = () => text(crypto.getRandomValues(new Uint8Array(32)));

/** Asks the provider. Such a request is one that a form could make, so that the browser asks for no leave before. */
const post = (url, fields) =>
  ask("POST", url, { headers: { "content-type": "application/x-www-form-urlencoded" }, body: new URLSearchParams(fields).toString() });

/** Leaves for the provider's page. */
export async function begin(login) {
  const verifier = random(), state = random();
  const challenge = text(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
  keep(BEGUN, { verifier, state, from: location.pathname + location.search });
  location.assign(`${login.authorize}?${new URLSearchParams({
    response_type: "code", client_id: login.client_id, redirect_uri: home(), scope: login.scope, state, code_challenge: challenge, code_challenge_method: "S256",
  })}`);
}

/** Ends the login whose answer is in the address, if one is, and goes to the page on which it began. */
export async function complete(login) {
  const answer = new URLSearchParams(location.search);
  if (location.pathname !== HOME || !answer.has("state")) return;
  const begun = kept(BEGUN);
  sessionStorage.removeItem(BEGUN);
  // The code is of no use any more, and the history should not have it.
  const isOurs = begun?.state === answer.get("state");
  history.replaceState(null, "", isOurs ? begun.from : HOME);
  // Otherwise a page of another site could log somebody in as somebody else.
  if (!isOurs) throw new Error("This login did not begin here, or it has ended already. Log in once more");
  if (!answer.has("code")) throw new Error(`The login was refused: ${answer.get("error_description") ?? answer.get("error")}`);
  const code = { grant_type: "authorization_code", code: answer.get("code"), redirect_uri: home(), code_verifier: begun.verifier };
  await exchange(login, code).catch((error) => {
    throw new Error(`The login did not succeed: ${error.message}. Log in once more`);
  });
}

async function exchange(login, fields) {
  const { access_token: access, refresh_token: refresh, expires_in: seconds } = await post(login.token, { client_id: login.client_id, ...fields });
  // The next one comes without a refresh token where that one goes on to be valid.
  keep(TOKENS, { access, refresh: refresh ?? fields.refresh_token, until: Date.now() + seconds * 1000 });
  return access;
}

let renewal;

/** The token for a request, or `null` if nobody is logged in, or no longer. */
export async function token(login) {
  const tokens = kept(TOKENS);
  if (tokens === null || Date.now() < tokens.until - EARLY) return tokens?.access ?? null;
  renewal ??= exchange(login, { grant_type: "refresh_token", refresh_token: tokens.refresh }).finally(() => (renewal = undefined));
  try {
    return await renewal;
  } catch (error) {
    // Anything but a refusal of this token may be over by the next request.
    if (error.status !== 400) throw error;
    forget();
    return null;
  }
}

/** Forgets the tokens. */
export const forget = () => sessionStorage.removeItem(TOKENS);

/** Logs out here and at the provider, and leaves for the provider's page, which sends back here. */
export async function end(login) {
  const tokens = kept(TOKENS);
  forget();
  // Without an answer it ends by itself, hours later.
  if (tokens) await post(login.revoke, { client_id: login.client_id, token: tokens.refresh }).catch(() => {});
  location.assign(`${login.logout}?${new URLSearchParams({ client_id: login.client_id, logout_uri: home() })}`);
}
